"""Normalizations of channels by statistics that are known, computed, or those of the batch."""

from __future__ import annotations

from typing import Any

import torch
from tvm import relax, tirx

from hwopt.compiler.loops import like
from hwopt.compiler.lower.call import Call, Converter, Spec, Tensor
from hwopt.compiler.lower.elementwise import elementwise_loops
from hwopt.compiler.lower.normalization import group_norm, moments

op = relax.op


def _computed_statistics(
    call: Call,
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor,
    variance: Tensor,
    eps: float,
) -> Tensor:
    """Normalize by statistics that other operators compute, or with such weights."""
    shape = [1] * len(x.shape)
    shape[1] = x.shape[1]
    numbers = [mean, variance, *(one for one in (weight, bias) if one is not None)]
    operands = [call.reshaped(one, shape) for one in numbers]

    def normalized(value: Any, middle: Any, spread: Any, *more: Any) -> Any:
        left = list(more)
        found = (value - middle) / tirx.sqrt(spread + like(spread, eps))
        if weight is not None:
            found = found * left.pop(0)
        return found + left.pop(0) if bias is not None else found

    return elementwise_loops(call, normalized, (x, *operands), x.dtype)


def batch_norm(
    call: Call,
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor | None,
    variance: Tensor | None,
    training: bool,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *_: Any,
) -> Tensor:
    """Convert ``batch_norm``: with known statistics a product and a sum for each channel."""
    if training or mean is None or variance is None:
        return _own_statistics(call, x, weight, bias, eps)
    shape = [1] * len(x.shape)
    shape[1] = x.shape[1]
    given = [one for one in (weight, bias, mean, variance) if one is not None]
    if any(one.constant is None for one in given):
        return _computed_statistics(call, x, weight, bias, mean, variance, eps)
    inverse = (_known(call, variance).double() + eps).rsqrt()
    scale = inverse if weight is None else inverse * _known(call, weight).double()
    shift = -_known(call, mean).double() * scale
    if bias is not None:
        shift = shift + _known(call, bias).double()
    order = x.order
    found = call.ordered(x, order)
    for function, numbers in ((op.multiply, scale), (op.add, shift)):
        by = numbers.to(getattr(torch, x.dtype)).reshape(shape)
        found = call.emit(function(found, call.ordered(Tensor(Spec.of(by), constant=by), order)))
    return call.temporary(found, x.spec, order)


def _known(call: Call, x: Tensor) -> torch.Tensor:
    if x.constant is None:
        raise call.refuse("a weight that is computed")
    return x.constant


def _own_statistics(
    call: Call, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    """Normalise by the mean and the variance of the batch itself."""
    order = x.order
    dims = [n for n in range(len(x.shape)) if n != 1]
    axes = [order.index(n) for n in dims]
    data = call.ordered(x, order)
    mean, inverse = moments(call, data, axes, eps, x.dtype)
    found = call.emit(op.multiply(call.emit(op.subtract(data, mean)), inverse))
    shape = [1] * len(x.shape)
    shape[1] = x.shape[1]
    for function, given in ((op.multiply, weight), (op.add, bias)):
        if given is not None:
            by = call.ordered(call.reshaped(given, shape), order)
            found = call.emit(function(found, by))
    return call.temporary(found, x.spec, order)


def instance_norm(
    call: Call,
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor | None,
    variance: Tensor | None,
    use_input_stats: bool,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *_: Any,
) -> Tensor:
    """Convert ``instance_norm``: a group norm of one channel a group, or known statistics."""
    if use_input_stats:
        return group_norm(call, x, x.shape[1], weight, bias, eps)
    return batch_norm(call, x, weight, bias, mean, variance, False, momentum, eps)


def native_batch_norm(call: Call, x: Tensor, *arguments: Any) -> list[Tensor | None]:
    """Convert the core ATen norm with known statistics."""
    weight, bias, mean, variance, momentum, eps = arguments
    return [batch_norm(call, x, weight, bias, mean, variance, False, momentum, eps), None, None]


CONVERTERS: dict[str, Converter] = {
    "batch_norm.default": batch_norm,
    "_native_batch_norm_legit_no_training.default": native_batch_norm,
    "instance_norm.default": instance_norm,
}
