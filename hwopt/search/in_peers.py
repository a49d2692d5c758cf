"""The baseline in other runtimes: how good it is there, and how fast beside ours."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwopt import data, peers
from hwopt.compiler import measure
from hwopt.compiler.machines import alone_on
from hwopt.errors import HwoptError
from hwopt.job.check import one_by_one

if TYPE_CHECKING:
    from hwopt.compiler import Artifact
    from hwopt.data import DataSet
    from hwopt.targets import Target
    from hwopt.tasks import Task

#: Training samples that 8-bit peers take the ranges of activations from: NNCF's own default.
CALIBRATION = 300


def in_peers(
    names: list[str],
    artifact: Artifact,
    target: Target,
    samples: DataSet,
    task: Task,
    folder: Path,
    runs: int,
    baseline_ms: float,
) -> dict[str, Any]:
    """Measure a network in peers, in turns with its artefact.

    Args:
        names: of the peers.
        artifact: the network, compiled by us ...
        target: ... for this.
        samples: of training, for the ranges of 8-bit peers; of validation, for the quality.
        task: that the network is for.
        folder: for what peers write.
        runs: measured calls of each.
        baseline_ms: median latency of the network in the study; what is measured is brought to its
            scale.

    Returns:
        ``peers``: for each its ``name``, ``quality`` on the validation split, ``latency`` and
        ``ratio`` to the artefact; ``failures``: a sentence for each peer that cannot run it.
    """
    graph, inputs = artifact.graph(), artifact.random_inputs()
    names_in = [spec.name for spec in artifact.manifest.inputs]
    ranges = calibration(samples, task, names_in)
    calls: dict[str, peers.PeerCall] = {"": artifact.call(*inputs)}
    failures = []
    for name in names:
        threads = artifact.threads
        try:
            calls[name] = peers.make(name, graph, inputs, threads, folder / name, ranges)
        except HwoptError as error:
            failures.append(str(error))
    with alone_on(target):
        found = measure(calls, threads=artifact.threads, runs=runs)
    scale = baseline_ms / found.pop("").median_ms
    entries = []
    for name, one in found.items():
        entries.append(
            {
                "name": name,
                "quality": peers.quality(calls[name], inputs, samples.validation, task, names_in),
                "latency": dataclasses.asdict(one.interval(scale)),
                "ratio": scale * one.median_ms / baseline_ms,
            }
        )
    return {"peers": entries, "failures": failures}


def calibration(samples: DataSet, task: Task, names: Sequence[str]) -> peers.Samples:
    """Return the training samples, of batch 1, that 8-bit peers take their ranges from."""
    drawn = next(data.batches(samples.train, CALIBRATION, seed=0))
    return list(one_by_one(task.feed(drawn.inputs), names))
