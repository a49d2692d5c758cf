"""Predicted beside measured latency, of networks that the predictor has never seen.

    python -m benchmarks latency_prediction   # half an hour, on a machine that does nothing else

The table is made as by `hwopt targets measure`, from an empty database; then networks are drawn at
random from the widths that a search has, predicted, and compiled and measured.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import time
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

import hwopt
from benchmarks.experiment import Experiment, Key
from benchmarks.records import measured_on
from hwopt import models, targets
from hwopt.compiler.graph_latency import GraphLatency
from hwopt.compiler.kernels_of import kernels_of
from hwopt.passes import Context
from hwopt.passes.prune_channels import PruneChannels
from hwopt.prediction.measure_table import MEMORY, measure_table
from hwopt.prediction.predictor import Predictor
from hwopt.report import markdown
from hwopt.targets.database import own_folder
from hwopt.targets.latency_table import LatencyTable

SHAPE = (1, 28, 28)
NETWORKS, TOGETHER, SEED = 100, 4, 0
FOLDER = Path("runs") / "latency_prediction"
TABLE = FOLDER / "table.json"
NEAR = 0.10


def network() -> hwopt.Graph:
    """Return the widest network."""
    torch.manual_seed(0)
    model = models.create("resnet8", input_shape=SHAPE, num_classes=10)
    return hwopt.import_model(model, torch.zeros(1, *SHAPE))


def drawn(graph: hwopt.Graph, multiple: int) -> list[hwopt.Graph]:
    """Return different networks, each group of channels with a width at random."""
    pruning = PruneChannels(ratio=0.0, multiple=multiple)
    ranking = pruning.rank(graph, Context())
    groups = ranking.named_groups()
    random = np.random.default_rng(SEED)
    found: dict[str, hwopt.Graph] = {}
    while len(found) < NETWORKS:
        ratios = tuple((name, float(random.uniform(0, 0.95))) for name in groups)
        narrow = dataclasses.replace(pruning, ratios=ratios).prune(ranking, Context()).graph
        found.setdefault(narrow.to_text(), narrow)
    return list(found.values())


def make_table(target: targets.Target) -> dict[str, Any]:
    """Make the table from nothing; return what it took."""
    start = time.perf_counter()
    measure_table(network(), target)
    seconds = time.perf_counter() - start
    table = LatencyTable(target)
    table.save(TABLE)
    return {
        "seconds": seconds,
        "kernels": len(table.kernels),
        "networks": len(table.networks),
    }


def measured(graphs: list[hwopt.Graph], table: LatencyTable) -> dict[str, Any]:
    """Predict some networks, then compile and measure them beside the widest one.

    So that a machine that is slower today is no error of the prediction, latencies are multiples
    of the widest network's, as the table has it.
    """
    predictor, target = Predictor(table), table.target
    start = time.perf_counter()
    predictions = [predictor(graph) for graph in graphs]
    seconds = (time.perf_counter() - start) / len(graphs)
    widest = network()
    base = table.networks[tuple(sorted(kernels_of(widest, target)))]
    latency = GraphLatency(target, memory=own_folder(target) / MEMORY)
    return {
        "predicted": [dataclasses.asdict(one) for one in predictions],
        "measured_ms": [base * one.ratio for one in latency.relative([widest, *graphs])],
        "by_macs_ms": [base * graph.macs() / widest.macs() for graph in graphs],
        "seconds": seconds,
    }


def section(runs: list[dict[str, Any]]) -> Iterator[str]:
    """The share of networks whose latency was predicted well."""
    yield "## Predicted latency\n\n`python -m benchmarks latency_prediction`"
    (table,) = (run for run in runs if run["part"] == "table")
    parts = [run for run in runs if run["part"] != "table"]
    latency = np.array([ms for run in parts for ms in run["measured_ms"]])
    of_macs = np.array([ms for run in parts for ms in run["by_macs_ms"]])
    found = {
        key: np.array([one[key] for run in parts for one in run["predicted"]])
        for key in ("ms", "low_ms", "high_ms", "measured")
    }
    yield (
        f"The table of ResNet-8 (1x28x28) for this machine: {table['kernels']} kernels and "
        f"{table['networks']} networks in {table['seconds'] / 60:.1f} minutes, from an empty "
        f"database. Then {len(latency)} networks of random widths, {latency.min():.3f} to "
        f"{latency.max():.3f} ms, were predicted from that table alone, and measured. "
        f"{100 * found['measured'].mean():.0f} % of their predicted time is in kernels that the "
        "table has."
    )
    rows = []
    for name, predicted in (("predicted", found["ms"]), ("in proportion to MACs", of_macs)):
        errors = predicted / latency - 1
        rows.append(
            [
                name,
                f"{100 * np.mean(np.abs(errors) <= NEAR):.0f} %",
                f"{100 * np.median(np.abs(errors)):.1f} %",
                f"{100 * np.abs(errors).max():.1f} %",
                f"{100 * errors.mean():+.1f} %",
            ]
        )
    yield markdown(["", "within ±10 %", "median error", "largest", "mean"], rows)
    inside = (found["low_ms"] <= latency) & (latency <= found["high_ms"])
    yield (
        "The form of the prediction was chosen by the table's own networks, each left out in turn, "
        "but after 23 of these 100 had been looked at; the form before it had 97 % of the 100 "
        "within ±10 %."
    )
    yield (
        f"{100 * inside.mean():.0f} % of the latencies lie in the predicted intervals, which are "
        f"meant for 90 %. A prediction takes {np.median([run['seconds'] for run in parts]):.1f} "
        "seconds."
    )
    yield measured_on(runs)


@functools.cache
def unseen() -> tuple[list[hwopt.Graph], LatencyTable]:
    """Return the networks, and the table alone to predict them from."""
    target = targets.get("host")
    table = LatencyTable(target, FOLDER / "of the table alone")
    table.merge(TABLE)
    return drawn(network(), target.float_lanes), table


def run(part: str | int) -> dict[str, Any]:
    """Make the table, or predict and measure the networks from a number on."""
    if isinstance(part, str):
        return make_table(targets.get("host"))
    graphs, table = unseen()
    return measured(graphs[part : part + TOGETHER], table)


def keys(_: Namespace) -> Iterator[Key]:
    """Yield the table, then some networks at a time; the database is one of their own."""
    os.environ["HWOPT_HOME"] = str(FOLDER.resolve() / "home")
    yield {"part": "table"}
    for start in range(0, NETWORKS, TOGETHER):
        yield {"part": start}


EXPERIMENTS = (
    Experiment(
        name="latency_prediction",
        about="predicted beside measured latency of unseen networks",
        chapter="prediction and search",
        keys=keys,
        run=run,
        section=section,
    ),
)
