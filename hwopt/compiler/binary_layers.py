"""Binary layers in Relax: products of signs with weights of +1 and -1 become kernels on bits."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import tvm
from tvm import relax

from hwopt.compiler.binary_chains import pass_signs_on
from hwopt.compiler.bindings import with_main
from hwopt.targets import Target
from hwopt.targets.templates import binary
from hwopt.targets.templates.binary_layer import MOST_DIMENSIONS, BinaryLayer, per_channel
from hwopt.targets.templates.conv2d import Geometry

log = logging.getLogger("hwopt.compiler")


def binary_layers(mod: tvm.IRModule, target: Target) -> tvm.IRModule:
    """Replace convolutions (channels last) and products of signs; others stay as they are.

    Layers that follow each other hand on signs, if nothing else reads what is between them.

    Signs are ``2 (x >= 0) - 1``, as ``converters`` writes them. Layers with groups, or with other
    weights than +1 and -1, stay products of floats.
    """
    mod = _moved_first(mod)
    builder, func = relax.BlockBuilder(mod), mod["main"]
    kernels: dict[Any, BinaryLayer] = {}
    for shifted in (True, False):
        rewriter = _Rewriter(builder, target, shifted)
        for operator in ("relax.nn.conv2d", "relax.matmul"):
            layer = relax.dpl.is_op(operator)(rewriter.signs, rewriter.weight)
            func = relax.dpl.rewrite_call(layer, rewriter, func)
        kernels |= rewriter.kernels
    return pass_signs_on(with_main(builder.get(), func), kernels, target)


def _moved_first(mod: tvm.IRModule) -> tvm.IRModule:
    """Move what signs are taken of, not the signs: a kernel reads numbers, whatever moved them."""
    x, number = relax.dpl.wildcard(), relax.dpl.is_const()
    func = mod["main"]
    for operator in ("subtract", "multiply", "astype", "greater_equal"):
        operands = (x,) if operator == "astype" else (x, number)
        called = relax.dpl.is_op(f"relax.{operator}")(*operands)
        moved = relax.dpl.is_op("relax.permute_dims")(called)

        def rewrite(call: Any, found: Any, called: Any = called) -> Any:
            inner = found[called]
            others = list(inner.args[1:])
            if any(other.ty.ndim > 0 for other in others):
                return call
            first = relax.op.permute_dims(found[x], call.attrs.axes)
            return relax.Call(inner.op, [first, *others], inner.attrs)

        func = relax.dpl.rewrite_call(moved, rewrite, func)
    return with_main(mod, func)


class _Rewriter:
    """The pattern of a binary layer, and what to put in its place.

    Args:
        builder: gets the kernels.
        target: of the kernels.
        shifted: look for layers with a constant that is added to the input. It costs nothing:
            see ``templates.binary``.
    """

    def __init__(self, builder: relax.BlockBuilder, target: Target, shifted: bool) -> None:
        self.builder, self.target, self.shifted = builder, target, shifted
        self.kernels: dict[Any, BinaryLayer] = {}
        self.data, self.weight = relax.dpl.wildcard(), relax.dpl.is_const()
        self.shift = relax.dpl.is_const()
        self.numbers = [relax.dpl.is_const() for _ in range(3)]
        zero, two, one = self.numbers
        is_op = relax.dpl.is_op
        compared = is_op("relax.add")(self.data, self.shift) if shifted else self.data
        at_least = is_op("relax.greater_equal")(compared, zero)
        doubled = is_op("relax.multiply")(is_op("relax.astype")(at_least), two)
        self.signs = is_op("relax.subtract")(doubled, one)

    def __call__(self, call: Any, found: Any) -> Any:
        """Return a call of the binary kernel, or the call as it is."""
        numbers = [found[number].value.numpy() for number in self.numbers]
        if not all(n.size == 1 and n.item() == m for n, m in zip(numbers, (0, 2, 1), strict=True)):
            return call
        data, weight = found[self.data], found[self.weight].value.numpy()
        shift = found[self.shift].value.numpy() if self.shifted else np.zeros((), "float32")
        shifts = per_channel(shift, data)
        reason = _obstacle(call, data, weight)
        if reason is not None and not self.shifted:  # said once: what is shifted is tried again
            shape = "x".join(map(str, weight.shape))
            log.warning("a binary layer with weights %s runs on floats: %s", shape, reason)
        if reason is not None or shifts is None:
            return call
        is_product = call.op.name == "relax.matmul"
        kernel = BinaryLayer(
            tuple(int(size) for size in data.ty.shape),
            weight[None, None] if is_product else weight,
            None if is_product else Geometry.of(call.attrs),
            -shifts,
        )
        called = kernel.call(self.builder, self.target, data)
        self.kernels[called.args[1].fields[1]] = kernel
        return called


def _obstacle(call: Any, data: Any, weight: np.ndarray) -> str | None:
    """Return why a layer cannot become a kernel on bits, or None."""
    if not binary.is_binary(weight):
        return "its weights are not +1 and -1, which freeze-binary makes them"
    if data.ty.dtype.dtype != "float32":
        return f"its input is {data.ty.dtype.dtype}, not float32"
    if call.op.name == "relax.matmul":
        ranks = weight.ndim == 2 and 2 <= data.ty.ndim <= MOST_DIMENSIONS
        return None if ranks else f"its input has {data.ty.ndim} dimensions"
    if int(call.attrs.groups) != 1:
        return "it has groups"
    is_channels_last = call.attrs.data_layout == call.attrs.out_layout == "NHWC"
    return None if is_channels_last else "its channels are not last"
