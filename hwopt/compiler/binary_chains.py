"""Binary layers that hand signs to the next one, in words, with no number in between.

What stands between two layers (scale, norm, activation) grows or falls with the sum, channel by
channel, so its sign changes at one whole number. That number is found with the arithmetic of
float32, and the first layer compares its counts with it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import tvm
from tvm import relax
from tvm.ir.expr import GenericConst

from hwopt.compiler.bindings import bindings, readers, with_bindings
from hwopt.compiler.merge_kernels import is_kernel_call
from hwopt.targets import Target
from hwopt.targets.templates.binary_layer import BinaryLayer, per_channel


class _Link(NamedTuple):
    """Two layers, the variables between them, and what the first becomes.

    The first one's weights are negative where what follows falls when the sum grows.
    """

    writer: Any
    reader: Any
    between: tuple[Any, ...]
    weights: np.ndarray
    least: np.ndarray


def pass_signs_on(
    mod: tvm.IRModule, kernels: Mapping[Any, BinaryLayer], target: Target
) -> tvm.IRModule:
    """Let layers write signs where a binary layer alone reads what follows them.

    Layers write numbers if their channels do not fill words of 32, if something stands between
    that does not grow or fall with the sum (see ``_BINARY`` and ``_UNARY``), or if the target has
    too few registers for the sums of one word.

    Args:
        mod: with calls of binary kernels.
        kernels: these kernels by the packed weights in their calls.
        target: of the kernels.
    """
    links = list(_links(mod["main"], kernels, target))
    if not links:
        return mod
    builder = relax.BlockBuilder(mod)
    dropped = {var for link in links for var in link.between}
    written = {link.writer: {"weights": link.weights, "least": link.least} for link in links}
    source = {link.reader: link.writer for link in links}
    signs: dict[Any, Any] = {}

    def rebuilt(binding: Any) -> Any:
        var = binding.var
        if var in dropped:
            return None
        if var not in written and var not in source:
            return binding
        changes: dict[str, Any] = written.get(var, {})
        if var in source:
            changes = {**changes, "thresholds": None}
        kernel = dataclasses.replace(kernels[_packed(binding)], **changes)
        data = signs[source[var]] if var in source else binding.value.args[1].fields[0]
        call = kernel.call(builder, target, data)
        if var in written:
            signs[var] = var = type(var)(var.name, call.ty_args[0])
        return relax.VarBinding(var, call)

    changed = {var: rebuilt(binding) for var, binding in bindings(mod["main"]).items()}
    return with_bindings(builder.get(), lambda binding: changed[binding.var])


def _links(main: Any, kernels: Mapping[Any, BinaryLayer], target: Target) -> Iterator[_Link]:
    """Find the pairs of layers that can do without numbers in between."""
    made_by, count = bindings(main), readers(main)
    layers = {var for var, b in made_by.items() if is_kernel_call(b.value)}
    layers = {var for var in layers if _packed(made_by[var]) in kernels}
    for reader in layers:
        steps: list[_Step] = []
        between: list[Any] = []
        var = made_by[reader].value.args[1].fields[0]
        while count[var] == 1 and var not in layers and var in made_by:
            step = _Step.of(made_by[var].value)
            if step is None:
                break
            steps.insert(0, step)
            between.append(var)
            var = step.input
        if count[var] == 1 and var in layers:
            first, second = (kernels[_packed(made_by[v])] for v in (var, reader))
            if first.can_write_signs(target):
                found = _weights_and_least(first, steps, second)
                yield _Link(var, reader, tuple(between), *found)


def _packed(binding: Any) -> Any:
    """Return the second argument of a kernel's call: of a binary kernel its packed weights."""
    arguments = binding.value.args[1].fields
    return arguments[1] if len(arguments) > 1 else None


