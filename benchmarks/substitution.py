"""Global layers and spatial interpolation: accuracy, size and measured latency beside the original.

    python -m benchmarks substitution          # trainings: hours
    python -m benchmarks substitution_latency  # on a machine that does nothing else

The original is trained, its blocks are substituted, and all variants, the original too, are trained
further alike. Substituted parts learn what stood there before as well as the labels.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset, Subset

import hwopt
from benchmarks.experiment import Experiment, Key
from benchmarks.records import TRAINING_THREADS, Records, kept_graph, mean_and_spread, measured_on
from benchmarks.side_by_side import medians_ms
from hwopt import data, models, passes, targets, train
from hwopt.compiler.profile import profile
from hwopt.report import markdown
from hwopt.targets.peak import measure_peak

SEEDS = (0, 1, 2)
SHAPE = (1, 28, 28)
IMAGES = 20_000
NETS: dict[str, dict[str, Any]] = {
    "resnet32": {},
    "mobilenet_v2": {"width_multiplier": 0.5, "reduction": 8},
}
#: Passes of every variant; the first is the original.
VARIANTS: dict[str, dict[str, str]] = {
    "resnet32": {
        "original": "",
        "global": "substitute-global-layer{keep=2,diffusivity=constant}",
        "interpolation": "substitute-spatial-interpolation"
        "{exclude=[stages.0.0,stages.0.1,stages.0.2]}",
        "interpolation everywhere": "substitute-spatial-interpolation",
        "both": "substitute-global-layer{keep=2,diffusivity=constant},"
        "substitute-spatial-interpolation{exclude=stages.0}",
    },
    "mobilenet_v2": {
        "original": "",
        "global": "substitute-global-layer{diffusivity=constant}",
        "interpolation": "substitute-spatial-interpolation",
        "both": "substitute-global-layer{start=block,diffusivity=constant},"
        "substitute-spatial-interpolation",
    },
}
FIRST: dict[str, Any] = {"epochs": 4, "learning_rate": 0.1}
SECOND: dict[str, Any] = {"epochs": 4, "learning_rate": 0.1}
TRAINING: dict[str, Any] = {"label_smoothing": 0.0, "augment": "flip", "threads": TRAINING_THREADS}
SHARE = 0.5
#: What a line of results depends on.
BUDGET = {
    "images": IMAGES,
    "epochs": [FIRST["epochs"], SECOND["epochs"]],
    "learning_rates": [FIRST["learning_rate"], SECOND["learning_rate"]],
    "share": SHARE,
}
FOLDER = Path("runs") / "substitution"
#: Of a profile; depthwise convolutions that are fused with what follows are among the first.
PARTS = ("convolutions", "Global layers", "anchors and what is between", "rest")


def images() -> tuple[Subset[Any], Dataset[Any]]:
    """Return the images that are trained on, and the test set."""
    everything = data.load("fashion-mnist")
    return Subset(everything.train, range(IMAGES)), everything.test


def network(net: str, seed: int) -> hwopt.Graph:
    """Return the original with its first weights."""
    torch.manual_seed(seed)
    model = models.create(net, input_shape=SHAPE, num_classes=10, **NETS[net])
    return hwopt.import_model(model, torch.zeros(1, *SHAPE))


def original(net: str, seed: int) -> hwopt.Graph:
    """Return the trained original."""
    folder = FOLDER / f"{net}-{IMAGES}-{FIRST['epochs']}-{seed}"

    def trained() -> hwopt.Graph:
        graph = network(net, seed)
        module = graph.to_torch()
        train.fit(module, images()[0], seed=seed, progress=False, **FIRST, **TRAINING)
        return graph.with_weights_of(module)

    return kept_graph(folder, trained)


def run(net: str, variant: str, seed: int, **_: Any) -> dict[str, Any]:
    """Substitute, train, and return accuracy, parameters and MACs."""
    training, test = images()
    base = original(net, seed)
    graph = substituted(base, net, variant)
    module = graph.to_torch()
    terms = []
    if variant != "original":
        places = train.substituted_places(graph, base)
        terms.append(train.BlockDistillation(base.to_torch(), places, SHARE))
    train.fit(module, training, seed=seed, terms=terms, progress=False, **SECOND, **TRAINING)
    return {
        "accuracy": train.evaluate(module, test).quality,
        "parameters": graph.num_parameters(),
        "macs": graph.macs(),
    }


def substituted(base: hwopt.Graph, net: str, variant: str) -> hwopt.Graph:
    """Return a variant of a network."""
    context = passes.Context(batches=lambda: data.batches(images()[0], passes.BATCH_SIZE, seed=0))
    text = VARIANTS[net][variant]
    if not text:
        return base
    return hwopt.apply(base, f"{text},reestimate-batch-norm", context)


def latency(net: str, used_threads: int) -> dict[str, Any]:
    """Measure all variants of a net side by side; the weights are random."""
    base = network(net, 0)
    target = targets.get("host", threads=used_threads)
    artifacts = {
        variant: hwopt.compile(hwopt.apply(base, text) if text else base, target=target)
        for variant, text in VARIANTS[net].items()
    }
    inputs = artifacts["original"].random_inputs(0)
    median_ms = medians_ms(artifacts, base, inputs, used_threads, runs=500)
    profiles = {
        variant: [
            [kernel.name, kernel.calls, round(kernel.us, 2)]
            for kernel in profile(artifact, measure_peak(target), runs=200)
        ]
        for variant, artifact in artifacts.items()
    }
    return {"median_ms": median_ms, "kernels": profiles}


def section(runs: list[dict[str, Any]]) -> Iterator[str]:
    """One table a net."""
    yield (
        "## Substituted blocks\n\n`python -m benchmarks substitution`, then "
        "`python -m benchmarks substitution_latency`"
    )
    yield (
        f"Fashion-MNIST, {IMAGES:,} training images. The original is trained for {FIRST['epochs']} "
        f"epochs; then every variant, the original too, for {SECOND['epochs']} more, at rates of "
        f"{FIRST['learning_rate']} and {SECOND['learning_rate']}; substituted blocks by block-wise "
        f"distillation (share {SHARE}). Test accuracy in percent, mean ± standard deviation over "
        "seeds. Latency: batch 1, all variants and peers alternate in one run; the ratio is that "
        "to the original, compiled by hwopt, too."
    )
    runs = [record for record in runs if all(record[k] == v for k, v in BUDGET.items())]
    timed = Records("substitution_latency").read()
    for net, variants in VARIANTS.items():
        rows = []
        of_net = [record for record in timed if record["net"] == net]
        for variant, text in variants.items():
            found = [r for r in runs if r["net"] == net and r["variant"] == variant]
            if not found:
                continue
            first = next(r for r in runs if r["net"] == net and r["variant"] == "original")
            accuracies = [100 * record["accuracy"] for record in found]
            cells = [variant, f"`{text}`" if text else "", mean_and_spread(accuracies)]
            for key in ("parameters", "macs"):
                cells.append(f"{found[0][key]:,} ({found[0][key] / first[key]:.2f})")
            for record in of_net:
                medians = record["median_ms"]
                ratio = medians[variant] / medians["original"]
                cells.append(f"{1000 * medians[variant]:.0f} ({ratio:.2f})")
            rows.append(cells)
        if not rows:
            continue
        threads = [f"µs, {record['used_threads']} threads" for record in of_net]
        titles = ["variant", "passes", "accuracy", "parameters", "MACs", *threads]
        options = ", ".join(f"{name}={value}" for name, value in NETS[net].items())
        yield f"`{net}`{f' ({options})' if options else ''}"
        yield markdown(titles, rows)
        if of_net:
            yield (
                f"Where the time of `{net}` goes: profiles, in µs; kernels are timed one by one, "
                "so their sum is not the latency."
            )
            yield markdown(["threads", "variant", *PARTS, "all"], list(profiled(of_net)))
    latency_of = f" Latency: {measured_on(timed)}" if timed else " Latency is not measured yet."
    yield f"Trained: {measured_on(runs)}{latency_of}"


def profiled(timed: list[dict[str, Any]]) -> Iterator[list[str]]:
    """Yield the time of every variant by parts."""
    for record in timed:
        for variant, kernels in record["kernels"].items():
            sums = dict.fromkeys(PARTS, 0.0)
            for name, _, us in kernels:
                sums[part_of(name)] += us
            cells = [f"{us:.0f}" for us in (*sums.values(), sum(sums.values()))]
            yield [str(record["used_threads"]), variant, *cells]


def part_of(kernel: str) -> str:
    """Return what a kernel, known by its name, belongs to."""
    if "anchors" in kernel or "strided_slice" in kernel:
        return PARTS[2]
    alone = "depthwise" in kernel and "_fused_conv2d" not in kernel
    if "advection" in kernel or alone:
        return PARTS[1]
    return PARTS[0] if "conv2d" in kernel else PARTS[3]


def options(parser: ArgumentParser) -> None:
    """Add what both commands take."""
    parser.add_argument("--net", choices=NETS, help="this one only")


def keys(chosen: Namespace) -> Iterator[list[Key]]:
    """Yield the trainings of every net, to be run side by side."""
    for net in [chosen.net] if chosen.net else NETS:
        yield [
            {"net": net, "variant": variant, "seed": seed} | BUDGET
            for variant in VARIANTS[net]
            for seed in SEEDS
        ]


def latency_keys(chosen: Namespace) -> Iterator[Key]:
    """Yield every net with two threads and with one."""
    for net in [chosen.net] if chosen.net else NETS:
        for threads in (2, 1):
            yield {"net": net, "used_threads": threads}


EXPERIMENTS = (
    Experiment(
        name="substitution",
        about="Global layers and spatial interpolation: accuracy and size",
        chapter="compression",
        keys=keys,
        run=run,
        section=section,
        alone=False,
        options=options,
    ),
    Experiment(
        name="substitution_latency",
        about="the latencies of the networks of `substitution`",
        chapter="compression",
        keys=latency_keys,
        run=latency,
        options=options,
    ),
)
