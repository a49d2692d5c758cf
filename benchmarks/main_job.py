"""Accuracy, size and latency of the main job on Fashion-MNIST, for several seeds.

    python -m benchmarks main_job            # seeds 0, 1, 2

The recipe is that of ``make demo``; a line holds the table of one seed.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.experiment import Experiment, Key
from benchmarks.records import measured_on
from hwopt.job import Job, changed_recipe, load_recipe
from hwopt.report import markdown

RECIPE = Path(__file__).parents[1] / "recipes" / "demo.yaml"
SEEDS = (0, 1, 2)


def run(seed: int, **_: Any) -> dict:
    """Run the job of one seed and return its figures."""
    recipe = changed_recipe(load_recipe(RECIPE), seed=seed)
    folder = Path("runs") / f"main-job-{seed}"
    job = Job(recipe, folder, bars=False)
    results = job.run()
    seconds = {step: job.work.seconds(step) for step in ("train", "pruned.fine-tune")}
    return {"seconds": seconds, "data": results.data, "variants": results.to_json()["variants"]}


def section(runs: list[dict[str, Any]]) -> Iterator[str]:
    """The demo's table for every seed, and the goals."""
    yield "## The main job: ResNet-8 on Fashion-MNIST\n\n`python -m benchmarks main_job`"
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
                    f"{100 * quality(facts):.2f} %",
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
    yield markdown([*titles, "to dense", "to ONNX Runtime"], rows)
    rows = [
        [
            str(run["seed"]),
            f"{run['seconds']['train']:.0f} s",
            f"{run['seconds']['pruned.fine-tune']:.0f} s",
            f"{100 * quality(run['variants']['dense']):.2f} %",
            f"{lost(run):+.2f}",
            f"{run['variants']['pruned']['macs'] / run['variants']['dense']['macs']:.2f}",
            f"{run['variants']['pruned']['ratio_to_baseline']:.2f}",
            run.get("commit", "earlier"),
        ]
        for run in runs
    ]
    titles = ["seed", "training", "fine-tuning", "dense", "points lost", "MACs", "latency"]
    titles.append("commit")
    yield (
        "Against the goals (training ≤ 240 s, dense ≥ 92.5 %, lost ≤ 0.7, MACs ≤ 0.50, "
        "latency ≤ 0.70):"
    )
    yield markdown(titles, rows)
    yield measured_on(runs)


def quality(facts: dict[str, Any]) -> float:
    """Return the accuracy of a variant, which earlier lines call so."""
    return float(facts["quality"] if "quality" in facts else facts["accuracy"])


def lost(run: dict[str, Any]) -> float:
    """Return the points of accuracy that pruning cost."""
    dense, pruned = (quality(run["variants"][name]) for name in ("dense", "pruned"))
    return 100 * (dense - pruned)


def keys(_: Namespace) -> Iterator[Key]:
    """Yield every seed with the recipe as it is."""
    recipe = load_recipe(RECIPE).model_dump(mode="json")
    for seed in SEEDS:
        yield {"recipe": recipe, "seed": seed}


EXPERIMENTS = (
    Experiment(
        name="main_job",
        about="ResNet-8 on Fashion-MNIST by the recipe of `make demo`",
        chapter="the main job",
        keys=keys,
        run=run,
        section=section,
    ),
)
