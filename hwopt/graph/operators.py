"""The operators: hwopt's names for what passes reason about, and ATen's for all others."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from hwopt.errors import HwoptError
from hwopt.graph import (
    advection_diffusion,
    anchors,
    binary,
    cond,
    mac_counts,
    quantized,
    recurrent,
    suppression,
)
from hwopt.graph.operator_table import MAC_COUNTS, NAMED
from hwopt.graph.types import Node, Operands

MacCount = Callable[[mac_counts.Specification, Node], int]


@dataclass(frozen=True)
class Operator:
    """An operator: its name, its torch function and its cost.

    Attributes:
        name: the name in the graph.
        target: the torch operator, ``namespace.name.overload``; its schema gives the arguments.
        mode: the argument that says whether the model is training, if there is one. It stands
            in a graph only where it is always true, whatever the mode of the module.
        fixed: arguments that never stand in a graph, with the value they always take.
        macs: multiply-accumulates of a node, for a batch of one.
    """

    name: str
    target: str
    mode: str | None = None
    fixed: Mapping[str, Any] = field(default_factory=dict)
    macs: MacCount = mac_counts.none

    def __deepcopy__(self, memo: object) -> Operator:
        """Return the operator itself: it never changes."""
        return self

    @functools.cached_property
    def function(self) -> torch._ops.OpOverload:
        """The torch function.

        Raises:
            HwoptError: if the library that defines the operator is not loaded.
        """
        found: Any = torch.ops
        for part in self.target.split("."):
            try:
                found = getattr(found, part)
            except (AttributeError, RuntimeError):
                message = (
                    f"operator {self.target!r} is not known to torch: import the module that "
                    "defines it before loading the graph"
                )
                raise HwoptError(message) from None
        if not isinstance(found, torch._ops.OpOverload):
            raise HwoptError(f"operator {self.target!r} is not a full name such as aten.add.Tensor")
        return found

    @functools.cached_property
    def arguments(self) -> tuple[Argument, ...]:
        """The arguments that may stand in a graph, in the order of the schema."""
        return tuple(
            Argument(a.name, "Tensor" in str(a.type), a.default_value, a.kwarg_only)
            for a in self.function._schema.arguments
            if a.name not in self.fixed
        )

    def argument(self, name: str) -> Argument | None:
        """Return the argument with this name, or None."""
        return next((a for a in self.arguments if a.name == name), None)

    def complete(
        self, node: str, operands: Mapping[str, Operands], attributes: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return a node's attributes with defaults filled in, in the order of the schema.

        Raises:
            HwoptError: if an argument is not one of the operator's; the node is named.
        """
        for given in (*operands, *attributes):
            if self.argument(given) is None:
                valid = ", ".join(a.name for a in self.arguments)
                message = f"node {node!r}: {self.name} has no argument {given!r}"
                raise HwoptError(f"{message} (it has: {valid})")
        completed = {}
        for argument in self.arguments:
            follows_mode = argument.name == self.mode and not attributes.get(argument.name)
            if argument.name in operands or follows_mode:
                continue
            value = attributes.get(argument.name, argument.default)
            if value is not None or not argument.is_tensor:
                completed[argument.name] = tuple(value) if isinstance(value, list) else value
        return completed


@dataclass(frozen=True)
class Argument:
    """One argument of an operator's schema."""

    name: str
    is_tensor: bool
    default: Any
    keyword_only: bool


_REGISTRY: dict[str, Operator] = {}
_BY_TARGET: dict[str, str] = {}
_DECOMPOSITIONS: dict[Any, Callable[..., Any]] = {}
#: Other ATen operators that mean the same, with the arguments that are named differently.
_SYNONYMS: dict[str, tuple[str, Mapping[str, str]]] = {
    "aten.view.default": ("reshape", {"size": "shape"}),
    "aten._unsafe_view.default": ("reshape", {"size": "shape"}),
    "aten._native_batch_norm_legit_no_training.default": ("batch_norm", {}),
}


def register(operator: Operator) -> Operator:
    """Add an operator; its name and its target must be new.

    Raises:
        ValueError: if the name or the target is taken.
    """
    if operator.name in _REGISTRY or operator.target in _BY_TARGET:
        raise ValueError(f"operator {operator.name!r} ({operator.target}) is registered already")
    _REGISTRY[operator.name] = operator
    _BY_TARGET[operator.target] = operator.name
    return operator


@functools.cache
def _passed_through(target: str) -> Operator:
    return Operator(target, target)


def get(name: str) -> Operator:
    """Return the operator with this name; a full ATen name always has one.

    >>> get("conv2d").target, get("aten.roll.default").name
    ('aten.conv2d.default', 'aten.roll.default')
    """
    return _REGISTRY.get(name) or _passed_through(name)


def decompositions() -> dict[Any, Callable[..., Any]]:
    """Return our own torch operators in torch's, for those that know no others.

    See ``torch.export.ExportedProgram.run_decompositions``.
    """
    return dict(_DECOMPOSITIONS)


def is_named(name: str) -> bool:
    """Say whether this is an operator that passes may reason about."""
    return name in _REGISTRY


def for_target(target: str) -> tuple[Operator, Mapping[str, str]]:
    """Return the operator for a torch function, and how its arguments are renamed."""
    if target in _BY_TARGET:
        return _REGISTRY[_BY_TARGET[target]], {}
    if target in _SYNONYMS:
        name, renamed = _SYNONYMS[target]
        return _REGISTRY[name], renamed
    return _passed_through(target), {}


for _name, _target in NAMED.items():
    register(Operator(_name, _target, macs=MAC_COUNTS.get(_name, mac_counts.none)))

register(Operator("dropout", "aten.dropout.default", mode="train"))
for _operator, _plain, _macs in (
    (binary.CONV2D, binary.binary_conv2d, mac_counts.convolution),
    (binary.LINEAR, binary.binary_linear, mac_counts.linear),
    (
        advection_diffusion.OPERATOR,
        advection_diffusion.advection_diffusion,
        mac_counts.advection_diffusion,
    ),
    (anchors.OPERATOR, anchors.interpolate_anchors, mac_counts.interpolate_anchors),
    (cond.OPERATOR, cond.cond, mac_counts.none),
    (quantized.QUANTIZE, quantized.quantize, mac_counts.none),
    (quantized.DEQUANTIZE, quantized.dequantize, mac_counts.none),
    (quantized.FAKE_QUANTIZE, quantized.fake_quantize, mac_counts.none),
    (recurrent.OPERATOR, recurrent.recurrent, mac_counts.recurrent),
    (suppression.OPERATOR, suppression.non_maximum_suppression, mac_counts.none),
):
    _target = str(_operator._opoverload)
    _DECOMPOSITIONS[_operator._opoverload] = _plain
    register(Operator(_target.split(".")[1], _target, macs=_macs))
register(
    Operator(
        "batch_norm",
        "aten.batch_norm.default",
        mode="training",
        fixed={"cudnn_enabled": False},
    )
)
