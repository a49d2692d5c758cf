"""What a recipe must not ask for, beyond types: refused before anything starts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hwopt import passes, peers
from hwopt.errors import HwoptError, unknown_name
from hwopt.job.routed import trains_routing
from hwopt.passes.abstain import Abstain
from hwopt.passes.route import Route

if TYPE_CHECKING:
    from hwopt.job.recipe import Binary, Recipe, Routing, Training, Variant

#: Samples of a data set that is not loaded yet.
_MANY = 1_000_000


def check_recipe(recipe: Recipe, where: str) -> None:
    """Refuse what could not be done, or would mean nothing.

    Raises:
        HwoptError: with a sentence that begins with ``where``.
    """
    for name, variant in recipe.variants.items():
        _check_variant(name, variant, recipe, where)
    if recipe.train:
        _check_training(recipe.train, [], f"{where}: train")
    if recipe.fine_tune:
        _check_training(recipe.fine_tune, list(recipe.variants.values()), f"{where}: fine_tune")
    for peer in recipe.peers:
        if peer not in peers.names():
            raise HwoptError(f"{where}: {unknown_name('peer', peer, peers.names())}")


def _check_training(training: Training, variants: list[Variant], where: str) -> None:
    """Refuse what ``fit`` would refuse, but only when its turn comes."""
    from torch import nn

    from hwopt.train import optimizers

    constraints, penalty = training.constraints, training.penalty
    if constraints and not constraints.model_dump(exclude={"strength"}, exclude_none=True):
        raise HwoptError(f"{where}.constraints has no level: give one at least")
    if penalty and penalty.form == "proximal" and "grows" in penalty.model_fields_set:
        raise HwoptError(f"{where}.penalty: grows is of the cumulative form, not of the proximal")
    losses = {
        "constraints": constraints,
        "distill": any(variant.distill for variant in variants),
        "align": any(variant.align for variant in variants),
    }
    others = {
        "penalty": penalty,
        "binary": any(variant.binary for variant in variants),
        "budget": any(variant.budget for variant in variants),
    }
    try:
        built = optimizers.build(
            training.optimizer,
            nn.Linear(1, 1),
            training.learning_rate,
            training.weight_decay,
            samples=_MANY,
            epochs=training.epochs,
            options=training.optimizer_options,
        )
        optimizers.check_use(
            built,
            schedule=training.schedule,
            label_smoothing=training.label_smoothing,
            losses=[name for name, is_there in losses.items() if is_there],
            terms=[name for name, is_there in (losses | others).items() if is_there],
        )
    except HwoptError as error:
        raise HwoptError(f"{where}: {error}") from None


def _check_variant(name: str, variant: Variant, recipe: Recipe, where: str) -> None:
    if name in ("base", "train"):
        raise HwoptError(f"{where}: {name!r} is what a job calls its own graph: rename the variant")
    if not name.replace("-", "").replace("_", "").isalnum():
        raise HwoptError(f"{where}: variant {name!r} must be of letters, digits, '-' and '_'")
    try:
        passes.parse(variant.passes)
    except HwoptError as error:
        raise HwoptError(f"{where}: variant {name}: {error}") from None
    for one in passes.parse(variant.passes):
        if isinstance(one, Abstain):
            raise HwoptError(
                f"{where}: variant {name}: {one.name} adds an output, which a job cannot train or "
                "evaluate: apply it to the graph that the job leaves"
            )
        if isinstance(one, Route) and (one.router == "learned" or not one.expert):
            raise HwoptError(
                f"{where}: variant {name}: what {one.name} adds must be trained: make it a key of "
                "the variant, beside its passes"
            )
    trains = variant.changes and variant.fine_tune and recipe.fine_tune is not None
    if variant.of_training and not trains:
        raise HwoptError(
            f"{where}: variant {name} has {' and '.join(variant.of_training)}, but is not "
            "fine-tuned: give passes and fine_tune, or leave that out"
        )
    if variant.rounds == 1 and "growth" in variant.model_fields_set:
        raise HwoptError(f"{where}: variant {name} has growth, but one round: give more rounds")
    if variant.distill and variant.distill.form == "blocks" and variant.distill.layer:
        raise HwoptError(
            f"{where}: variant {name}: distill.form blocks finds its layers itself: leave layer out"
        )
    if variant.budget and recipe.fine_tune:
        _check_budget(variant, recipe.fine_tune, f"{where}: variant {name}")
    if variant.route:
        _check_route(name, variant.route, recipe, f"{where}: variant {name}: route")
    if variant.binary and recipe.fine_tune:
        _check_binary(variant.binary, variant, recipe.fine_tune, f"{where}: variant {name}")


def _check_route(name: str, route: Routing, recipe: Recipe, where: str) -> None:
    """Refuse what would fail after the networks were trained only."""
    names = list(recipe.variants)
    before = names[: names.index(name)]
    if not route.expert and not route.cut:
        raise HwoptError(f"{where} needs an expert, or a cut where the network gets an exit")
    if route.expert in names and route.expert not in before:
        raise HwoptError(f"{where}: the expert {route.expert} must come before {name}")
    if route.expert and route.expert not in before and not Path(route.expert).is_dir():
        raise HwoptError(
            f"{where}: the expert {route.expert!r} is no folder, and of the variants before it "
            + (f"there are {', '.join(before)}" if before else "there is none")
        )
    wishes = route.model_dump(include={"coverage", "accuracy", "mean_ms"}, exclude_none=True)
    if len(wishes) > 1:
        raise HwoptError(f"{where} is for {' and '.join(wishes)}: keep one")
    of_learned = sorted(route.model_fields_set & {"width", "strength", "only_router"})
    if route.router != "learned" and of_learned:
        option = of_learned[0]
        raise HwoptError(f"{where}: {option} is of the learned router, not of {route.router}")
    if route.only_router and not route.expert:
        raise HwoptError(f"{where}: with only_router the exit would not be trained: leave it out")
    if not trains_routing(route):
        return
    if recipe.fine_tune is None:
        raise HwoptError(f"{where} has something to train, which fine_tune must describe")
    for term in ("penalty", "constraints"):
        if getattr(recipe.fine_tune, term):
            raise HwoptError(f"{where}: its training knows no {term}: leave it out of fine_tune")
    if recipe.fine_tune.optimizer in ("alig", "alig-plus", "borat"):
        raise HwoptError(
            f"{where}: {recipe.fine_tune.optimizer} needs the cross entropy alone, which the "
            "training of a router is not: choose sgd, adamw or vcsg"
        )


def _check_budget(variant: Variant, training: Training, where: str) -> None:
    """Refuse what would fail after the model was trained only."""
    from hwopt.allocation.latency_budget import check_options

    budget = variant.budget
    assert budget is not None
    if variant.rounds > 1 or variant.binary:
        other = "binary" if variant.binary else "rounds"
        raise HwoptError(f"{where}: budget does not go with {other}: leave one of them out")
    try:
        check_options(
            training.epochs,
            budget.ms,
            budget.share,
            budget.every,
            budget.settled,
            budget.widths,
        )
    except HwoptError as error:
        raise HwoptError(f"{where}: fine_tune: {error}") from None


def _check_binary(binary: Binary, variant: Variant, training: Training, where: str) -> None:
    """Refuse what would fail, or mean nothing, after the first phase only."""
    if variant.rounds > 1:
        raise HwoptError(f"{where}: binary layers are trained in one round: leave rounds out")
    of_bnew = sorted(binary.model_fields_set & {"growth", "frozen"})
    if binary.method != "bnew" and of_bnew:
        raise HwoptError(f"{where}: {of_bnew[0]} is of bnew, not of {binary.method}")
    if binary.frozen >= training.epochs:
        raise HwoptError(
            f"{where}: of {training.epochs} epochs of fine_tune {binary.frozen} are frozen: "
            "leave one at least to pull the weights"
        )
