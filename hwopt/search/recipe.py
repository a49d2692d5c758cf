"""What ``hwopt search`` is to do: a recipe with a part ``search``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, ValidationError

from hwopt.errors import HwoptError
from hwopt.files import write_json
from hwopt.job import Recipe, Variant, make_recipe
from hwopt.job.check_recipe import check_recipe
from hwopt.job.read_recipe import read_document, sentence
from hwopt.job.recipe import Binary, Routing
from hwopt.passes import parse
from hwopt.search.files import RECIPE_FILE


class Limits(BaseModel):
    """What a candidate must not exceed; it is not trained where that is known before.

    Attributes:
        ms: latency in milliseconds.
        share: latency as a share of that of the network before.
        accuracy: the least on the validation split.
        memory_bytes: of the values inside the model.
        bytes: of weights and code.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    ms: float | None = Field(default=None, gt=0)
    share: float | None = Field(default=None, gt=0)
    accuracy: float | None = Field(default=None, ge=0, lt=1)
    memory_bytes: PositiveInt | None = None
    bytes: PositiveInt | None = None


class Search(BaseModel):
    """How candidates are found.

    Attributes:
        space: passes whose choices make the space, in the order in which they are applied.
        levels: values of a dimension at the most, such as widths of a layer.
        only: for some dimensions, the values that are allowed.
        model_options: for options of the model, values beside the recipe's, such as other widths;
            such a model is trained from nothing before its passes are applied.
        routes: what a candidate may become beside its passes: it asks an expert.
        binary: how candidates with binary layers are trained.
        trials: candidates that are measured, at the most.
        patience: measured candidates without a better front, after which the search ends; 0 never
            ends it.
        sampler: who suggests: ``guided`` is ours, the others are Optuna's.
        limits: what a candidate must not exceed.
        minimise: what is traded beside accuracy and latency: ``memory_bytes`` and ``bytes``, as in
            ``limits``.
        first_epochs: of shorter trainings before the full one, the shortest first: a candidate
            that is clearly beaten after one of them is not trained on.
        clearly: by how much accuracy, in [0, 1].
        workers: candidates that are trained at the same time; nothing runs while one is measured.
        trial_seconds: for the training, or for the measuring, of one candidate.
        warm_start: folders of other studies, whose fronts are tried first.
        storage: where Optuna keeps the trials; by default a file in the study's folder.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    space: tuple[str, ...] = Field(default=("prune-channels{multiple=0}",), min_length=1)
    levels: int = Field(default=8, ge=2)
    only: dict[str, tuple[int | float | str, ...]] = {}
    model_options: dict[str, tuple[int | float | str | bool, ...]] = {}
    routes: tuple[Routing, ...] = ()
    binary: Binary | None = None
    trials: PositiveInt = 30
    patience: NonNegativeInt = 0
    sampler: Literal["guided", "tpe", "nsga2", "gp", "random"] = "guided"
    limits: Limits = Limits()
    minimise: tuple[Literal["memory_bytes", "bytes"], ...] = ()
    first_epochs: tuple[PositiveInt, ...] = ()
    clearly: float = Field(default=0.01, ge=0)
    workers: PositiveInt = 1
    trial_seconds: PositiveInt = 3600
    warm_start: tuple[str, ...] = ()
    storage: str | None = None

    def binary_of(self, text: str) -> Binary | None:
        """Return how a candidate is trained to +1 and -1, if its passes make it binary."""
        names = {one.name for one in parse(text)}
        return self.binary if "binarize" in names else None


def load_search(path: Path) -> tuple[Recipe, Search]:
    """Read a recipe file with a part ``search``.

    Raises:
        HwoptError: if it cannot be read, or a key or value is wrong.
    """
    return make_search(read_document(path), f"recipe {path}")


def make_search(document: dict[str, Any], where: str = "recipe") -> tuple[Recipe, Search]:
    """Check a recipe with a part ``search``, given as a dictionary.

    Raises:
        HwoptError: if a key or value is wrong; ``where`` begins the sentence.

    >>> recipe, search = make_search({"model": "resnet8", "data": "digits", "search": {}})
    >>> search.sampler, search.trials
    ('guided', 30)
    """
    if "variants" in document:
        raise HwoptError(f"{where}: a search makes its own variants: leave `variants` out")
    rest = {key: value for key, value in document.items() if key != "search"}
    recipe = make_recipe(rest, where)
    part = document.get("search") or {}
    if not isinstance(part, dict):
        raise HwoptError(f"{where}: search must hold keys and values, such as 'trials: 20'")
    try:
        search = Search.model_validate(part)
    except ValidationError as error:
        keys: dict[str, type[BaseModel]] = {
            "": Search,
            "limits": Limits,
            "routes": Routing,
            "binary": Binary,
        }
        fields = {place: list(model.model_fields) for place, model in keys.items()}
        raise HwoptError(f"{where}: search: {sentence(error, fields)}") from None
    _check(search, where)
    _check_model_options(recipe, search, where)
    if recipe.fine_tune is None:
        raise HwoptError(f"{where}: a search trains its candidates: fine_tune must describe how")
    epochs = (*search.first_epochs, recipe.fine_tune.epochs)
    if sorted(set(epochs)) != list(epochs):
        raise HwoptError(
            f"{where}: search: first_epochs must rise, and end below the {epochs[-1]} of fine_tune"
        )
    for number in epochs:
        _check_candidates(recipe, search, number, f"{where}: search")
    return recipe, search


def _check(search: Search, where: str) -> None:
    """Refuse what would fail, or mean nothing, after the network was trained only."""
    try:
        named = [one for text in search.space for one in parse(text)]
    except HwoptError as error:
        raise HwoptError(f"{where}: search: space: {error}") from None
    for one in named:
        if one.needs_latency:
            raise HwoptError(
                f"{where}: search: {one.name} measures while others are trained: a search chooses "
                "widths itself, by prune-channels"
            )

    for route in search.routes:
        if route.mean_ms is not None:
            raise HwoptError(
                f"{where}: search: routes: mean_ms would be measured while others are trained: "
                "wish for a coverage or an accuracy, and limit the latency by limits"
            )


def _check_candidates(recipe: Recipe, search: Search, epochs: int, where: str) -> None:
    """Refuse routes and binary training as they would be refused in variants of a job."""
    assert recipe.fine_tune is not None
    candidates = [Variant(route=route) for route in search.routes]
    if search.binary is not None:
        candidates.append(Variant(passes="binarize", binary=search.binary))
    fine_tune = recipe.fine_tune.model_copy(update={"epochs": epochs})
    for one in candidates:
        variants = {"dense": Variant(), "candidate": one}
        check_recipe(
            recipe.model_copy(update={"variants": variants, "fine_tune": fine_tune}), where
        )


def _check_model_options(recipe: Recipe, search: Search, where: str) -> None:
    """Refuse options whose value before is not known, or that would stay untrained."""
    for name in search.model_options:
        if name not in recipe.model_options:
            raise HwoptError(
                f"{where}: search: model_options: the recipe's own model_options must give the "
                f"{name} before"
            )
    if search.model_options and recipe.train is None:
        raise HwoptError(
            f"{where}: search: model_options: other models have no weights: train must say how"
        )


def write_search(folder: Path, recipe: Recipe, search: Search) -> None:
    """Keep both in a study's folder, for its workers."""
    # What was left out has defaults, and some keys mean something by being there.
    document, part = (one.model_dump(mode="json", exclude_unset=True) for one in (recipe, search))
    write_json(folder / RECIPE_FILE, {**document, "search": part})
