"""What is known while compiling: constants, and what is computed of them alone."""

from __future__ import annotations

from typing import Any

import torch

from hwopt.compiler.lower.arguments import replaced
from hwopt.compiler.lower.call import Spec, Tensor

#: They draw lots in training only; their converters refuse it there.
DROPS = frozenset({"dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout"})
DROPS |= {"scaled_dot_product_attention", "rrelu"}
#: Of what they read they take the shape and the dtype.
_READ_NO_NUMBERS = frozenset(
    [
        "new_zeros",
        "new_ones",
        "new_full",
        "new_empty",
        "zeros_like",
        "ones_like",
        "full_like",
        "empty_like",
    ]
)


def known_if_empty(tensor: Tensor) -> Tensor:
    """Return a tensor; one without elements is known."""
    return Tensor(tensor.spec, constant=tensor.spec.empty()) if 0 in tensor.shape else tensor


def is_known(function: torch._ops.OpOverload, arguments: Any) -> bool:
    """Say whether all tensors that an operator reads are known now, and it does not draw lots."""
    if torch.Tag.nondeterministic_seeded in function.tags:
        return False
    if function._opname in _READ_NO_NUMBERS:
        return True
    return _all_known(arguments)


def _all_known(arguments: Any) -> bool:
    found: list[bool] = []
    replaced(arguments, Tensor, lambda x: found.append(x.constant is not None))
    return all(found)


def computed_now(
    function: torch._ops.OpOverload, positional: list[Any], keywords: dict[str, Any]
) -> list[Tensor]:
    """Return what an operator computes of tensors that are known."""

    def tensor(x: Tensor) -> torch.Tensor:
        return x.spec.empty() if x.constant is None else x.constant

    args, named = replaced((positional, keywords), Tensor, tensor)
    with torch.no_grad():
        found = function(*args, **named)
    results = found if isinstance(found, tuple | list) else [found]
    if "empty" in function._opname:  # nothing of this process goes into an artefact
        results = [torch.zeros_like(one) for one in results]
    return [Tensor(Spec.of(one), constant=one) for one in results]
