"""Operators of our own that are one function of torch's: a graph shows one node, not its parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def define(function: Callable[..., Tensor], schema: str) -> Any:
    """Return the function as the torch operator ``hwopt::NAME``, with gradients.

    The backward runs the function again: only the arguments are kept for it, none of what the
    function makes on the way.

    Args:
        function: of tensors and numbers to one new tensor, in operators that torch differentiates.
        schema: its arguments and result as torch writes them.
    """
    operator = torch.library.custom_op(
        f"hwopt::{function.__name__}", function, mutates_args=(), schema=schema
    )
    operator.register_fake(function)
    operator.register_autograd(_gradients(function), setup_context=_keep)
    operator.register_autocast("cpu", torch.bfloat16)
    operator.register_autocast("cuda", torch.float16)
    return operator


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.places = [place for place, given in enumerate(inputs) if isinstance(given, Tensor)]
    ctx.others = [None if place in ctx.places else given for place, given in enumerate(inputs)]
    ctx.save_for_backward(*(inputs[place] for place in ctx.places))


def _gradients(function: Callable[..., Tensor]) -> Callable[..., tuple[Tensor | None, ...]]:
    def gradients(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        arguments = list(ctx.others)
        wanted = [place for place in ctx.places if ctx.needs_input_grad[place]]
        for place, tensor in zip(ctx.places, ctx.saved_tensors, strict=True):
            arguments[place] = tensor.detach().requires_grad_(place in wanted)
        with torch.enable_grad():
            result = function(*arguments)
        found = torch.autograd.grad(result, [arguments[place] for place in wanted], gradient)
        by_place = dict(zip(wanted, found, strict=True))
        return tuple(by_place.get(place) for place in range(len(arguments)))

    return gradients
