"""Parse the text form of a graph."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from hwopt.errors import HwoptError
from hwopt.graph import operators
from hwopt.graph.shapes import infer_shapes
from hwopt.graph.types import Batch, Dimension, Operand, Operands, Parameter, TensorSpec, Value

if TYPE_CHECKING:
    from hwopt.graph.structure import Structure

_TOKEN = re.compile(
    r"""\s*(?:(?P<value>%[\w.-]+(?:\#\d+)?)|(?P<parameter>@[\w.-]+)|(?P<string>"(?:\\.|[^"\\])*")
    |(?P<batch>(?:\d+\*)?N\b)|(?P<number>-?(?:\d+\.?\d*(?:e[+-]?\d+)?|inf)\b|nan\b|-?\d+\.(?!\w))
    |(?P<word>[A-Za-z_][\w.]*)|(?P<mark>[\[\](),=:]))""",
    re.VERBOSE,
)
_NAME = r"[\w.-]+"
_SPEC = r"[a-z0-9]+\[[^\]]*\]"
_HEAD = re.compile(rf"graph ({_NAME}) \{{")
_DECLARATION = re.compile(
    rf"(input|parameter|frozen|buffer) ({_NAME}): ({_SPEC})( masked)?( codebook)?"
)
_CALL = re.compile(rf"({_NAME})(?:: ({_SPEC}(?:, {_SPEC})*))? = ({_NAME})\((.*)\)")
_STATE = re.compile(rf"state ({_NAME}) = ({_NAME})")
_RETURN = re.compile(r"return (.*)")
_OUTPUT = re.compile(rf"({_NAME})=([%@][\w.-]+(?:#\d+)?)")


def parse(graph: Structure, text: str, parameters: Mapping[str, torch.Tensor]) -> None:
    """Put what ``text`` describes into an empty graph.

    Raises:
        HwoptError: if the text is not a graph; the line is named.
    """
    lines = [(n, line.strip()) for n, line in enumerate(text.splitlines(), 1) if line.strip()]
    head = _HEAD.fullmatch(lines[0][1]) if lines else None
    if head is None or lines[-1][1] != "}":
        raise HwoptError("the text of a graph begins with 'graph NAME {' and ends with '}'")
    graph.name = head[1]
    for number, line in lines[1:-1]:
        try:
            _line(graph, line, parameters)
        except (ValueError, KeyError, IndexError, HwoptError) as error:
            raise HwoptError(f"line {number} of the graph's text: {error}: {line}") from None
    infer_shapes(graph)
    graph.check_states()


def _line(graph: Structure, line: str, parameters: Mapping[str, torch.Tensor]) -> None:
    if declaration := _DECLARATION.fullmatch(line):
        kind, name, spec = declaration[1], declaration[2], parse_spec(declaration[3])
        if kind == "input":
            graph.add_input(name, spec)
        else:
            zeros = torch.zeros(spec.at(), dtype=getattr(torch, spec.dtype))
            tensor = parameters.get(name, zeros)
            # The text has no numbers: what is not zero stands for the mask.
            mask = tensor != 0 if declaration[4] and name in parameters else None
            graph.set_parameter(
                name, tensor, trainable=kind != "buffer", frozen=kind == "frozen", mask=mask
            )
            graph.set_codebook(name, bool(declaration[5]))
    elif state := _STATE.fullmatch(line):
        graph.states[state[1]] = state[2]
    elif returned := _RETURN.fullmatch(line):
        outputs = _OUTPUT.findall(returned[1])
        if not outputs:
            raise ValueError("a return names outputs, such as output=%node")
        for name, operand in outputs:
            graph.outputs[name] = _operand(operand)
    elif node := _CALL.fullmatch(line):
        operands, attributes = _arguments(node[3], node[4])
        graph.add_node(node[1], node[3], operands, attributes)
    else:
        raise ValueError("not an input, parameter, frozen, buffer, node, state or return")


def parse_spec(text: str) -> TensorSpec:
    """Parse a specification such as ``f32[N, 3, 32, 32]``."""
    dtype, _, rest = text.partition("[")
    parts = [part.strip() for part in rest.rstrip("]").split(",") if part.strip()]
    return TensorSpec.from_short(dtype, tuple(map(_dimension, parts)))


def _dimension(text: str) -> Dimension:
    return _batch(text) if text.endswith("N") else int(text)


def _batch(text: str) -> Batch:
    return Batch(int(text.removesuffix("N").removesuffix("*") or 1))


def _operand(text: str) -> Operand:
    if text.startswith("@"):
        return Parameter(text[1:])
    name, _, output = text[1:].partition("#")
    return Value(name, int(output or 0))


def _arguments(op: str, text: str) -> tuple[dict[str, Operands], dict[str, Any]]:
    """Split the arguments of a call into operands and attributes by their roles."""
    tokens = _tokenize(text)
    operands: dict[str, Operands] = {}
    attributes: dict[str, Any] = {}
    schema = iter(operators.get(op).arguments)
    while tokens:
        if len(tokens) > 1 and tokens[1] == ("mark", "="):
            role = tokens.pop(0)[1]
            tokens.pop(0)
        else:
            positional = next(schema, None)
            if positional is None:
                raise ValueError(f"{op} takes fewer arguments")
            role = positional.name
        parsed = _parse_value(tokens)
        argument = operators.get(op).argument(role)
        (
            operands
            if _holds_operand(parsed)
            or (argument is not None and argument.is_tensor and isinstance(parsed, tuple))
            else attributes
        )[role] = parsed
        if tokens and tokens.pop(0) != ("mark", ","):
            raise ValueError("expected ',' between arguments")
    return operands, attributes


def _tokenize(text: str) -> list[tuple[str, str]]:
    tokens, position = [], 0
    while text[position:].strip():
        match = _TOKEN.match(text, position)
        if match is None:
            raise ValueError(f"cannot read {text[position:]!r}")
        kind = match.lastgroup or ""
        tokens.append((kind, match[kind]))
        position = match.end()
    return tokens


def _parse_value(tokens: list[tuple[str, str]]) -> Any:
    kind, text = tokens.pop(0)
    if (kind, text) == ("mark", "["):
        items = []
        while tokens[0] != ("mark", "]"):
            items.append(_parse_value(tokens))
            if tokens[0] == ("mark", ","):
                tokens.pop(0)
        tokens.pop(0)
        return tuple(items)
    if kind in ("value", "parameter"):
        return _operand(text)
    if kind == "batch":
        return _batch(text)
    if kind == "string":
        return re.sub(r"\\(.)", r"\1", text[1:-1])
    if kind == "number":
        return int(text) if re.fullmatch(r"-?\d+", text) else float(text)
    if text in ("true", "false", "none"):
        return {"true": True, "false": False, "none": None}[text]
    raise ValueError(f"cannot read {text!r}")


def _holds_operand(parsed: Any) -> bool:
    if isinstance(parsed, tuple):
        return any(map(_holds_operand, parsed))
    return isinstance(parsed, Value | Parameter)
