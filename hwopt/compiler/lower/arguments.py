"""Arguments of operators: nested lists of tensors and numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from hwopt.compiler.lower.call import Tensor


def identity(given: Any) -> Any:
    """Return what is equal for the same tensors and equal numbers, of equal types and signs."""
    if isinstance(given, Tensor):
        return id(given) if given.constant is None else (id(given.constant), given.shape)
    if isinstance(given, list | tuple):
        return tuple(map(identity, given))
    if isinstance(given, dict):
        return tuple((name, identity(one)) for name, one in given.items())
    return repr(given)


def replaced(given: Any, kind: type, by: Callable[[Any], Any]) -> Any:
    """Return nested arguments with everything of one type replaced."""
    if isinstance(given, kind):
        return by(given)
    if isinstance(given, list | tuple):
        return type(given)(replaced(one, kind, by) for one in given)
    if isinstance(given, dict):
        return {name: replaced(one, kind, by) for name, one in given.items()}
    return given


def in_sequence(
    function: torch._ops.OpOverload, given: Mapping[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """Return arguments as the operator's schema takes them, defaults included."""
    positional, keywords = [], {}
    for argument in function._schema.arguments:
        value = given.get(argument.name, argument.default_value)
        if argument.kwarg_only:
            keywords[argument.name] = value
        else:
            positional.append(value)
    return positional, keywords
