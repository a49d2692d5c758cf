"""Operators of our own that are one function of torch's: a graph shows one node, not its parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Gradients = Callable[..., tuple[Tensor | None, ...]]
"""From arguments, which of them want a gradient, and the results' gradients, to one for each."""


def define(
    function: Callable[..., Any],
    schema: str,
    gradients: Gradients | None = None,
    shapes: Callable[..., Any] | None = None,
    *,
    half: bool = True,
) -> Any:
    """Return the function as the torch operator ``hwopt::NAME``, with gradients.

    Only the arguments are kept for the backward, none of what the function makes on the way.

    Args:
        function: of tensors and numbers to one new tensor, or a tuple of them.
        schema: its arguments and result as torch writes them.
        gradients: by default torch's of the function, which then runs again.
        shapes: returns empty results for tensors without numbers; by default the function.
        half: under autocast the arguments become bfloat16 (float16 on a GPU); else they stay.
    """
    operator = torch.library.custom_op(
        f"hwopt::{function.__name__}", function, mutates_args=(), schema=schema
    )
    operator.register_fake(shapes or function)
    operator.register_autograd(_backward(gradients or _of_torch(function)), setup_context=_keep)
    if half:
        operator.register_autocast("cpu", torch.bfloat16)
        operator.register_autocast("cuda", torch.float16)
    return operator


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.places = [place for place, given in enumerate(inputs) if isinstance(given, Tensor)]
    ctx.others = [None if place in ctx.places else given for place, given in enumerate(inputs)]
    ctx.save_for_backward(*(inputs[place] for place in ctx.places))


def _backward(gradients: Gradients) -> Callable[..., tuple[Tensor | None, ...]]:
    def backward(ctx: Any, *found: Tensor) -> tuple[Tensor | None, ...]:
        arguments = list(ctx.others)
        for place, tensor in zip(ctx.places, ctx.saved_tensors, strict=True):
            arguments[place] = tensor
        # Of arguments that the call left out torch says nothing.
        left_out = len(arguments) - len(ctx.needs_input_grad)
        return gradients(arguments, [*ctx.needs_input_grad, *[False] * left_out], *found)

    return backward


def _of_torch(function: Callable[..., Any]) -> Gradients:
    """Return the gradients that torch finds for a function."""

    def gradients(
        arguments: list[Any], wanted: list[bool], *found: Tensor
    ) -> tuple[Tensor | None, ...]:
        given = [
            argument.detach().requires_grad_(asked) if isinstance(argument, Tensor) else argument
            for argument, asked in zip(arguments, wanted, strict=True)
        ]
        with torch.enable_grad():
            result = function(*given)
        places = [place for place, asked in enumerate(wanted) if asked]
        results = result if isinstance(result, tuple) else (result,)
        pairs = [(one, g) for one, g in zip(results, found, strict=True) if one.requires_grad]
        made = torch.autograd.grad(
            [one for one, _ in pairs], [given[place] for place in places], [g for _, g in pairs]
        )
        by_place = dict(zip(places, made, strict=True))
        return tuple(by_place.get(place) for place in range(len(given)))

    return gradients
