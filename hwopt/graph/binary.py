"""Binary layers: torch operators that multiply the signs of their input by weights.

The functions compute; the operators of them, ``CONV2D`` and ``LINEAR``, also have gradients.

Both take the sign themselves, +1 or -1, of zero +1. The weights are taken as they are: real numbers
while they are trained, +1 and -1 when that is done, and then the compiler counts bits.

Nothing stands in the padding of a convolution: it adds zero to the sum, not the sign of zero.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from hwopt.graph import composed


def sign(x: Tensor) -> Tensor:
    """Return +1 where x is at least 0, -1 elsewhere, of the same shape and dtype.

    >>> sign(torch.tensor([-0.5, -0.0, 0.0, 2.0]))
    tensor([-1.,  1.,  1.,  1.])
    """
    return (x >= 0).to(x.dtype) * 2 - 1


def sign_gradient(x: Tensor) -> Tensor:
    """Return what stands for the derivative of the sign: 2 - 2 |x|, and 0 where |x| > 1.

    Source: Liu et al. 2018 (Bi-Real Net), as used by Paren's BNEW.

    >>> sign_gradient(torch.tensor([0.0, 0.25, -0.5, 1.0, 3.0]))
    tensor([2.0000, 1.5000, 1.0000, 0.0000, 0.0000])
    """
    return (2 - 2 * x.abs()).clamp_(min=0)


def binary_conv2d(
    input: Tensor,
    weight: Tensor,
    stride: Any = (1, 1),
    padding: Any = (0, 0),
    dilation: Any = (1, 1),
    groups: int = 1,
) -> Tensor:
    """Convolve the signs of the input.

    Args:
        input: float (N, C, H, W).
        weight: float (C', C / groups, KH, KW).
        stride, padding, dilation: of rows and columns.
        groups: as of ``torch.nn.functional.conv2d``.

    Returns:
        float (N, C', H', W'); whole numbers if the weights are +1 and -1.

    >>> x = torch.tensor([[[[0.5, -2.0], [0.0, 1.0]]]])
    >>> binary_conv2d(x, torch.ones(1, 1, 3, 3), padding=[1, 1])
    tensor([[[[2., 2.],
              [2., 2.]]]])
    """
    return functional.conv2d(sign(input), weight, None, stride, padding, dilation, groups)


def binary_linear(input: Tensor, weight: Tensor) -> Tensor:
    """Multiply the signs of the input by a matrix.

    Args:
        input: float (..., C).
        weight: float (C', C).

    Returns:
        float (..., C'); whole numbers if the weights are +1 and -1.

    >>> binary_linear(torch.tensor([[0.5, -2.0, 0.0]]), torch.tensor([[1.0, -1.0, 1.0]]))
    tensor([[3.]])
    """
    return functional.linear(sign(input), weight)


def _conv2d_gradients(
    arguments: list[Any], wanted: list[bool], gradient: Tensor
) -> tuple[Tensor | None, ...]:
    x, weight, stride, padding, dilation, groups = arguments
    of_signs, of_weight, _ = torch.ops.aten.convolution_backward(
        *(gradient, sign(x), weight, None, stride, padding, dilation, False, [0, 0], groups),
        [*wanted[:2], False],
    )
    of_input = of_signs * sign_gradient(x) if wanted[0] else None
    return of_input, of_weight, None, None, None, None


def _linear_gradients(
    arguments: list[Any], wanted: list[bool], gradient: Tensor
) -> tuple[Tensor | None, ...]:
    x, weight = arguments
    of_input = gradient @ weight * sign_gradient(x) if wanted[0] else None
    of_weight = gradient.flatten(0, -2).T @ sign(x).flatten(0, -2) if wanted[1] else None
    return of_input, of_weight


CONV2D = composed.define(
    binary_conv2d,
    "(Tensor input, Tensor weight, SymInt[2] stride=1, SymInt[2] padding=0, SymInt[2] dilation=1, "
    "SymInt groups=1) -> Tensor",
    _conv2d_gradients,
)
LINEAR = composed.define(
    binary_linear, "(Tensor input, Tensor weight) -> Tensor", _linear_gradients
)
