"""Nothing that is wrong is ever measured: artefact and torch must agree first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hwopt import data
from hwopt.errors import HwoptError
from hwopt.passes.layers import BINARY
from hwopt.passes.routing import RoutedValues, is_routed, with_parts

if TYPE_CHECKING:
    import torch
    from torch.utils.data import Dataset

    from hwopt.compiler import Artifact
    from hwopt.graph import Graph

#: Largest difference that counts as rounding, relative to the largest output, and absolute where
#: that is below 1.
TOLERANCE = 1e-4
#: Share of the samples in which rounding may turn the sign that a binary layer takes, which no
#: tolerance of outputs covers. A wrong kernel is wrong in most.
TURNED = 0.02


def check(artifact: Artifact, graph: Graph, samples: Dataset[Any], most: int) -> dict[str, Any]:
    """Compare an artefact with torch on the first ``most`` samples, one at a time.

    Returns:
        ``samples``, ``max_difference`` of any output, and ``same_label``: of how many samples the
        largest output is the same one. It is another only where two are equal up to rounding.
        With binary layers also ``turned``: in how many samples a sign was turned by rounding;
        with a router ``tied``: how many have the threshold as their score, up to rounding. Both are
        left out of ``max_difference``.

    Raises:
        HwoptError: if they differ by more than rounding.
    """
    import torch

    module = graph.to_torch().eval()
    count = min(most, len(samples))  # type: ignore[arg-type]
    inputs, _ = data.batch(samples, torch.arange(count))
    with torch.no_grad():
        expected = module(inputs).numpy()
    got = np.concatenate([artifact(inputs[i : i + 1].numpy()) for i in range(count)])
    differences = np.abs(expected - got).reshape(count, -1).max(1)
    same = int((expected.argmax(1) == got.argmax(1)).sum())
    tolerance = TOLERANCE * max(1.0, float(np.abs(expected).max()))
    result = {"samples": count, "same_label": same}
    counted = np.ones(count, bool)
    if is_routed(graph):
        counted = ~_tied(graph, inputs)
        result["tied"] = int((~counted).sum())
    if any(node.op in BINARY.values() for node in graph.nodes()):
        # What is no number was not made by a sign.
        turned = counted & np.isfinite(differences) & (differences > tolerance)
        result["turned"] = int(turned.sum())
        if result["turned"] <= TURNED * count:
            counted &= ~turned
    difference = float(differences[counted].max(initial=0.0))
    if not difference <= tolerance:
        raise HwoptError(
            f"the artefact differs from torch by {difference:.2e} ({same} of {count} labels are "
            "the same): please report this as a bug"
        )
    return {**result, "max_difference": difference}


def _tied(graph: Graph, inputs: torch.Tensor) -> np.ndarray:
    """Return which samples may go either way: their score is the threshold up to rounding."""
    import torch

    with torch.no_grad():
        score = with_parts(graph).to_torch().eval()(inputs)[2].numpy()
    distance = np.abs(score - RoutedValues.of(graph).threshold)
    tied: np.ndarray = distance <= TOLERANCE * np.maximum(1, np.abs(score))
    return tied
