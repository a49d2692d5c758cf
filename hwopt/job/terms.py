"""From the words of a recipe to the terms of a training's objective."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwopt.allocation.latency_budget import LatencyBudget, Measure
from hwopt.job.recipe import Binary, Constraints, Distillation, Training, Variant
from hwopt.passes import layers
from hwopt.train import (
    Alignment,
    BinaryPull,
    BlockDistillation,
    Bop,
    ChannelSlices,
    Constrained,
    L1Penalty,
    SelfDistillation,
    StraightThrough,
    TanhAnnealing,
    Term,
    substituted_places,
)
from hwopt.train.constraints import (
    ClassMarginal,
    Constraint,
    EntropyFloor,
    HardExamples,
    InputGradient,
    Sharpness,
)

if TYPE_CHECKING:
    from hwopt.graph import Graph


def make_terms(
    training: Training,
    graph: Graph,
    samples: int,
    variant: Variant | None = None,
    base: Graph | None = None,
    latency: Measure | None = None,
) -> list[Term]:
    """Return the terms for training a graph.

    Args:
        training: may have a penalty and constraints.
        graph: what is trained.
        samples: that it is trained on.
        variant: may be distilled, or aligned ...
        base: ... with this network, which must be given then.
        latency: measures graphs; must be given if the variant has a budget.
    """
    terms: list[Term] = []
    if training.penalty is not None:
        options = training.penalty.model_dump(exclude={"channels"})
        channels = ChannelSlices.of(graph) if training.penalty.channels else None
        terms.append(L1Penalty(**options, channels=channels, weights=layers.weights(graph)))
    if training.constraints is not None:
        terms.append(_constrained(training.constraints, training.epochs))
    if variant is None:
        return terms
    if variant.distill is not None:
        assert base is not None
        terms.append(_distillation(variant.distill, graph, base))
    if variant.align is not None:
        assert base is not None
        references = dict(base.parameters)
        terms.append(Alignment(dict(graph.masks), references, **variant.align.model_dump()))
    if variant.binary is not None:
        terms.append(_binary_term(variant.binary, training, graph, samples))
    if variant.budget is not None:
        assert latency is not None
        options = variant.budget.model_dump(exclude={"ms"})
        budget_ms = variant.budget.ms
        terms.append(LatencyBudget(graph, latency, training.epochs, budget_ms=budget_ms, **options))
    return terms


def with_real_weights(training: Training, variant: Variant) -> tuple[Training, Variant]:
    """Return the first phase of training binary layers: their activations are, their weights not.

    It is BNEW with a pull of nothing.
    """
    binary = variant.binary
    assert binary is not None
    first = binary.model_copy(update={"method": "bnew", "growth": 0.0, "frozen": 0})
    return (
        training.model_copy(update={"epochs": binary.first_epochs}),
        variant.model_copy(update={"binary": first}),
    )


def _constrained(constraints: Constraints, epochs: int) -> Term:
    kinds: dict[str, type[Constraint]] = {
        "entropy_floor": EntropyFloor,
        "class_marginal": ClassMarginal,
        "hard_examples": HardExamples,
        "input_gradient": InputGradient,
        "sharpness": Sharpness,
    }
    levels = constraints.model_dump(exclude={"strength"}, exclude_none=True)
    chosen = [kinds[name](level) for name, level in levels.items()]
    return Constrained(chosen, epochs, constraints.strength)


def _distillation(distill: Distillation, graph: Graph, base: Graph) -> Term:
    if distill.form == "blocks":
        places = substituted_places(graph, base)
        return BlockDistillation(base.to_torch(), places, distill.share)
    return SelfDistillation(base.to_torch(), distill.form, distill.share, distill.layer)


def _binary_term(binary: Binary, training: Training, graph: Graph, samples: int) -> Term:
    weights = [name for name in layers.binary_weights(graph) if graph.is_trainable(name)]
    epochs = training.epochs
    if binary.method == "bnew":
        steps = max(1, samples // training.batch_size)
        strength = BinaryPull.strength_for(binary.growth, steps, epochs, binary.frozen)
        return BinaryPull(weights, epochs, strength, binary.frozen)
    baselines = {
        "straight-through": StraightThrough,
        "tanh-annealing": TanhAnnealing,
        "bop": Bop,
    }
    return baselines[binary.method](weights, epochs)
