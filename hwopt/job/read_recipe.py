"""Recipes from YAML, TOML or JSON files, and from dictionaries: checked."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from hwopt.errors import HwoptError, first_line, unknown_name
from hwopt.job.check_recipe import check_recipe
from hwopt.job.recipe import (
    Alignment,
    Binary,
    Budget,
    Constraints,
    Distillation,
    Penalty,
    Recipe,
    Routing,
    Training,
    Variant,
)


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
        raise HwoptError(f"{where}: {sentence(error)}") from None
    check_recipe(recipe, where)
    return recipe


def changed_recipe(recipe: Recipe, **changes: Any) -> Recipe:
    """Return a recipe with other values of keys, checked again.

    Only what was set is written out for it: that a key was left out has a meaning, too.

    Raises:
        HwoptError: as :func:`make_recipe`.
    """
    return make_recipe(recipe.model_dump(mode="json", exclude_unset=True) | changes)


def sentence(error: ValidationError, keys: dict[str, list[str]] | None = None) -> str:
    """Return the first problem as a sentence; a misspelt key is why another one is missing.

    Args:
        error: of a recipe, or of a part of one ...
        keys: ... that has these, and parts with theirs, by name; its own by an empty one.
    """
    problems = error.errors()
    first = next((one for one in problems if one["type"] == "extra_forbidden"), problems[0])
    *path, last = first["loc"]
    if first["type"] == "extra_forbidden":
        part = next((str(one) for one in path if isinstance(one, str)), "")
        fields = keys[part] if keys else _fields(path)
        place = f" in {'.'.join(map(str, path))}" if path else ""
        return f"{unknown_name('key', str(last), fields)}{place}"
    key = ".".join(map(str, first["loc"]))
    if first["type"] == "missing":
        return f"the key {key!r} is missing"
    return f"{key}: {first['msg']}, not {first['input']!r}"


def _fields(path: list[int | str]) -> list[str]:
    """Return the keys that there are at a place of a recipe."""
    parts: dict[str, type[BaseModel]] = {
        "constraints": Constraints,
        "penalty": Penalty,
        "distill": Distillation,
        "align": Alignment,
        "binary": Binary,
        "budget": Budget,
        "route": Routing,
    }
    if not path:
        return list(Recipe.model_fields)
    if path[0] == "variants":
        return list(Variant.model_fields if len(path) == 2 else parts[str(path[-1])].model_fields)
    return list(parts.get(str(path[-1]), Training).model_fields)
