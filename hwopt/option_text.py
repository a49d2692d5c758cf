"""Names with options as text: ``prune-channels{ratio=0.5,criterion=l1},fold-batch-norm``."""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from collections.abc import Iterator
from typing import Any, TypeVar

from hwopt.errors import HwoptError, check_choice, unknown_name

Named = TypeVar("Named")
_PASS = re.compile(r"\s*([A-Za-z0-9][\w-]*)\s*(?:\{([^{}]*)\})?\s*(,|$)")
#: A name, or a path.
_WORD = re.compile(r"[\w./~][\w./~-]*")


def format_options(name: str, instance: Any) -> str:
    """Return the text form of a dataclass; options that have their default value are left out."""
    options = [
        f"{option.name}={format_value(getattr(instance, option.name))}"
        for option in options_of(type(instance))
        if getattr(instance, option.name) != _default(option)
    ]
    return f"{name}{{{','.join(options)}}}" if options else name


def options_of(kind: type[Any]) -> list[dataclasses.Field[Any]]:
    """Return the fields of a dataclass that a text can give; metadata may say of one it is none."""
    return [one for one in dataclasses.fields(kind) if one.metadata.get("is_option", True)]


def split_pipeline(text: str) -> Iterator[tuple[str, str]]:
    """Yield (name, options text) of every pass in a pipeline's text.

    Raises:
        HwoptError: if the text is not a list of passes.

    >>> list(split_pipeline("fold-batch-norm, prune-channels{ratio=0.5}"))
    [('fold-batch-norm', ''), ('prune-channels', 'ratio=0.5')]
    """
    position = 0
    while position < len(text.rstrip()):
        match = _PASS.match(text, position)
        if match is None:
            raise HwoptError(
                f"cannot read the passes {text!r} at {text[position:]!r}: write "
                "name{option=value,option=value} and separate passes by commas"
            )
        yield match[1], match[2] or ""
        position = match.end()
        if match[3] == "," and not text[position:].strip():
            raise HwoptError(f"the passes {text!r} end with a comma: a pass is missing")


def parse_options(kind: type[Named], text: str, what: str) -> Named:
    """Make a dataclass from the text of its options.

    Args:
        kind: the class.
        text: what stands in braces.
        what: it is, for messages: ``pass prune-channels``.

    Raises:
        HwoptError: if an option is unknown or its value is not of the option's type.
    """
    types_by_name = typing.get_type_hints(kind)
    fields = [option.name for option in options_of(kind)]
    options: dict[str, Any] = {}
    for part in _split_options(text):
        name, separator, value = (piece.strip() for piece in part.partition("="))
        if not separator:
            raise HwoptError(f"{what}: option {part!r} has no value")
        if name not in fields:
            raise unknown_name(f"option of {what}", name, fields)
        if name in options:
            raise HwoptError(f"{what}: option {name} is given twice: leave one out")
        options[name] = _parse(f"{what}: {name}", types_by_name[name], value)
    try:
        return kind(**options)
    except TypeError as error:
        raise HwoptError(f"{what}: {error}") from None


def _split_options(text: str) -> list[str]:
    """Split at commas that are not inside [ ]."""
    parts = re.split(r",(?![^\[]*\])", text)
    return [part for part in parts if part.strip()]


def _default(option: dataclasses.Field[Any]) -> Any:
    if option.default_factory is not dataclasses.MISSING:
        return option.default_factory()
    return option.default


def format_value(value: Any) -> str:
    """Return the text of an option's value, which parses back.

    Raises:
        HwoptError: if the value is a name with characters that texts of passes cannot have.

    >>> format_value(("conv1", "conv2")), format_value(None), format_value(True)
    ('[conv1,conv2]', 'none', 'true')
    """
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, tuple):
        # A pair of a name and a number is an entry such as conv1:0.5.
        entries = (
            ":".join(map(format_value, v)) if isinstance(v, tuple) else format_value(v)
            for v in value
        )
        return f"[{','.join(entries)}]"
    if isinstance(value, str) and not _WORD.fullmatch(value):
        raise HwoptError(
            f"{value!r} cannot stand in the text of an option: use letters, digits, ._/~-"
        )
    return str(value)


def _parse_entry(where: str, expected: Any, text: str) -> tuple[Any, ...]:
    """Parse ``name:number``."""
    pieces, kinds = text.split(":"), typing.get_args(expected)
    if len(pieces) != len(kinds):
        raise HwoptError(f"{where} must have entries such as name:0.5, not {text!r}")
    return tuple(_parse(where, kind, piece) for kind, piece in zip(kinds, pieces, strict=True))


def _parse(where: str, expected: Any, text: str) -> Any:
    origin, arguments = typing.get_origin(expected), typing.get_args(expected)
    if origin in (types.UnionType, typing.Union):
        if text == "none" and type(None) in arguments:
            return None
        return _parse(where, next(a for a in arguments if a is not type(None)), text)
    if origin is tuple:
        inside = text.removeprefix("[").removesuffix("]")
        entries = [part.strip() for part in inside.split(",") if part.strip()]
        if typing.get_origin(arguments[0]) is tuple:
            return tuple(_parse_entry(where, arguments[0], entry) for entry in entries)
        return tuple(_parse(where, arguments[0], entry) for entry in entries)
    if origin is typing.Literal:
        check_choice(where, text, arguments)
        return text
    if expected is bool and text in ("true", "false"):
        return text == "true"
    if expected is str and _WORD.fullmatch(text):
        return text
    kind = {int: "a whole number", float: "a number", bool: "true or false"}.get(expected, "a name")
    refusal = HwoptError(f"{where} must be {kind}, not {text!r}")
    if expected not in (int, float):
        raise refusal
    try:
        return expected(text)
    except ValueError:
        raise refusal from None
