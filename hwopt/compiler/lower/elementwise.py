"""Operators that compute each element of their result from one element of every operand."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from tvm import relax, tirx

from hwopt.compiler.loops import broadcasting, dtype_of, like
from hwopt.compiler.lower.call import Call, Converter, Order, Spec, Tensor

op = relax.op
RESULT, OPERANDS = "result", "operands"


def computed(function: Callable[..., Any], of: str = RESULT, count: int | None = None) -> Converter:
    """Return a converter that calls a Relax function on operands that may be broadcast.

    Args:
        function: of Relax tensors.
        of: what the operands are converted to first: the result's dtype, or their own common one.
        count: how many arguments are operands; None is all of them.
    """

    def convert(call: Call, *arguments: Any) -> Tensor:
        operands = arguments[:count]
        dtype = call.dtype if of == RESULT else call.promoted(*operands)
        return elementwise(call, function, operands, dtype)

    return convert


def elementwise(
    call: Call, function: Callable[..., Any], operands: tuple[Any, ...], dtype: str
) -> Tensor:
    """Emit a Relax function of operands that are broadcast, all as one dtype."""
    order = call.common_order(operands)
    found = function(*(call.aligned(x, order, dtype) for x in operands))
    return call.result(call.emit(found), order)


def loops(function: Callable[..., Any], of: str = RESULT) -> Converter:
    """Return a converter for a function of scalars in TIR, where Relax has no such operator."""

    def convert(call: Call, *operands: Any, **_: Any) -> Tensor:
        dtype = call.dtype if of == RESULT else call.promoted(*operands)
        return elementwise_loops(call, function, operands, dtype)

    return convert


def elementwise_loops(
    call: Call, function: Callable[..., Any], operands: tuple[Any, ...], dtype: str
) -> Tensor:
    """Emit loops over the result that call a function of scalars, operands being broadcast."""
    order = call.common_order(operands)
    exprs = [call.aligned(x, order, dtype) for x in operands]
    shape = [call.shape[axis] for axis in order]
    return call.result(call.te(broadcasting(function, shape), *exprs), order)


def unary(function: Callable[..., Any]) -> Converter:
    """Return a converter for a function of the first argument as the result's dtype."""
    return computed(function, count=1)


def scaled(function: Callable[..., Any]) -> Converter:
    """Return a converter for ``function(self, alpha * other)``."""

    def convert(call: Call, x: Any, other: Any, alpha: Any = 1) -> Tensor:
        def both(first: Any, second: Any) -> Any:
            if alpha != 1:
                second = op.multiply(second, call.number(alpha, call.dtype))
            return function(first, call.emit(second) if alpha != 1 else second)

        return elementwise(call, both, (x, other), call.dtype)

    return convert


def _is_bool(x: Any) -> bool:
    return str(x.ty.dtype.dtype) == "bool"


def _add(x: Any, y: Any) -> Any:
    return op.logical_or(x, y) if _is_bool(x) else op.add(x, y)


def _multiply(x: Any, y: Any) -> Any:
    return op.logical_and(x, y) if _is_bool(x) else op.multiply(x, y)


def _maximum(x: Any, y: Any) -> Any:
    return op.logical_or(x, y) if _is_bool(x) else op.maximum(x, y)


def _minimum(x: Any, y: Any) -> Any:
    return op.logical_and(x, y) if _is_bool(x) else op.minimum(x, y)


def reversed_difference(call: Call, x: Any, other: Any, alpha: Any = 1) -> Tensor:
    """Convert ``rsub``: ``other - alpha * self``."""
    return subtract(call, other, x, alpha)


def clamp(call: Call, x: Tensor, low: Any = None, high: Any = None) -> Tensor:
    """Convert ``clamp`` with numbers or tensors as limits."""
    limits = [limit for limit in (low, high) if limit is not None]
    if any(isinstance(limit, float) and math.isnan(limit) for limit in limits):
        raise call.refuse("NaN as a limit")

    def limited(value: Any, *given: Any) -> Any:
        left = list(given)
        if low is not None:
            value = _maximum(value, left.pop(0))
        if high is not None:
            value = _minimum(call.emit(value), left.pop(0))
        return value

    return elementwise(call, limited, (x, *limits), call.dtype)


def where(call: Call, condition: Tensor, x: Any, y: Any) -> Tensor:
    """Convert ``where``; the condition keeps its own dtype."""
    operands = (condition, x, y)
    order = call.common_order(operands)
    chosen = [call.aligned(value, order, call.dtype) for value in (x, y)]
    asked = call.aligned(condition, order, "bool")
    return call.result(call.emit(op.where(asked, *chosen)), order)


def to_dtype(call: Call, x: Tensor, *_: Any, **__: Any) -> Tensor:
    """Convert operators that change the dtype, or nothing."""
    if x.constant is not None:
        return Tensor(call.results[0], constant=x.constant.to(getattr(torch, call.dtype)))
    order: Order = x.order
    return call.result(call.ordered(x, order, call.dtype), order)


