"""What ``hwopt search`` is to do: a recipe with a part ``search``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, ValidationError

from hwopt import plugins
from hwopt.errors import HwoptError
from hwopt.files import write_json
from hwopt.job import Recipe, Variant
from hwopt.job.check_recipe import check_common, check_recipe
from hwopt.job.keys import Binary, Limits, Routing, Strict, one_of
from hwopt.job.read_recipe import read_document, sentence
from hwopt.job.recipe import Common
from hwopt.passes import parse
from hwopt.search.files import RECIPE_FILE

#: The name of one that is installed.
Sampler = Annotated[str, one_of("sampler", lambda: plugins.names(plugins.SAMPLERS))]


class CandidateLimits(Limits):
    """What a candidate must not exceed; it is not trained where that is known before.

    Attributes:
        share: latency as a share of that of the network before.
        quality: on the validation split: the least, or, of errors, the most.
    """

    share: float | None = Field(default=None, gt=0)
    quality: float | None = None


class Search(Strict):
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
        sampler: who suggests: ``guided`` is ours; ``tpe``, ``nsga2``, ``gp`` and ``random`` are
            Optuna's.
        limits: what a candidate must not exceed.
        minimise: what is traded beside quality and latency: ``memory_bytes`` and ``bytes``, as in
            ``limits``.
        first_epochs: of shorter trainings before the full one, the shortest first: a candidate
            that is clearly beaten after one of them is not trained on.
        clearly: by how much quality: of a share this much, of other figures this share of the
            baseline's.
        workers: candidates that are trained at the same time; nothing runs while one is measured.
        trial_seconds: for the training, or for the measuring, of one candidate.
        warm_start: folders of other studies, whose fronts are tried first.
        storage: where Optuna keeps the trials; by default a file in the study's folder.
    """

    space: tuple[str, ...] = Field(default=("prune-channels{multiple=0}",), min_length=1)
    levels: int = Field(default=8, ge=2)
    only: dict[str, tuple[int | float | str, ...]] = Field(default_factory=dict)
    model_options: dict[str, tuple[int | float | str | bool, ...]] = Field(default_factory=dict)
    routes: tuple[Routing, ...] = ()
    binary: Binary | None = None
    trials: PositiveInt = 30
    patience: NonNegativeInt = 0
    sampler: Sampler = "guided"
    limits: CandidateLimits = CandidateLimits()
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


class SearchRecipe(Common):
    """A recipe with a part ``search``; a search makes its own variants.

    Attributes:
        search: how candidates are found.
    """

    search: Search = Search()

    def of_job(self) -> Recipe:
        """Return the recipe of a job that makes variants of the same network."""
        return Recipe(**{name: getattr(self, name) for name in Common.model_fields})


def load_search(path: Path) -> SearchRecipe:
    """Read a recipe file with a part ``search``.

    Raises:
        HwoptError: if it cannot be read, or a key or value is wrong.
    """
    return make_search(read_document(path), f"recipe {path}")


def make_search(document: dict[str, Any], where: str = "recipe") -> SearchRecipe:
    """Check a recipe with a part ``search``, given as a dictionary.

    Raises:
        HwoptError: if a key or value is wrong; ``where`` begins the sentence.

    >>> recipe = make_search({"model": "resnet8", "data": "digits", "search": {}})
    >>> recipe.search.sampler, recipe.search.trials
    ('guided', 30)
    """
    if "variants" in document:
        raise HwoptError(f"{where}: a search makes its own variants: leave `variants` out")
    part = document.get("search") or {}
    if not isinstance(part, dict):
        raise HwoptError(f"{where}: search must hold keys and values, such as 'trials: 20'")
    try:
        recipe = SearchRecipe.model_validate({**document, "search": part})
    except ValidationError as error:
        raise HwoptError(f"{where}: {sentence(error, SearchRecipe)}") from None
    check_common(recipe, where)
    _check(recipe.search, f"{where}: search")
    _check_model_options(recipe, f"{where}: search: model_options")
    if recipe.fine_tune is None:
        raise HwoptError(f"{where}: a search trains its candidates: fine_tune must describe how")
    epochs = (*recipe.search.first_epochs, recipe.fine_tune.epochs)
    if sorted(set(epochs)) != list(epochs):
        raise HwoptError(
            f"{where}: search: first_epochs must rise, and end below the {epochs[-1]} of fine_tune"
        )
    for number in epochs:
        _check_candidates(recipe, number, f"{where}: search")
    return recipe


def _check(search: Search, where: str) -> None:
    """Refuse what would fail, or mean nothing, after the network was trained only."""
    try:
        named = [one for text in search.space for one in parse(text)]
    except HwoptError as error:
        raise HwoptError(f"{where}: space: {error}") from None
    for one in named:
        if one.needs_latency:
            raise HwoptError(
                f"{where}: {one.name} measures while others are trained: a search chooses widths "
                "itself, by prune-channels"
            )
    for route in search.routes:
        if route.mean_ms is not None:
            raise HwoptError(
                f"{where}: routes: mean_ms would be measured while others are trained: wish for a "
                "coverage or a quality, and limit the latency by limits"
            )


def _check_candidates(recipe: SearchRecipe, epochs: int, where: str) -> None:
    """Refuse routes and binary training as they would be refused in variants of a job."""
    assert recipe.fine_tune is not None
    candidates = [Variant(route=route) for route in recipe.search.routes]
    if recipe.search.binary is not None:
        candidates.append(Variant(passes="binarize", binary=recipe.search.binary))
    fine_tune = recipe.fine_tune.model_copy(update={"epochs": epochs})
    for one in candidates:
        changes = {"variants": {"dense": Variant(), "candidate": one}, "fine_tune": fine_tune}
        check_recipe(recipe.of_job().model_copy(update=changes), where)


def _check_model_options(recipe: SearchRecipe, where: str) -> None:
    """Refuse options whose value before is not known, or that would stay untrained."""
    for name in recipe.search.model_options:
        if name not in recipe.model_options:
            raise HwoptError(f"{where}: the recipe's own model_options must give the {name} before")
    if recipe.search.model_options and recipe.train is None:
        raise HwoptError(f"{where}: other models have no weights: train must say how")


def write_search(folder: Path, recipe: SearchRecipe) -> None:
    """Keep a recipe in a study's folder, for its tasks."""
    write_json(folder / RECIPE_FILE, recipe.model_dump(mode="json"))
