"""What a recipe must not ask for, beyond types: refused before anything starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hwopt import passes, peers
from hwopt.errors import HwoptError, unknown_name
from hwopt.passes.route import Route

if TYPE_CHECKING:
    from hwopt.job.recipe import Common, Recipe, Training, Variant
    from hwopt.tasks import Task

#: Samples of a data set that is not loaded yet.
_MANY = 1_000_000
#: What a job calls its own graphs.
_OWN = ("base", "train")


def check_common(recipe: Common, where: str) -> None:
    """Refuse what no recipe can have.

    Raises:
        HwoptError: with a sentence that begins with ``where``.
    """
    task = _task(recipe, where)
    for name, training in (("train", recipe.train), ("fine_tune", recipe.fine_tune)):
        if training is not None:
            check_training(training, [], task, f"{where}: {name}")
    for peer in recipe.peers:
        if peer not in peers.names():
            raise HwoptError(f"{where}: {unknown_name('peer', peer, peers.names())}")


def check_recipe(recipe: Recipe, where: str) -> None:
    """Refuse what could not be done, or would mean nothing.

    Raises:
        HwoptError: with a sentence that begins with ``where``.
    """
    for name, variant in recipe.variants.items():
        _check_variant(name, variant, recipe, where)
    check_common(recipe, where)
    if recipe.fine_tune is not None:
        variants, task = list(recipe.variants.values()), _task(recipe, where)
        check_training(recipe.fine_tune, variants, task, f"{where}: fine_tune")


def check_training(training: Training, variants: list[Variant], task: Task, where: str) -> None:
    """Refuse what ``fit`` would refuse, but only when its turn comes.

    Args:
        training: to check.
        variants: that are trained by it.
        task: that is trained for.
        where: begins the sentence.

    Raises:
        HwoptError: with what does not go together.
    """
    from torch import nn

    from hwopt.train import augment, optimizers

    for key in training.keys.values():
        key.check(where)
    try:
        augment.find(training.augment)
    except HwoptError as error:
        raise HwoptError(f"{where}: {error}") from None
    keys: dict[str, Any] = {
        **training.keys,
        **{n: k for variant in variants for n, k in variant.keys.items()},
    }
    # What a router adds is trained by itself, and says so in its own check.
    terms = [name for name in keys if name != "route"]
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
            task=task.smoothed(training.label_smoothing),
            losses=[name for name in terms if keys[name].changes_loss],
            terms=terms,
        )
    except HwoptError as error:
        raise HwoptError(f"{where}: {error}") from None


def _task(recipe: Common, where: str) -> Task:
    """Return the task of a recipe."""
    from hwopt import tasks

    try:
        task = tasks.find(recipe.task)
    except HwoptError as error:
        raise HwoptError(f"{where}: {error}") from None
    if isinstance(task, tasks.Imitation) and recipe.train is not None:
        raise HwoptError(
            f"{where}: the model as it is given is what is imitated: leave `train` out, or give "
            "another task"
        )
    return task


def _check_variant(name: str, variant: Variant, recipe: Recipe, where: str) -> None:
    if name in _OWN:
        raise HwoptError(f"{where}: {name!r} is what a job calls its own graph: rename the variant")
    if not name.replace("-", "").replace("_", "").isalnum():
        raise HwoptError(f"{where}: variant {name!r} must be of letters, digits, '-' and '_'")
    where = f"{where}: variant {name}"
    _check_passes(variant.passes, where)
    trains = variant.changes and variant.fine_tune and recipe.fine_tune is not None
    if variant.of_training and not trains:
        raise HwoptError(
            f"{where} has {' and '.join(variant.of_training)}, but is not fine-tuned: give passes "
            "and fine_tune, or leave that out"
        )
    if variant.rounds == 1 and variant.growth is not None:
        raise HwoptError(f"{where} has growth, but one round: give more rounds")
    for key in variant.keys.values():
        key.check(name, recipe, where)


def _check_passes(text: str, where: str) -> None:
    try:
        parsed = passes.parse(text)
    except HwoptError as error:
        raise HwoptError(f"{where}: {error}") from None
    for one in parsed:
        if one.changes_interface:
            raise HwoptError(
                f"{where}: {one.name} changes what the model takes or returns, which a job cannot "
                "train or evaluate: compile the graph that the job leaves with it (hwopt compile "
                f"FOLDER/graphs/VARIANT --passes {one.name})"
            )
        if isinstance(one, Route) and (one.router == "learned" or not one.expert):
            raise HwoptError(
                f"{where}: what {one.name} adds must be trained: make it a key of the variant, "
                "beside its passes"
            )
