"""The baseline in other runtimes: how accurate it is there, and how fast beside ours."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwopt import data, peers
from hwopt.compiler import measure
from hwopt.compiler.machines import alone_on
from hwopt.errors import HwoptError

if TYPE_CHECKING:
    from hwopt.compiler import Artifact
    from hwopt.data import DataSet
    from hwopt.targets import Target

#: Training samples that 8-bit peers take the ranges of activations from: NNCF's own default.
CALIBRATION = 300


def in_peers(
    names: list[str],
    artifact: Artifact,
    target: Target,
    samples: DataSet,
    folder: Path,
    runs: int,
    baseline_ms: float,
) -> dict[str, Any]:
    """Measure a network in peers, in turns with its artefact.

    Args:
        names: of the peers.
        artifact: the network, compiled by us ...
        target: ... for this.
        samples: of training, for the ranges of 8-bit peers; of validation, for the accuracy.
        folder: for what peers write.
        runs: measured calls of each.
        baseline_ms: median latency of the network in the study; what is measured is brought to its
            scale.

    Returns:
        ``peers``: for each its ``name``, ``accuracy`` on the validation split, ``latency`` and
        ``ratio`` to the artefact; ``failures``: a sentence for each peer that cannot run it.
    """
    graph, inputs = artifact.graph(), artifact.random_inputs()
    ranges = calibration(samples)
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
                "accuracy": peers.accuracy(calls[name], inputs, samples.validation),
                "latency": dataclasses.asdict(one.interval(scale)),
                "ratio": scale * one.median_ms / baseline_ms,
            }
        )
    return {"peers": entries, "failures": failures}


def calibration(samples: DataSet) -> peers.Samples:
    """Return the training samples, of batch 1, that 8-bit peers take their ranges from."""
    images, _ = next(data.batches(samples.train, CALIBRATION, seed=0))
    return [(image,) for image in images.numpy()[:, None]]
