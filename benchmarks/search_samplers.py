"""Hypervolume against measured trials: our sampler beside Optuna's, on a table of all points.

    python -m benchmarks search_samplers

The table is that of ``search_table``, ``search_table_prior`` and ``search_table_latency``.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any

import optuna

from benchmarks.experiment import Experiment, Key
from benchmarks.records import mean_and_spread, measured_on
from benchmarks.search_table import BUDGET, prior_table, space, table
from hwopt.report import markdown
from hwopt.report.plots import curves, png
from hwopt.search.front import Point, hypervolume
from hwopt.search.guided import distributions
from hwopt.search.samplers import make_sampler

SEEDS = range(5)
SAMPLERS = ("guided", "tpe", "nsga2", "gp", "random")
TRIALS = 100
SHOWN = (10, 20, 50, 60, 100)
WORST_LOSS = 0.10
PICTURE = Path(__file__).parents[1] / "docs" / "images" / "search.png"


def run(sampler: str, seed: int, trials: int = TRIALS, **_: Any) -> dict[str, Any]:
    """Return the share of the table's hypervolume after every trial that is new."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    known, before, choices = table(), prior_table(), space()
    dense = known[tuple(choices.unchanged.values())]
    worst = Point(dense.gain - WORST_LOSS, 1.0)
    whole = hypervolume(known, worst)
    study = optuna.create_study(directions=["maximize", "minimize"])
    found: dict[tuple[Any, ...], Point] = {}
    shares: list[float] = []
    while len(found) < trials:
        number = len(study.trials)
        study.sampler = make_sampler(sampler, choices, before, worst, 10_000 * seed + number)
        trial = study.ask(distributions(choices))
        key = tuple(trial.params[name] for name in choices.dimensions)
        study.tell(trial, known[key].objectives)
        if key not in found:  # a point that was measured is not measured again
            found[key] = known[key]
            shares.append(hypervolume(found, worst) / whole)
    return {"shares": shares, "suggestions": len(study.trials)}


def section(runs: list[dict[str, Any]]) -> Iterator[str]:
    """Hypervolume by sampler and measured trials, and the picture."""
    yield "## Search: hypervolume by measured trials\n\n`python -m benchmarks search_samplers`"
    yield (
        f"ResNet-8 on Fashion-MNIST, {BUDGET['images']:,} images, one thread: three "
        "widths for each of five groups of channels, all 243 points trained and measured once "
        "(`python -m benchmarks search_table`, then `python -m benchmarks search_table_prior` and "
        "`python -m benchmarks search_table_latency`). Share of the hypervolume of all points in "
        f"percent, mean ± standard deviation over seeds {SEEDS[0]} to {SEEDS[-1]}; a suggestion "
        "that was measured before costs nothing."
    )
    rows = []
    lines: dict[str, dict[float, float]] = {}
    for sampler in SAMPLERS:
        found = [one["shares"] for one in runs if one["sampler"] == sampler]
        if not found:
            continue
        cells = [mean_and_spread([100 * one[n - 1] for one in found]) for n in SHOWN]
        rows.append([sampler, *cells])
        lines[sampler] = {n: 100 * mean(one[n - 1] for one in found) for n in range(3, TRIALS + 1)}
    yield markdown(["sampler", *(f"{n} trials" for n in SHOWN)], rows)
    if lines:
        figure = curves(lines, "measured trials", "share of the hypervolume in %")
        PICTURE.write_bytes(png(figure))
        yield f"![Hypervolume by measured trials](images/{PICTURE.name})"
    yield measured_on(runs)


def keys(_: Namespace) -> Iterator[list[Key]]:
    """Yield all searches, to be run side by side."""
    yield [{"sampler": s, "seed": seed, **BUDGET} for s in SAMPLERS for seed in SEEDS]


EXPERIMENTS = (
    Experiment(
        name="search_samplers",
        about="hypervolume by measured trials: our sampler beside Optuna's",
        chapter="prediction and search",
        keys=keys,
        run=run,
        section=section,
        alone=False,
    ),
)
