"""Regularizers that keep the units of a pruned network aligned with those of the unpruned one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from hwopt.errors import HwoptError, check_choice
from hwopt.graph.module import GraphModule
from hwopt.train.terms import Term

AlignmentForm = Literal["cosine", "frobenius"]


def cosine_misalignment(weight: Tensor, reference: Tensor) -> Tensor:
    """Return the mean over rows of 1 - cosine; a row of zeros counts 1. A scalar.

    Directly after magnitude pruning the cosine of a row is the share of its norm that is left.

    >>> cosine_misalignment(torch.tensor([[0.0, 4.0]]), torch.tensor([[3.0, 4.0]])).item()
    0.19999998807907104
    """
    return (1 - functional.cosine_similarity(weight.flatten(1), reference.flatten(1))).mean()


def relative_distance(weight: Tensor, reference: Tensor) -> Tensor:
    """Return ||weight - reference|| / ||reference|| (Frobenius norms), a scalar.

    >>> relative_distance(torch.tensor([[0.0, 4.0]]), torch.tensor([[3.0, 4.0]])).item()
    0.6000000238418579
    """
    return (weight - reference).norm() / reference.norm().clamp(min=1e-12)


class Alignment(Term):
    """Add strength x mean over layers of a distance between weights and their reference.

    Source: O'Neill and Dutta 2022 (aligned weight regularisers); the formulas are our reading.

    Args:
        masks: by the name of a pruned weight: where it is used. Only these weights count.
        references: the unpruned weights by name.
        form: ``cosine`` or ``frobenius``.
        strength: lambda, at least 0.
        surviving: of ``frobenius``: compare the weights that are left only. Otherwise pruned ones
            add a constant floor, which damps the gradient.

    Raises:
        HwoptError: if the form is unknown, the strength is negative, no weight is masked, or the
            references have other shapes.
    """

    def __init__(
        self,
        masks: dict[str, Tensor],
        references: dict[str, Tensor],
        form: AlignmentForm = "cosine",
        strength: float = 1.0,
        *,
        surviving: bool = False,
    ) -> None:
        check_choice("form of an alignment", form, get_args(AlignmentForm))
        if strength < 0:
            raise HwoptError(f"the strength of an alignment must be at least 0, not {strength}")
        self.form, self.strength, self.surviving = form, strength, surviving
        self.masks = {name: mask for name, mask in masks.items() if mask.dim() > 1}
        if not self.masks:
            raise HwoptError(
                "an alignment is with the weights of masked layers, and there are none: mask some "
                "(prune-weights), or leave it out"
            )
        for name, mask in self.masks.items():
            if name not in references or references[name].shape != mask.shape:
                raise HwoptError(
                    f"{name} has another shape in the reference, or is not there: align networks "
                    "of the same channels (without prune-channels and condense)"
                )
        self.references = {name: references[name].detach().clone() for name in self.masks}

    def __str__(self) -> str:
        return f"alignment {self.form} {self.strength} {self.surviving}"

    def start(self, model: nn.Module, samples: int) -> None:
        """Find the weights."""
        self._weight: Callable[[str], Tensor] = (
            model.used_parameter if isinstance(model, GraphModule) else model.get_parameter
        )

    def loss(self, loss: Tensor, inputs: Any, outputs: Any, targets: Any) -> Tensor:
        """Return the loss with the distance to the reference."""
        if self.strength == 0:
            return loss
        distances = torch.stack(list(self._distances()))
        return loss + self.strength * distances.mean()

    def _distances(self) -> Iterable[Tensor]:
        for name, mask in self.masks.items():
            weight, reference = self._weight(name) * mask, self.references[name]
            if self.form == "cosine":
                yield cosine_misalignment(weight, reference)
            else:
                yield relative_distance(weight, reference * mask if self.surviving else reference)
