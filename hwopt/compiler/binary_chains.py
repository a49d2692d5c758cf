"""Binary layers that hand signs to the next one, in words, with no number in between.

What stands between two layers (scale, norm, activation) grows or falls with the sum, channel by
channel, so its sign changes at one whole number. That number is found with the arithmetic of
float32, and the first layer compares its counts with it.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import tvm
from tvm import relax
from tvm.ir.expr import GenericConst

from hwopt.compiler.merge_kernels import is_kernel_call
from hwopt.targets import Target
from hwopt.targets.templates.binary_layer import BinaryLayer
from hwopt.targets.templates.register_tile_space import WORD_BITS

Arithmetic = Callable[[np.ndarray, np.ndarray], np.ndarray]
_ARITHMETIC: dict[str, Arithmetic] = {
    "relax.add": np.add,
    "relax.subtract": np.subtract,
    "relax.multiply": np.multiply,
    "relax.divide": np.divide,
    "relax.maximum": np.maximum,
    "relax.minimum": np.minimum,
    "relax.nn.prelu": lambda x, slope: np.where(x >= 0, x, slope * x),
}
_COMMUTATIVE = ("relax.add", "relax.multiply", "relax.maximum", "relax.minimum")


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

    Layers whose channels do not fill words of 32 write numbers, as do those with something
    between that does not grow or fall with the sum.

    Args:
        mod: with calls of binary kernels.
        kernels: these kernels by the packed weights in their calls.
        target: of the kernels.
    """
    main = mod["main"]
    links = list(_links(main, kernels))
    if not links:
        return mod
    builder = relax.BlockBuilder(mod)
    dropped = {var for link in links for var in link.between}
    written = {link.writer: {"weights": link.weights, "least": link.least} for link in links}
    source = {link.reader: link.writer for link in links}
    signs: dict[Any, Any] = {}

    def rebuilt(binding: Any) -> Any:
        var = binding.var
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

    blocks = [
        type(block)([rebuilt(b) for b in block.bindings if b.var not in dropped])
        for block in main.body.blocks
    ]
    body = relax.SeqExpr(blocks, main.body.body)
    func = relax.Function(main.params, body, main.ret_ty, main.is_pure, main.attrs)
    mod = builder.get()
    mod.update_func(mod.get_global_var("main"), func)
    clean = [relax.transform.Normalize(), relax.transform.DeadCodeElimination()]
    return tvm.transform.Sequential(clean)(mod)


def _links(main: Any, kernels: Mapping[Any, BinaryLayer]) -> Iterator[_Link]:
    """Find the pairs of layers that can do without numbers in between."""
    bindings = {b.var: b for block in main.body.blocks for b in block.bindings}
    layers = {var for var, b in bindings.items() if is_kernel_call(b.value)}
    layers = {var for var in layers if _packed(bindings[var]) in kernels}
    read = [relax.analysis.used_vars(binding.value) for binding in bindings.values()]
    readers = collections.Counter(itertools.chain(*read, relax.analysis.used_vars(main.body.body)))
    for reader in layers:
        steps: list[_Step] = []
        between: list[Any] = []
        var = bindings[reader].value.args[1].fields[0]
        while readers[var] == 1 and var not in layers and var in bindings:
            step = _Step.of(bindings[var].value)
            if step is None:
                break
            steps.insert(0, step)
            between.append(var)
            var = step.input
        if readers[var] == 1 and var in layers:
            first, second = (kernels[_packed(bindings[v])] for v in (var, reader))
            found = _weights_and_least(first, steps, second)
            if found is not None:
                yield _Link(var, reader, tuple(between), *found)


def _packed(binding: Any) -> Any:
    """Return the second argument of a kernel's call: of a binary kernel its packed weights."""
    arguments = binding.value.args[1].fields
    return arguments[1] if len(arguments) > 1 else None


class _Step(NamedTuple):
    """An operator of a value and a constant, ``function(value, constant)``, one a channel."""

    input: Any
    name: str
    constant: np.ndarray

    @classmethod
    def of(cls, call: Any) -> _Step | None:
        """Read the step off a call; None if it is of another kind."""
        name = str(getattr(getattr(call, "op", None), "name", ""))
        if name not in _ARITHMETIC:
            return None
        value, other = call.args
        if isinstance(value, GenericConst) and name in _COMMUTATIVE:
            value, other = other, value
        if isinstance(value, GenericConst) or not isinstance(other, GenericConst):
            return None
        constant, channels = other.value.numpy(), int(value.ty.shape[-1])
        if constant.size != 1 and (constant.size, *constant.shape[-1:]) != (channels, channels):
            return None
        return cls(value, name, np.broadcast_to(constant.ravel(), channels))

    def direction(self) -> np.ndarray | None:
        """Return for each channel 1, 0 or -1: it grows with the value, is constant, or falls."""
        if self.name in ("relax.multiply", "relax.divide"):
            return np.sign(self.constant)
        if self.name == "relax.nn.prelu" and (self.constant < 0).any():
            return None
        return np.ones_like(self.constant)


def _weights_and_least(
    first: BinaryLayer, steps: list[_Step], second: BinaryLayer
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the weights with which what follows grows, and the sums at which its sign changes."""
    if first.channels % WORD_BITS:
        return None
    signs = np.ones(first.channels, "float32")
    for step in steps:
        direction = step.direction()
        if direction is None:
            return None
        signs[direction < 0] *= -1

    def is_positive(sums: np.ndarray) -> np.ndarray:
        values = signs * sums.astype("float32")
        for step in steps:
            values = _ARITHMETIC[step.name](values, step.constant)
        return values >= second.thresholds

    # No sum is below ``low``; all channels are bisected at once.
    low = np.full(first.channels, -first.terms - 1)
    least = np.full(first.channels, first.terms + 1)
    while (least - low > 1).any():
        middle = (low + least) // 2
        positive = is_positive(middle)
        low, least = np.where(positive, low, middle), np.where(positive, middle, least)
    return first.weights * signs, least
