"""Latency of the zoo beside every peer, and what compiling costs from an empty database.

    python -m benchmarks peers                       # all nets, with 2 threads and with 1
    python -m benchmarks peers resnet8 --threads 2   # one of them
    python -m benchmarks peers --isa avx2            # hwopt, OpenVINO and torch held to 256 bits

A run is one process with a kernel database of its own. Artefact and peers alternate in it, batch 1,
equal threads, the same weights and input; all outputs are compared with the artefact's.
"""

from __future__ import annotations

import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from argparse import SUPPRESS, ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.experiment import Experiment
from benchmarks.records import Records, measured_on
from benchmarks.side_by_side import FLOAT32
from hwopt.report import markdown

NETS = ("resnet8", "ds_cnn", "mobilenet_v1_025", "mobilenet_v1", "resnet18")
SLOW_TO_MAKE = ("torch.compile-max-autotune", "tvm")
LOWER_PRECISION = ("openvino-bf16", "openvino-int8", "onnxruntime-int8")
#: ONNX Runtime and ExecuTorch have no switch that holds them to an instruction set.
HELD_TO_AVX2 = ("openvino", "torch", "torch.compile")
HOLD_TO_AVX2 = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}


def measure_here(model: str, threads: int, isa: str | None, peer_names: list[str]) -> dict:
    """Compile and measure one net in this process, whose user folder is empty."""
    import torch

    import hwopt
    from benchmarks import nets
    from hwopt import peers, targets
    from hwopt.compiler import measure

    graph = nets.graph(model)
    target = targets.get(f"x86-{isa}" if isa else "host", threads=threads)
    with tempfile.TemporaryDirectory() as folder:
        seconds = {}
        for name in ("hwopt", "hwopt again"):
            start = time.perf_counter()
            artifact = hwopt.compile(graph, target=target, output=Path(folder) / "artifact")
            seconds[name] = round(time.perf_counter() - start, 1)
        with tempfile.TemporaryDirectory() as empty:
            os.environ["HWOPT_HOME"] = empty
            first_choice = hwopt.compile(graph, target=target, kernel_trials=0)
        inputs = artifact.random_inputs()
        expected = artifact(*inputs)
        calls: dict[str, Any] = {
            "hwopt": functools.partial(artifact, *inputs),
            "hwopt untuned": functools.partial(first_choice, *inputs),
        }
        differences = {}
        for peer in filter(peers.available, peer_names):
            start = time.perf_counter()
            calls[peer] = peers.make(peer, artifact.graph(), inputs, threads, Path(folder) / peer)
            difference = abs(torch.as_tensor(calls[peer]()[0]).numpy() - expected).max()
            seconds[peer] = round(time.perf_counter() - start, 1)
            differences[peer] = float(difference)
        latencies = measure(calls, threads=artifact.threads, runs=300)
    median = latencies["hwopt"].median_ms
    ratios = {peer: median / latencies[peer].median_ms for peer in differences}
    return {
        "ratio_to_fastest": max(ratio for peer, ratio in ratios.items() if float32(peer)),
        "ratios": ratios,
        "untuned_to_tuned": latencies["hwopt untuned"].median_ms / median,
        "measured_again": sum(k.candidates_measured for k in artifact.manifest.kernels),
        "seconds_to_compile": seconds,
        "max_difference": differences,
        "latencies": {name: latency.to_json() for name, latency in latencies.items()},
        "kernels": [kernel.model_dump() for kernel in artifact.manifest.kernels],
    }


def float32(peer: str) -> bool:
    """Say whether a peer computes in float32."""
    return not peer.endswith(("bf16", "int8"))


