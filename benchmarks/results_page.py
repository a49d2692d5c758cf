"""Write ``docs/results.md`` from the lines in ``results``.

python -m benchmarks.results_page
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.records import Records

PAGE = Path(__file__).parents[1] / "docs" / "results.md"


def table(titles: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table; all but the first column are aligned to the right."""
    lines = [titles, ["---"] + ["---:"] * (len(titles) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def machine(run: dict[str, Any]) -> str:
    """Return where a run was measured."""
    return f"{run['cpu']}, {run['isa']}, {run['threads']} threads"


def lost(run: dict[str, Any]) -> float:
    """Return the points of accuracy that pruning cost."""
    dense, pruned = (run["variants"][name]["accuracy"] for name in ("dense", "pruned"))
    return 100 * (dense - pruned)


def main_job() -> Iterator[str]:
    """The demo's table for every seed, and the goals."""
    runs = Records("main_job").read()
    yield "## The main job: ResNet-8 on Fashion-MNIST\n\n`python -m benchmarks.main_job`"
    yield (
        "The recipe of `make demo`, once a seed. Accuracy is on the 10,000 test images, which "
        "training never sees; latency is the median of 500 calls, batch 1, all columns of a seed "
        "alternating in one run."
    )
    rows = []
    for run in runs:
        for name, facts in run["variants"].items():
            latency = facts["latency"]
            rows.append(
                [
                    str(run["seed"]),
                    name,
                    f"{100 * facts['accuracy']:.2f} %",
                    f"{facts['parameters']:,}",
                    f"{facts['macs'] / 1e6:.2f} M",
                    f"{facts['bytes']:,}",
                    f"{latency['median_ms']:.3f}",
                    f"{latency['p10_ms']:.3f}–{latency['p90_ms']:.3f}",
                    f"{facts['ratio_to_baseline']:.2f}",
                    f"{facts['peers']['onnxruntime']['ratio']:.2f}",
                ]
            )
    titles = ["seed", "variant", "accuracy", "parameters", "MACs", "bytes", "median ms", "p10–p90"]
    yield table([*titles, "to dense", "to ONNX Runtime"], rows)
    rows = [
        [
            str(run["seed"]),
            f"{run['seconds']['train']:.0f} s",
            f"{run['seconds']['pruned.fine-tune']:.0f} s",
            f"{100 * run['variants']['dense']['accuracy']:.2f} %",
            f"{lost(run):+.2f}",
            f"{run['variants']['pruned']['macs'] / run['variants']['dense']['macs']:.2f}",
            f"{run['variants']['pruned']['ratio_to_baseline']:.2f}",
        ]
        for run in runs
    ]
    titles = ["seed", "training", "fine-tuning", "dense", "points lost", "MACs", "latency"]
    yield (
        "Against the goals (training ≤ 240 s, dense ≥ 92.5 %, lost ≤ 0.7, MACs ≤ 0.50, "
        "latency ≤ 0.70):"
    )
    yield table(titles, rows)
    yield f"Measured on: {machine(runs[0])}."


def equality() -> Iterator[str]:
    """Every model and pass against torch."""
    runs = Records("equality").read()
    yield "## Compiled equals torch\n\n`python -m benchmarks.equality`"
    yield (
        "Every model of the zoo after every pass, on 1,000 test images of Fashion-MNIST scaled to "
        "the model's input: largest absolute difference of any output (goal ≤ 1e-4), and images "
        "with the same label (goal: all)."
    )
    rows = [
        [
            run["model"],
            run["passes"] or "none",
            f"{run['max_difference']:.1e}",
            f"{run['same_label']} of {run['samples']}",
        ]
        for run in runs
    ]
    yield table(["model", "pass", "largest difference", "same label"], rows)


def peers() -> Iterator[str]:
    """ResNet-8 against other runtimes."""
    runs = Records("resnet8_peers").read()
    yield "## ResNet-8 beside its peers\n\n`python -m benchmarks.resnet8_peers`"
    yield (
        "MLPerf Tiny's ResNet-8, 3x32x32, float32, batch 1. Each run is a process of its own that "
        "begins with an empty kernel database; all runtimes alternate in it. Goals: compiling "
        "≤ 180 s; faster than torch.compile; at most 1.5 of ONNX Runtime."
    )
    rows = [
        [
            str(run["run"]),
            f"{run['compile_seconds']:.0f} s",
            f"{run['compile_again_seconds']:.1f} s",
            *(f"{run['latencies'][name]['median_ms']:.3f}" for name in run["latencies"]),
            *(f"{ratio:.2f}" for ratio in run["ratios"].values()),
        ]
        for run in runs
    ]
    medians = [f"{name} ms" for name in runs[0]["latencies"]]
    ratios = [f"to {name}" for name in runs[0]["ratios"]]
    yield table(["run", "compiling", "again", *medians, *ratios], rows)
    middle = {
        name: statistics.median(run["ratios"][name] for run in runs) for name in runs[0]["ratios"]
    }
    yield "Median ratio: " + ", ".join(f"{value:.2f} to {name}" for name, value in middle.items())
    yield f"Measured on: {machine(runs[0])}."


def kills() -> Iterator[str]:
    """Killed and resumed."""
    yield "## Killed ten times\n\n`python -m benchmarks.kill_resume`"
    for run in Records("kill_resume").read():
        places = ", ".join(f"{kill['in']} ({kill['after']} s)" for kill in run["kills"])
        yield (
            f"`hwopt optimize` on digits, killed with SIGKILL {len(run['kills'])} times, each time "
            f"started again; the step it was in, and seconds since its start: {places}."
        )
        calm, killed = run["ratios_to_dense"]
        yield (
            "Accuracy, parameters, MACs, passes and notes equal those of the undisturbed job: "
            f"**{'yes' if run['same_table'] else 'no'}**. Latency of the pruned to the dense: "
            f"{calm:.2f} undisturbed, {killed:.2f} killed. Files left half-written: "
            f"{len(run['half_written_files'])}."
        )


def cost() -> Iterator[str]:
    """Time and memory of the demo."""
    yield "## What the demo costs\n\n`python -m benchmarks.demo_cost`"
    for run in Records("demo_cost").read():
        yield (
            f"`hwopt optimize recipes/demo.yaml` with an empty kernel database: "
            f"{run['first_seconds'] / 60:.1f} minutes; again: {run['again_seconds']:.1f} s; peak "
            f"memory of the largest process {run['peak_mib']:,} MiB. `hwopt --help`: "
            f"{run['help_seconds']:.2f} s (median of 11). Measured on: {machine(run)}. The virtual "
            "environment of `make demo` comes on top, once."
        )


_SECTIONS = {
    "main_job": main_job,
    "resnet8_peers": peers,
    "equality": equality,
    "kill_resume": kills,
    "demo_cost": cost,
}


def main() -> None:
    parts = [
        "# Results\n\nWritten by `python -m benchmarks.results_page` from `benchmarks/results`."
    ]
    for name, section in _SECTIONS.items():
        if Records(name).read():
            parts += section()
        else:
            parts.append(f"Not measured yet: `python -m benchmarks.{name}`.")
    PAGE.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