def reinterpreted(call: Call, x: Tensor, *_: Any) -> Tensor:
    """Convert ``view`` as another dtype: the same bits."""
    if (
        torch.empty(0, dtype=getattr(torch, x.dtype)).element_size()
        != call.results[0].empty().element_size()
    ):
        raise call.refuse("a dtype of another width")
    if x.constant is not None:
        return Tensor(call.results[0], constant=x.constant.view(getattr(torch, call.dtype)))
    if "bool" in (x.dtype, call.dtype):
        return call.result(call.ordered(x, x.order, call.dtype), x.order)
    dtype = call.dtype
    return elementwise_loops(call, lambda value: tirx.reinterpret(dtype, value), (x,), x.dtype)


def _dropout(call: Call, x: Tensor, p: float, train: bool) -> Tensor:
    if train and p > 0:
        raise call.refuse("lots that are drawn when the model runs")
    return x


def multiply(call: Call, x: Any, y: Any) -> Tensor:
    """Convert ``mul``: TVM takes a product with the number zero for zero, of NaN too."""
    if call.dtype.startswith("float") and any(map(is_zero, (x, y))):
        operands = tuple(unfolded(one, call.dtype) for one in (x, y))
        return elementwise_loops(call, lambda a, b: a * b, operands, call.dtype)
    return computed(_multiply)(call, x, y)


def subtract(call: Call, x: Any, y: Any, alpha: Any = 1) -> Tensor:
    """Convert ``sub``: TVM takes ``x - x`` for zero, of NaN and infinity too."""
    is_same = isinstance(x, Tensor) and isinstance(y, Tensor) and x.expr is not None
    if is_same and x.expr.same_as(y.expr) and x.order == y.order and call.dtype.startswith("float"):
        factor = unfolded(-alpha, call.dtype)
        return elementwise_loops(call, lambda a, b, by: a + b * by, (x, y, factor), call.dtype)
    return scaled(op.subtract)(call, x, y, alpha)


def is_zero(x: Any) -> bool:
    """Return whether an operand is the number zero, or a tensor known to be one zero."""
    if isinstance(x, Tensor):
        return x.constant is not None and x.constant.numel() == 1 and not x.constant.any()
    return bool(x == 0)


def unfolded(x: Any, dtype: str) -> Tensor:
    """Return an operand as a tensor, with which TVM does not calculate while it compiles."""
    if isinstance(x, Tensor):
        return x
    number = torch.tensor(x, dtype=getattr(torch, dtype))
    return Tensor(Spec.of(number), constant=number)


def sign(x: Any) -> Any:
    """Return -1, 0 or 1, and 0 for NaN, as torch does."""
    dtype, zero = dtype_of(x), like(x, 0)
    return tirx.Cast(dtype, x > zero) - tirx.Cast(dtype, x < zero)


def _absolute(call: Call, x: Tensor) -> Tensor:
    unsigned = x.dtype == "bool" or x.dtype.startswith("uint")
    return to_dtype(call, x) if unsigned else unary(op.abs)(call, x)


def _negated(call: Call, x: Tensor) -> Tensor:
    if x.dtype.startswith("uint"):  # it wraps around
        return subtract(call, 0, x)
    return unary(op.negative)(call, x)


def _sign(call: Call, x: Tensor) -> Tensor:
    if x.dtype == "bool":
        return to_dtype(call, x)
    return loops(sign)(call, x)


def whole(function: Callable[..., Any]) -> Converter:
    """Return a converter for a rounding, which leaves whole numbers as they are."""

    def convert(call: Call, x: Tensor) -> Tensor:
        is_float = x.dtype.startswith("float")
        return loops(function)(call, x) if is_float else to_dtype(call, x)

    return convert


maximum, minimum = computed(_maximum), computed(_minimum)

CONVERTERS: dict[str, Converter] = {
    "add.Tensor": scaled(_add),
    "add.Scalar": scaled(_add),
    "sub.Tensor": subtract,
    "sub.Scalar": subtract,
    "rsub.Scalar": reversed_difference,
    "rsub.Tensor": reversed_difference,
    "mul.Tensor": multiply,
    "mul.Scalar": multiply,
    "maximum.default": maximum,
    "minimum.default": minimum,
    "clamp.default": clamp,
    "clamp.Tensor": clamp,
    "clamp_min.default": lambda call, x, low: clamp(call, x, low),
    "clamp_max.default": lambda call, x, high: clamp(call, x, None, high),
    "hardtanh.default": clamp,
    "where.self": where,
    "_to_copy.default": to_dtype,
    "to.dtype": to_dtype,
    "view.dtype": reinterpreted,
    "to.device": to_dtype,
    "to.dtype_layout": to_dtype,
    "clone.default": to_dtype,
    "alias.default": to_dtype,
    "contiguous.default": to_dtype,
    "detach.default": to_dtype,
    **dict.fromkeys(
        (
            "dropout.default",
            "feature_dropout.default",
            "alpha_dropout.default",
            "feature_alpha_dropout.default",
        ),
        _dropout,
    ),
    "lift_fresh_copy.default": to_dtype,
    "abs.default": _absolute,
    "neg.default": _negated,
    "sign.default": _sign,
    "ceil.default": whole(tirx.ceil),
    "floor.default": whole(tirx.floor),
    "trunc.default": whole(tirx.trunc),
    "round.default": whole(tirx.nearbyint),
}
