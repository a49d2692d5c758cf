"""From the words of a recipe to the terms of a training's objective."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwopt.optimize.recipe import Training, Variant
from hwopt.passes import layers
from hwopt.train import Alignment, ChannelSlices, L1Penalty, SelfDistillation, Term

if TYPE_CHECKING:
    from hwopt.graph import Graph


def make_terms(
    training: Training, graph: Graph, variant: Variant | None = None, base: Graph | None = None
) -> list[Term]:
    """Return the terms for training a graph.

    Args:
        training: may have a penalty.
        graph: what is trained.
        variant: may be distilled, or aligned ...
        base: ... with this network, which must be given then.
    """
    terms: list[Term] = []
    if training.penalty is not None:
        options = training.penalty.model_dump(exclude={"channels"})
        channels = ChannelSlices.of(graph) if training.penalty.channels else None
        terms.append(L1Penalty(**options, channels=channels, weights=layers.weights(graph)))
    if variant is None or base is None:
        return terms
    if variant.distill is not None:
        terms.append(SelfDistillation(base.to_torch(), **variant.distill.model_dump()))
    if variant.align is not None:
        references = dict(base.parameters)
        terms.append(Alignment(dict(graph.masks), references, **variant.align.model_dump()))
    return terms
