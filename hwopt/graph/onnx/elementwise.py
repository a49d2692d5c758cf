"""Operators that compute each element of their result from one element of every operand."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from hwopt.graph.onnx.node import OnnxNode
from hwopt.graph.onnx.operator import Function, OnnxOperator
from hwopt.graph.onnx.values import (
    OnnxValue,
    computed,
    dtype_of,
    is_known,
    number,
    operands,
    tensor,
)


def of(function: Callable[..., Any]) -> OnnxOperator:
    """Return an operator of tensors alone, one function of torch."""
    return OnnxOperator(lambda node, *values: function(*map(tensor, values)))


def binary(
    function: Callable[..., Any], on_sizes: Callable[..., Any], role: str | None = None
) -> OnnxOperator:
    """Return an operator of two operands that are broadcast.

    Args:
        function: of tensors, or a tensor and a number.
        on_sizes: of arrays that hold sizes.
        role: of a known operand that is trained, such as the scale of a norm.
    """
    return OnnxOperator(
        lambda node, x, y: function(*operands(x, y)),
        weights={} if role is None else {0: role, 1: role},
        on_sizes=lambda node, x, y: on_sizes(x, y),
        is_elementwise=True,
    )


def comparison(
    function: Callable[..., Any], turned: Callable[..., Any], sizes: Any
) -> OnnxOperator:
    """Return a comparison; torch takes a number on the right only."""

    def run(node: OnnxNode, x: OnnxValue, y: OnnxValue) -> torch.Tensor:
        first, second = operands(x, y)
        is_tensor = isinstance(first, torch.Tensor)
        return function(first, second) if is_tensor else turned(second, first)

    return OnnxOperator(run, on_sizes=lambda node, x, y: np.asarray(sizes(x, y), bool))


def variadic(function: Callable[..., Any]) -> OnnxOperator:
    """Return an operator of any number of operands, two at a time."""

    def run(node: OnnxNode, *values: OnnxValue) -> Any:
        return functools.reduce(function, map(tensor, values))

    return OnnxOperator(run)


def _divide(x: Any, y: Any) -> Any:
    first, second = _with_first(x, y)
    return x / y if first.is_floating_point() else torch.div(first, second, rounding_mode="trunc")


def _with_first(x: Any, y: Any) -> tuple[torch.Tensor, Any]:
    """Return two operands of which the first is a tensor, as many functions of torch want it."""
    return (x if isinstance(x, torch.Tensor) else torch.full((), x, dtype=y.dtype)), y


def _power(node: OnnxNode, x: OnnxValue, y: OnnxValue) -> torch.Tensor:
    base, exponent = operands(x, y)
    dtype = base.dtype if isinstance(base, torch.Tensor) else tensor(x).dtype
    return torch.pow(base, exponent).to(dtype)


def _modulo(node: OnnxNode, x: OnnxValue, y: OnnxValue) -> torch.Tensor:
    function = torch.fmod if node.get("fmod", 0) else torch.remainder
    return function(*_with_first(*operands(x, y)))


def _mean(node: OnnxNode, *values: OnnxValue) -> torch.Tensor:
    return functools.reduce(torch.add, map(tensor, values)) / len(values)


def _shift(node: OnnxNode, x: OnnxValue, y: OnnxValue) -> torch.Tensor:
    left = node.get("direction") == "LEFT"
    function = torch.bitwise_left_shift if left else torch.bitwise_right_shift
    return function(tensor(x), tensor(y))


def _clip(
    node: OnnxNode, x: OnnxValue, low: OnnxValue = None, high: OnnxValue = None
) -> torch.Tensor:
    """Limit to a range; a lower limit above the upper one gives the upper one."""
    data = tensor(x)
    limits = []
    for name, value in (("min", low), ("max", high)):
        if node.version < 11:
            value = node.get(name)
        if value is not None and is_known(value):
            value = number(node, np.asarray(value), f"the limit {name}")
        limits.append(value)
    if all(one is None for one in limits):
        return data
    if any(isinstance(one, torch.Tensor) for one in limits):
        low, high = (None if v is None else torch.as_tensor(v, dtype=data.dtype) for v in limits)
        return torch.clamp(data, low, high)
    return torch.clamp(data, *limits)


def _scaled(function: Function, **defaults: float) -> OnnxOperator:
    """Return an operator whose attributes are numbers with these defaults."""

    def run(node: OnnxNode, x: OnnxValue) -> Any:
        return function(tensor(x), *(node.get(name, value) for name, value in defaults.items()))

    return OnnxOperator(run)


def _shrink(x: torch.Tensor, lambd: float, bias: float) -> torch.Tensor:
    zero = torch.zeros_like(x)
    return torch.where(x < -lambd, x + bias, torch.where(x > lambd, x - bias, zero))


def _celu(x: torch.Tensor, alpha: float) -> torch.Tensor:
    return x.clamp(min=0) + (alpha * (torch.exp(x / alpha) - 1)).clamp(max=0)


def _selu(x: torch.Tensor, alpha: float, gamma: float) -> torch.Tensor:
    if math.isclose(alpha, 1.6732632, rel_tol=1e-6) and math.isclose(
        gamma, 1.0507009, rel_tol=1e-6
    ):
        return F.selu(x)
    return gamma * torch.where(x > 0, x, alpha * (torch.exp(x) - 1))


def _hard_sigmoid(x: torch.Tensor, alpha: float, beta: float) -> torch.Tensor:
    if math.isclose(alpha, 1 / 6, rel_tol=1e-5) and beta == 0.5:
        return F.hardsigmoid(x)
    return (alpha * x + beta).clamp(0, 1)


def _gelu(node: OnnxNode, x: OnnxValue) -> torch.Tensor:
    return F.gelu(tensor(x), approximate=node.get("approximate", "none"))


def _swish(x: torch.Tensor, alpha: float) -> torch.Tensor:
    return F.silu(x) if alpha == 1 else x * torch.sigmoid(alpha * x)


def _gated(node: OnnxNode, gate: OnnxValue, x: OnnxValue) -> torch.Tensor:
    return _swish(tensor(gate), node.get("alpha", 1.0)) * tensor(x)


def _prelu(node: OnnxNode, x: OnnxValue, slope: OnnxValue) -> torch.Tensor:
    data, by = tensor(x), tensor(slope)
    if data.is_floating_point() and data.dim() > 1:
        along = by.shape[0] if by.dim() == data.dim() - 1 else 1
        if by.numel() in (1, along) and (by.numel() == 1 or along == data.shape[1]):
            return F.prelu(data, by.reshape(-1))
    return torch.where(data < 0, data * by, data)


def _is_infinite(node: OnnxNode, x: OnnxValue) -> torch.Tensor:
    data = tensor(x)
    negative, positive = node.get("detect_negative", 1), node.get("detect_positive", 1)
    if negative and positive:
        return torch.isinf(data)
    found = torch.zeros_like(data, dtype=torch.bool)
    if positive:
        found = data == math.inf
    return data == -math.inf if negative else found


def _cast(node: OnnxNode, x: OnnxValue) -> torch.Tensor:
    return tensor(x).to(dtype_of(node, node.get("to")))


def _cast_like(node: OnnxNode, x: OnnxValue, other: OnnxValue) -> OnnxValue:
    dtype = tensor(other).dtype
    return computed(lambda: tensor(x).to(dtype)) if is_known(x) else tensor(x).to(dtype)


def _bit_cast(node: OnnxNode, x: OnnxValue) -> torch.Tensor:
    return tensor(x).view(dtype_of(node, node.get("to")))


def _where(node: OnnxNode, condition: OnnxValue, x: OnnxValue, y: OnnxValue) -> torch.Tensor:
    first, second = (v if isinstance(v, torch.Tensor) else tensor(v) for v in (x, y))
    return torch.where(tensor(condition), first, second)


def _softmax(function: Callable[..., Any]) -> OnnxOperator:
    """Return softmax or its kin: before version 13 of all dimensions from one on together."""

    def run(node: OnnxNode, x: OnnxValue) -> torch.Tensor:
        data = tensor(x)
        if node.version >= 13:
            return function(data, node.get("axis", -1))
        axis = node.get("axis", 1) % max(data.dim(), 1)
        if axis == data.dim() - 1:
            return function(data, axis)
        return function(data.flatten(axis), -1).reshape(data.shape)

    return OnnxOperator(run)


def _hardmax(x: torch.Tensor, dim: int) -> torch.Tensor:
    largest = x.argmax(dim, keepdim=True)
    return torch.zeros_like(x).scatter(dim, largest, torch.ones_like(x))


def _dropout(
    node: OnnxNode, x: OnnxValue, ratio: OnnxValue = None, training: OnnxValue = None
) -> Any:
    is_training = training is not None and bool(number(node, training, "training_mode"))
    if is_training and (ratio is None or number(node, ratio, "ratio")):
        raise node.refuse("dropout while training")
    data = tensor(x)
    return data, torch.ones_like(data, dtype=torch.bool)


OPERATORS: dict[str, OnnxOperator] = {
    "Add": binary(operator.add, operator.add, "bias"),
    "Sub": binary(operator.sub, operator.sub),
    "Mul": binary(operator.mul, operator.mul, "weight"),
    "Div": binary(_divide, operator.floordiv),
    "Pow": OnnxOperator(_power),
    "Mod": OnnxOperator(_modulo, on_sizes=lambda node, x, y: x % y),
    "Max": variadic(torch.maximum),
    "Min": variadic(torch.minimum),
    "Sum": variadic(torch.add),
    "Mean": OnnxOperator(_mean),
    "BitShift": OnnxOperator(_shift),
    "Equal": comparison(torch.eq, torch.eq, operator.eq),
    "Greater": comparison(torch.gt, torch.lt, operator.gt),
    "GreaterOrEqual": comparison(torch.ge, torch.le, operator.ge),
    "Less": comparison(torch.lt, torch.gt, operator.lt),
    "LessOrEqual": comparison(torch.le, torch.ge, operator.le),
    "And": of(torch.logical_and),
    "Or": of(torch.logical_or),
    "Xor": of(torch.logical_xor),
    "Not": of(torch.logical_not),
    "BitwiseAnd": of(torch.bitwise_and),
    "BitwiseOr": of(torch.bitwise_or),
    "BitwiseXor": of(torch.bitwise_xor),
    "BitwiseNot": of(torch.bitwise_not),
    "Where": OnnxOperator(_where, on_sizes=lambda node, c, x, y: np.where(c, x, y)),
    "PRelu": OnnxOperator(_prelu, weights={1: "weight"}),
    **{
        name: of(getattr(torch, name.lower()))
        for name in (
            *("Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Ceil", "Cos", "Cosh"),
            *("Erf", "Exp", "Floor", "Log", "Neg", "Reciprocal", "Round", "Sigmoid", "Sign"),
            *("Sin", "Sinh", "Sqrt", "Tan", "Tanh", "IsNaN", "Relu", "Det"),
        )
    },
    "Mish": of(F.mish),
    "HardSwish": of(F.hardswish),
    "Softplus": of(F.softplus),
    "Softsign": of(F.softsign),
    "Gelu": OnnxOperator(_gelu),
    "Clip": OnnxOperator(_clip, plain=(1, 2)),
    "LeakyRelu": _scaled(F.leaky_relu, alpha=0.01),
    "Elu": _scaled(F.elu, alpha=1.0),
    "Celu": _scaled(_celu, alpha=1.0),
    "Selu": _scaled(_selu, alpha=1.67326319217681884765625, gamma=1.05070102214813232421875),
    "HardSigmoid": _scaled(_hard_sigmoid, alpha=0.2, beta=0.5),
    "ThresholdedRelu": _scaled(lambda x, a: torch.where(x > a, x, torch.zeros_like(x)), alpha=1.0),
    "Shrink": _scaled(_shrink, lambd=0.5, bias=0.0),
    "SwiGLU": OnnxOperator(_gated),
    "Swish": _scaled(_swish, alpha=1.0),
    "IsInf": OnnxOperator(_is_infinite),
    "Cast": OnnxOperator(_cast, on_sizes=lambda node, x: x),
    "CastLike": OnnxOperator(_cast_like),
    "BitCast": OnnxOperator(_bit_cast),
    "Softmax": _softmax(torch.softmax),
    "LogSoftmax": _softmax(torch.log_softmax),
    "Hardmax": _softmax(_hardmax),
    "Dropout": OnnxOperator(_dropout, plain=(1, 2)),
}