def in_a_new_process(model: str, threads: int, isa: str | None, peer_names: list[str]) -> dict:
    """Run ``measure_here`` with an empty kernel database."""
    with tempfile.TemporaryDirectory() as home:
        arguments = json.dumps([model, threads, isa, peer_names])
        environment = {
            **os.environ,
            "HWOPT_HOME": home,
            "OMP_NUM_THREADS": str(threads),
            # By itself Inductor runs code that it compiled before for another instruction set.
            "TORCHINDUCTOR_CACHE_DIR": f"{home}/inductor",
            **(HOLD_TO_AVX2 if isa == "avx2" else {}),
        }
        output = subprocess.run(
            [sys.executable, "-m", "benchmarks", "peers", "--here", arguments],
            env=environment,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout
    return json.loads(output.splitlines()[-1])


def section(runs: list[dict[str, Any]]) -> Iterator[str]:
    """The zoo against other runtimes."""
    yield (
        "## Beside the peers\n\n`python -m benchmarks peers` for all; `--fast` leaves out those "
        "that are slow to compile or to run; `--fast --isa avx2 --threads 2` holds those to AVX2 "
        "that can be held."
    )
    yield (
        "Batch 1, float32 unless the name says otherwise; each line is a process of its own that "
        "begins with an empty kernel database; all runtimes alternate in it, with equal threads. "
        "Median latency in milliseconds, and in brackets hwopt's ratio to it; below 1 hwopt is "
        "faster. In these runs `openvino-int8` was quantised by ONNX Runtime's tool; since then it "
        "is by NNCF."
    )
    groups = {(run["used_threads"], run["held_to"]) for run in runs}
    for threads, held in sorted(groups, key=str, reverse=True):
        chosen = [run for run in runs if (run["used_threads"], run["held_to"]) == (threads, held)]
        plural = "thread" if threads == 1 else "threads"
        yield f"**{threads} {plural}{f', held to {held}' if held else ''}**"
        yield _latencies(chosen)
        yield _middle(chosen)
    yield (
        "Seconds to compile, tuning included; what the first choice without any measurement loses; "
        "and the largest difference of an output to a float32 peer's:"
    )
    yield _compiling(runs)
    yield measured_on(runs)


def _latencies(runs: list[dict[str, Any]]) -> str:
    names = list(dict.fromkeys(name for run in runs for name in run["ratios"]))
    rows = []
    for run in runs:
        cells = [
            f"{run['latencies'][name]['median_ms']:.3f} ({run['ratios'][name]:.2f})"
            if name in run["ratios"]
            else "–"
            for name in names
        ]
        ours = f"{run['latencies']['hwopt']['median_ms']:.3f}"
        rows.append([f"{run['net']} #{run['run']}", ours, *cells])
    return markdown(["net", "hwopt", *names], rows)


def _middle(runs: list[dict[str, Any]]) -> str:
    medians = {
        net: statistics.median(run["ratio_to_fastest"] for run in runs if run["net"] == net)
        for net in dict.fromkeys(run["net"] for run in runs)
    }
    each = ", ".join(f"{net} {ratio:.2f}" for net, ratio in medians.items())
    return (
        f"To the fastest float32 peer, median of the runs: {each}. Geometric mean over "
        f"{len(medians)} nets: **{statistics.geometric_mean(medians.values()):.2f}**"
    )


def _compiling(runs: list[dict[str, Any]]) -> str:
    ours = ("hwopt", "hwopt again")
    others = [name for name in (*FLOAT32, *SLOW_TO_MAKE) if name != "torch"]
    rows = []
    for run in runs:
        seconds = run["seconds_to_compile"]
        difference = max(run["max_difference"][name] for name in run["ratios"] if float32(name))
        held = run["held_to"] or "all"
        rows.append(
            [
                f"{run['net']}, {run['used_threads']} threads, {held} #{run['run']}",
                *(f"{seconds[name]:.1f}" for name in ours),
                str(run["measured_again"]),
                *(f"{seconds[name]:.1f}" if name in seconds else "–" for name in others),
                f"{run['untuned_to_tuned']:.2f}",
                f"{difference:.0e}",
            ]
        )
    titles = ["net", "hwopt, empty database", "full database", "measured then", *others]
    return markdown([*titles, "untuned to tuned", "largest difference"], rows)


def options(parser: ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("nets", nargs="*", default=NETS)
    parser.add_argument("--threads", type=int, action="append")
    parser.add_argument("--isa", choices=["avx2"])
    parser.add_argument("--runs", type=int, default=1, help="runs of each, each tuned anew")
    parser.add_argument("--fast", action="store_true", help="only the peers that are made quickly")
    parser.add_argument("--here", help=SUPPRESS)


def start(chosen: Namespace) -> None:
    """Measure every net in a process of its own, or be such a process."""
    if chosen.here:
        print(json.dumps(measure_here(*json.loads(chosen.here))))
        return
    names = HELD_TO_AVX2 if chosen.isa else (*FLOAT32, *LOWER_PRECISION, *SLOW_TO_MAKE)
    peer_names = [name for name in names if not (chosen.fast and name in SLOW_TO_MAKE)]
    records = Records("peers")
    for run in range(chosen.runs):
        for net in chosen.nets:
            for threads in chosen.threads or (2, 1):
                key = {"net": net, "used_threads": threads, "held_to": chosen.isa, "run": run}
                measure = functools.partial(in_a_new_process, net, threads, chosen.isa, peer_names)
                records.run({**key, "peers": peer_names}, measure)


EXPERIMENTS = (
    Experiment(
        name="peers",
        about="latency of the zoo beside every peer",
        chapter="peers",
        main=start,
        section=section,
        options=options,
    ),
)
