"""Recipes from YAML, TOML or JSON files, and from dictionaries: checked."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from hwopt.errors import HwoptError, first_line, unknown_name
from hwopt.job.check_recipe import check_recipe
from hwopt.job.recipe import Recipe


def load_recipe(path: Path) -> Recipe:
    """Read a recipe file.

    Raises:
        HwoptError: if it cannot be read, or a key or value is wrong; the nearest key is given.
    """
    document = read_document(path)
    if "search" in document:
        raise HwoptError(f"recipe {path} has a part `search`: it is for `hwopt search`")
    return make_recipe(document, f"recipe {path}")


def read_document(path: Path) -> dict[str, Any]:
    """Return the keys and values of a recipe file, unchecked.

    Raises:
        HwoptError: if it cannot be read or parsed.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise HwoptError(f"recipe {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise HwoptError(
            f"recipe {path} is not UTF-8 text, from byte {error.start} on: save it as UTF-8"
        ) from None
    try:
        if path.suffix == ".toml":
            document = tomllib.loads(text)
        elif path.suffix == ".json":
            document = json.loads(text)
        else:
            document = yaml.safe_load(text)
    except (tomllib.TOMLDecodeError, json.JSONDecodeError, yaml.YAMLError) as error:
        first = first_line(error)
        raise HwoptError(f"recipe {path} cannot be parsed: {first}") from None
    if not isinstance(document, dict):
        raise HwoptError(f"recipe {path} must hold keys and values, such as 'model: resnet8'")
    return document


def make_recipe(document: dict[str, Any], where: str = "recipe") -> Recipe:
    """Check a recipe given as a dictionary; a variant may be just the text of its passes.

    Raises:
        HwoptError: if a key or value is wrong; ``where`` begins the sentence.

    >>> recipe = make_recipe({"model": "resnet8", "data": "digits",
    ...     "variants": {"dense": "", "small": "prune-channels{ratio=0.3}"}})
    >>> recipe.baseline, recipe.variants["small"].passes
    ('dense', 'prune-channels{ratio=0.3}')
    """
    variants = document.get("variants")
    if isinstance(variants, dict):
        document = {
            **document,
            "variants": {
                name: {"passes": value or ""} if isinstance(value, str | None) else value
                for name, value in variants.items()
            },
        }
    try:
        recipe = Recipe.model_validate(document)
    except ValidationError as error:
        raise HwoptError(f"{where}: {sentence(error, Recipe)}") from None
    check_recipe(recipe, where)
    return recipe


def recipe_text(recipe: BaseModel) -> str:
    """Return a recipe as YAML, without what is as it is by default.

    >>> print(recipe_text(make_recipe({"model": "resnet8", "data": "digits", "seed": 3})))
    model: resnet8
    data: digits
    seed: 3
    <BLANKLINE>
    """
    document = recipe.model_dump(mode="json", exclude_defaults=True)
    return str(yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=88))


def changed_recipe(recipe: Recipe, **changes: Any) -> Recipe:
    """Return a recipe with other values of keys, checked again.

    Raises:
        HwoptError: as :func:`make_recipe`.
    """
    return make_recipe(recipe.model_dump(mode="json") | changes)


def sentence(error: ValidationError, model: type[BaseModel]) -> str:
    """Return the first problem as a sentence; a misspelt key is why another one is missing.

    Args:
        error: of a recipe, or of a part of one ...
        model: ... whose keys these are.
    """
    problems = error.errors()
    first = next((one for one in problems if one["type"] == "extra_forbidden"), problems[0])
    *path, last = first["loc"]
    if first["type"] == "extra_forbidden":
        place = f" in {'.'.join(map(str, path))}" if path else ""
        fields = list(_part(model, path).model_fields)
        return f"{unknown_name('key', str(last), fields)}{place}"
    key = ".".join(map(str, first["loc"]))
    if first["type"] == "missing":
        return f"the key {key!r} is missing"
    if first["type"] == "value_error":
        return f"{key}: {first['ctx']['error']}"
    return f"{key}: {first['msg']}, not {first['input']!r}"


def _part(model: type[BaseModel], path: Sequence[int | str]) -> type[BaseModel]:
    """Return the model of a part of a recipe; names and numbers of entries are passed over."""
    for name in path:
        field = model.model_fields.get(str(name))
        if field is not None:
            model = next(_models(field.annotation), model)
    return model


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the models in the type of a key, such as ``dict[str, Variant]``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)
