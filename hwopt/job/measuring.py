"""The artefacts of a job and its peers, measured in one run."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hwopt import data, peers
from hwopt.compiler import InTurns, load, measure
from hwopt.compiler.machines import alone_on
from hwopt.errors import HwoptError
from hwopt.job import asked_peers
from hwopt.job.check import one_by_one

if TYPE_CHECKING:
    from torch.utils.data import Dataset

    from hwopt.compiler import Artifact
    from hwopt.job.recipe import Recipe
    from hwopt.job.workspace import Workspace
    from hwopt.targets import Target
    from hwopt.tasks import Task


def measure_variants(
    recipe: Recipe, target: Target, work: Workspace, samples: Dataset[Any], task: Task
) -> dict[str, Any]:
    """Measure all artefacts and peers in one run, alternating; say which peers cannot run.

    Args:
        recipe: names variants and peers.
        target: what the artefacts run on.
        work: where they lie.
        samples: what a variant is called with whose inputs have ways to go ...
        task: ... as this feeds them.

    Returns:
        ``latencies``, ``Latency.to_json`` of ``NAME`` and of ``NAME/PEER``, and ``failures``, as
        text.
    """
    calls: dict[str, Callable[[], object]] = {}
    failures: list[str] = []
    for name in recipe.variants:
        artifact = load(work.path("artifacts", name), target=target)
        if artifact.has_ways:
            calls[name] = _over_samples(artifact, recipe, samples, task)
            failures += [f"{name}: peers are left out: they would compute both ways"]
            continue
        inputs = artifact.random_inputs(recipe.seed)
        calls[name] = artifact.call(*inputs)
        for peer in asked_peers.measurable(recipe, target):
            folder, graph = work.path("peers", name), artifact.graph()
            try:
                calls[f"{name}/{peer}"] = peers.make(peer, graph, inputs, target.threads, folder)
            except HwoptError as error:
                failures.append(f"{name}: {error}")
    with alone_on(target):
        latencies = measure(calls, threads=target.threads, runs=recipe.runs)
    return {
        "latencies": {name: latency.to_json() for name, latency in latencies.items()},
        "failures": failures,
    }


def _over_samples(
    artifact: Artifact, recipe: Recipe, samples: Dataset[Any], task: Task
) -> Callable[[], object]:
    """Return a call with one sample after the other."""
    drawn = next(data.batches(samples, recipe.runs, seed=recipe.seed))
    names = [spec.name for spec in artifact.manifest.inputs]
    return InTurns(artifact, itertools.cycle(one_by_one(task.feed(drawn.inputs), names)))
