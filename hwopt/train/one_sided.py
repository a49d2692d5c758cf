"""One-sided prediction: scores that say of every class when it is safe to answer with it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from hwopt.errors import HwoptError
from hwopt.train.readings import Readings, last_linear
from hwopt.train.terms import Term

_SMALL = 1e-6
#: Added to the number of samples of a class, so that it may be none.
_ABSENT = 0.1


class OneSided(Term):
    """Train for the largest sets of inputs that are answered with few errors.

    The softmax scores f_k of the outputs become answers where they reach a threshold, which
    :func:`hwopt.routing.selective.choose_threshold` finds. In the place of the loss stands

        share * sum_k [L_k + m_k (C_k - p_k) + cost * p_k] + (1 - share) * task loss of a head,

    L_k the mean of -log f_k over samples of class k, C_k that of -log(1 - f_k) over the others,
    p_k >= 0 what C_k may be, to be minimised with the weights, and m_k >= 0 its multiplier, to be
    maximised. The head is a linear layer of the term's own that reads what the model's last linear
    layer reads, and is gone afterwards. Source: Gangrade, Kag and Saligrama 2021 (Selective
    classification via one-sided prediction), as in the authors' code but for the multiplier, which
    its port to torch leaves out.

    Args:
        classes: of the model.
        cost: mu: the higher, the fewer errors and answers.
        share: alpha, in [0, 1].
        rate, multiplier_rate: learning rates of the head with p, and of m (both AdamW).
        layer: whose input the head reads; by default the last linear one.

    Raises:
        HwoptError: if a number is out of range, or there is no linear layer.

    Attributes:
        allowed: p, one a class.
        multipliers: m.
    """

    alone = True  # the head and the multipliers would be others in every process
    needs_classes = True

    def __init__(
        self,
        classes: int,
        cost: float = 0.49,
        share: float = 0.9,
        rate: float = 0.01,
        multiplier_rate: float = 1e-4,
        layer: str | None = None,
    ) -> None:
        if classes < 2 or not cost >= 0 or not 0 <= share <= 1:
            raise HwoptError(
                "OneSided: there must be two classes or more, a cost of 0 or more and a share in "
                f"[0, 1], not {classes}, {cost} and {share}"
            )
        self.classes, self.cost, self.share, self.layer = classes, cost, share, layer
        self.rates = rate, multiplier_rate

    def __str__(self) -> str:
        return f"one-sided {self.classes} {self.cost} {self.share} {self.rates} {self.layer}"

    def start(self, model: nn.Module, samples: int) -> None:
        """Begin; the head is made in the first step, when the width of the features is known."""
        self._place = (self.layer or last_linear(model), "input")
        self._readings = Readings(model, [self._place])
        self.allowed = torch.full((self.classes,), 0.5, requires_grad=True)
        self.multipliers = torch.full((self.classes,), max(0.0, self.cost - 0.5))
        self.multipliers.requires_grad_()
        self._head: nn.Linear | None = None

    def loss(self, loss: Tensor, inputs: Any, outputs: Any, targets: Any) -> Tensor:
        """Return the sum above in the place of the loss."""
        features = self._readings.of(self._place).flatten(1)
        if self._head is None:
            self._make_head(features.shape[1])
        assert self._head is not None
        of_head = functional.cross_entropy(self._head(features), targets)
        minimax = one_sided_loss(outputs, targets, self.allowed, self.multipliers, self.cost)
        return self.share * minimax + (1 - self.share) * of_head

    def after_step(self, learning_rate: float) -> None:
        """Take a step with what is the term's own: the multipliers go up."""
        if self.multipliers.grad is not None:
            self.multipliers.grad.neg_()
        for optimizer in self._optimizers:
            optimizer.step()
            optimizer.zero_grad()
        with torch.no_grad():
            self.allowed.clamp_(min=0)
            self.multipliers.clamp_(min=0)

    def note(self) -> str:
        """Return the means over the classes."""
        allowed, multipliers = (x.detach().mean() for x in (self.allowed, self.multipliers))
        return f"one-sided: allowed {allowed:.3g}, multiplier {multipliers:.3g}"

    def state(self) -> dict[str, Any]:
        """Return what is the term's own."""
        assert self._head is not None
        return {
            "allowed": self.allowed.detach(),
            "multipliers": self.multipliers.detach(),
            "head": dict(self._head.state_dict()),
            "optimizers": [optimizer.state_dict() for optimizer in self._optimizers],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self._make_head(state["head"]["weight"].shape[1])
        assert self._head is not None
        self._head.load_state_dict(state["head"])
        with torch.no_grad():
            self.allowed.copy_(state["allowed"])
            self.multipliers.copy_(state["multipliers"])
        for optimizer, saved in zip(self._optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)

    def finish(self) -> None:
        """Stop reading the features."""
        self._readings.stop()

    def _make_head(self, features: int) -> None:
        self._head = nn.Linear(features, self.classes)
        rate, multiplier_rate = self.rates
        self._optimizers = [
            torch.optim.AdamW([*self._head.parameters(), self.allowed], rate, weight_decay=5e-4),
            torch.optim.AdamW([self.multipliers], multiplier_rate, weight_decay=0.0),
        ]


def one_sided_loss(
    logits: Tensor, targets: Tensor, allowed: Tensor, multipliers: Tensor, cost: float
) -> Tensor:
    """Return sum_k [L_k + m_k (C_k - p_k) + cost * p_k], a scalar; see :class:`OneSided`.

    Args:
        logits: float (N, classes).
        targets: int64 (N,); a class may be absent.
        allowed, multipliers: p and m, (classes,); what is negative counts as 0.
        cost: mu.

    >>> one_sided_loss(torch.zeros(1, 2), torch.tensor([0]), *torch.zeros(2, 2), cost=0.0)
    tensor(0.6301)
    """
    logarithms = functional.log_softmax(logits, 1)
    of_class = functional.one_hot(targets, logits.shape[1]).to(logits.dtype)
    others = 1 - of_class
    missed = -(of_class * logarithms).sum(0) / (of_class.sum(0) + _ABSENT)
    # Beside a score of one there is nothing left: the logarithm stays finite.
    away = torch.log((1 - logarithms.exp()).clamp(min=_SMALL))
    wrong = -(others * away).sum(0) / (others.sum(0) + _ABSENT)
    # At 0 the slope of a clamp is 1, that of relu 0: what is 0 may grow.
    allowed, multipliers = allowed.clamp(min=0), multipliers.clamp(min=0)
    return (missed + multipliers * (wrong - allowed) + cost * allowed).sum()