class _Step(NamedTuple):
    """An operator of one value and a constant, one number a channel.

    Attributes:
        input: the variable of the value.
        function: from the values of all channels, float32, to those after the operator.
        direction: for each channel 1, 0 or -1: it grows with the value, is constant, or falls.
    """

    input: Any
    function: Callable[[np.ndarray], np.ndarray]
    direction: np.ndarray

    @classmethod
    def of(cls, call: Any) -> _Step | None:
        """Read the step off a call; None if it is of another kind, or neither grows nor falls."""
        name = str(getattr(getattr(call, "op", None), "name", ""))
        if name in _UNARY:
            function, sign = _UNARY[name]
            return cls(call.args[0], function, np.array(sign))
        if name not in _BINARY:
            return None
        value, other = call.args
        swapped = isinstance(value, GenericConst)
        if swapped:
            value, other = other, value
        if isinstance(value, GenericConst) or not isinstance(other, GenericConst):
            return None
        constant = per_channel(other.value.numpy(), value)
        if constant is None or (name == _PRELU and not _is_of_the_last_axis(call, value)):
            return None
        function, direction_of = _BINARY[name]
        direction = direction_of(constant, swapped)
        if direction is None:
            return None
        arguments = (lambda x: (constant, x)) if swapped else (lambda x: (x, constant))
        return cls(value, lambda x: function(*arguments(x)), direction)


def _is_of_the_last_axis(call: Any, value: Any) -> bool:
    return int(call.attrs.axis) in (-1, value.ty.ndim - 1)


def _of_product(constant: np.ndarray, _swapped: bool) -> np.ndarray | None:
    return np.sign(constant)


def _of_quotient(constant: np.ndarray, swapped: bool) -> np.ndarray | None:
    """A quotient jumps where it is divided by nothing."""
    return None if swapped or (constant == 0).any() else np.sign(constant)


def _of_difference(constant: np.ndarray, swapped: bool) -> np.ndarray | None:
    return np.full_like(constant, -1 if swapped else 1)


def _of_slope(slope: np.ndarray, _swapped: bool) -> np.ndarray | None:
    """With a negative slope it falls first and grows then."""
    return None if (slope < 0).any() else np.ones_like(slope)


def _growing(constant: np.ndarray, _swapped: bool) -> np.ndarray | None:
    return np.ones_like(constant)


_PRELU = "relax.nn.prelu"
#: Operators of a value and a constant: what they compute, and whether that grows or falls.
_BINARY: dict[str, tuple[Callable[..., np.ndarray], Callable[..., np.ndarray | None]]] = {
    "relax.add": (np.add, _growing),
    "relax.subtract": (np.subtract, _of_difference),
    "relax.multiply": (np.multiply, _of_product),
    "relax.divide": (np.divide, _of_quotient),
    "relax.maximum": (np.maximum, _growing),
    "relax.minimum": (np.minimum, _growing),
    _PRELU: (lambda x, slope: np.where(x >= 0, x, slope * x), _of_slope),
}
_UNARY: dict[str, tuple[Callable[[np.ndarray], np.ndarray], int]] = {
    "relax.nn.relu": (lambda x: np.maximum(x, 0), 1),
    "relax.negative": (np.negative, -1),
}


def _weights_and_least(
    first: BinaryLayer, steps: list[_Step], second: BinaryLayer
) -> tuple[np.ndarray, np.ndarray]:
    """Return the weights with which what follows grows, and the sums at which its sign changes."""
    signs = np.ones(first.channels, "float32")
    for step in steps:
        signs = np.where(step.direction < 0, -signs, signs)

    def is_positive(sums: np.ndarray) -> np.ndarray:
        values = signs * sums.astype("float32")
        for step in steps:
            values = step.function(values)
        return values >= second.thresholds

    # No sum is below ``low``; all channels are bisected at once.
    low = np.full(first.channels, -first.terms - 1)
    least = np.full(first.channels, first.terms + 1)
    while (least - low > 1).any():
        middle = (low + least) // 2
        positive = is_positive(middle)
        low, least = np.where(positive, low, middle), np.where(positive, middle, least)
    return first.weights * signs, least
