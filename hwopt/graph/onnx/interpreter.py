"""An ONNX graph as a torch module, whose nodes are called one after the other."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from typing import Any

import torch
from torch import nn

from hwopt.errors import HwoptError, first_line
from hwopt.graph.onnx.node import OnnxNode
from hwopt.graph.onnx.operator import OnnxOperator
from hwopt.graph.onnx.values import OnnxValue, computed, is_known, is_symbolic, tensor

Scope = MutableMapping[str, OnnxValue]


class Step(nn.Module):
    """A node that is called, with the weights that it holds.

    Attributes:
        called: the node, its operator, and what it reads: a name, the role of a weight, an array,
            or None.
    """

    def __init__(self, node: OnnxNode, operator: OnnxOperator, reads: Sequence[Any]) -> None:
        super().__init__()
        self.called = (node, operator, list(reads))

    def forward(self, scope: Scope) -> list[OnnxValue]:
        """Return the results, of values by name."""
        node, operator, reads = self.called
        values = [self._value(read, scope) for read in reads]
        return execute(node, operator, values, scope)

    def _value(self, read: Any, scope: Scope) -> OnnxValue:
        if isinstance(read, Named):
            return scope[read]
        return getattr(self, read.role) if isinstance(read, Weight) else read


class Named(str):
    """The name of a value that another node makes, or the caller gives."""


class Weight:
    """The name of a parameter or buffer that a step holds."""

    def __init__(self, role: str) -> None:
        self.role = role


class Body:
    """A graph with its steps.

    Attributes:
        inputs, outputs: names.
        known: what does not depend on inputs, by name.
        steps: in the order in which they are called.
    """

    def __init__(
        self, inputs: Sequence[str], outputs: Sequence[str], known: Mapping[str, OnnxValue]
    ) -> None:
        self.inputs, self.outputs, self.known = tuple(inputs), tuple(outputs), known
        self.steps: list[Step] = []

    def run(self, values: Sequence[OnnxValue], outer: Mapping[str, OnnxValue]) -> list[OnnxValue]:
        """Return the outputs for inputs, in a scope that sees that of the caller."""
        scope: dict[str, OnnxValue] = {
            **outer,
            **self.known,
            **dict(zip(self.inputs, values, strict=False)),
        }
        for step in self.steps:
            node = step.called[0]
            for name, value in zip(node.outputs, step(scope), strict=False):
                if name:
                    scope[name] = value
        return [scope[name] for name in self.outputs]


class OnnxModule(nn.Module):
    """The graph of a file; called with its inputs in their order."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.entry = Body(names, (), {})

        def forward(*inputs: torch.Tensor) -> Any:
            results = self.entry.run(inputs, {})
            tensors = tuple(_result(value) for value in _flat(results))
            return tensors[0] if len(tensors) == 1 else tensors

        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        parameters = [inspect.Parameter(name, kind) for name in names]
        forward.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        self.forward = forward


def _flat(values: Iterable[OnnxValue]) -> Iterable[OnnxValue]:
    for value in values:
        if isinstance(value, list | tuple):
            yield from _flat(value)
        elif value is not None:
            yield value


def _result(value: OnnxValue) -> torch.Tensor:
    if is_symbolic(value):
        raise HwoptError("an output is the size of the batch, which a graph cannot return")
    return tensor(value)


def execute(
    node: OnnxNode, operator: OnnxOperator, values: list[OnnxValue], scope: Scope
) -> list[OnnxValue]:
    """Call an operator; what it computes of known values alone is known.

    Raises:
        HwoptError: if the operator is not understood with these values.
    """
    try:
        if operator.runs_graphs:
            return _listed(
                operator.function(node, lambda body, given: body.run(given, scope), *values)
            )
        if not all(map(is_known, values)):
            return _listed(operator.function(node, *values))
        if any(map(is_symbolic, values)):
            if operator.on_sizes is None:
                raise node.refuse("the batch size in such a place")
            return _listed(operator.on_sizes(node, *values))
        return _listed(computed(lambda: operator.function(node, *values)))
    except HwoptError:
        raise
    except Exception as error:  # torch raises whatever it raises for arguments that do not fit
        raise HwoptError(f"{node}: {first_line(error)}") from error


def _listed(found: Any) -> list[OnnxValue]:
    return list(found) if isinstance(found, tuple) else [found]
