"""Steps whose gradients are corrected by those at a snapshot of the weights."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.optim import Optimizer

from hwopt.errors import HwoptError, check_choice
from hwopt.optim.behaviour import Behaviour, Closure

Estimator = Literal["unbiased", "biased"]


class VarianceReduced(Behaviour, Optimizer):
    """Stochastic gradients with a control variate, and a number that says how far it is trusted.

    G and G' are the gradients of one mini-batch at the weights and at the snapshot, g' that of many
    samples at the snapshot. A step goes along ``unbiased``: (1 - bias) G - bias (G' - g'), or
    ``biased``: (1 - bias) (G - G') + bias g'. A bias of 0, unbiased, is plain SGD; of 1/2, either
    of them, half a step of SVRG. Source: Bi and Gunn (A stochastic gradient method with biased
    estimation, 2019), as in the author's code, but that G' is computed on the same mini-batch.

    Args:
        params: parameters or groups.
        lr: step size.
        bias: in [0, 1].
        estimator: by default ``unbiased`` up to a bias of 1/2, ``biased`` above.
        buffers: such as ``model.buffers()``: put back after a pass at the snapshot, so that the
            statistics of batch norms are those of the weights.

    Raises:
        HwoptError: if a number is out of range.

    >>> w = torch.nn.Parameter(torch.tensor([2.0]))
    >>> optimizer = VarianceReduced([w], lr=0.1, bias=0.25)
    >>> def of(curvature, best):
    ...     def closure():
    ...         optimizer.zero_grad()
    ...         loss = curvature * (w - best).square().sum() / 2
    ...         loss.backward()
    ...         return loss
    ...     return closure
    >>> optimizer.snapshot([of(1, 0), of(3, 2)])
    >>> _ = w.data.fill_(1.0)
    >>> _ = optimizer.step(of(1, 0))  # G = 1, G' = 2, g' = 1: a step along 0.5
    >>> round(w.item(), 4)
    0.95
    """

    def __init__(
        self,
        params: Any,
        lr: float,
        bias: float = 0.5,
        estimator: Estimator | None = None,
        buffers: Iterable[Tensor] = (),
    ) -> None:
        if estimator is not None:
            check_choice("estimator", estimator, get_args(Estimator))
        super().__init__(params, {"lr": lr, "bias": bias, "estimator": estimator})
        for group in self.param_groups:
            if not group["lr"] > 0:
                raise HwoptError(f"the step size must be positive, not {group['lr']}")
            if not 0 <= group["bias"] <= 1:
                raise HwoptError(f"the bias must be in [0, 1], not {group['bias']}")
        self._buffers = list(buffers)

    def start_epoch(self, closures: Iterable[Closure]) -> None:
        """Take a snapshot of the mini-batches of an epoch."""
        self.snapshot(closures)

    def snapshot(self, closures: Iterable[Closure]) -> None:
        """Keep the weights, and the mean of the closures' gradients at them.

        Args:
            closures: of mini-batches of one size; each computes the gradients of a mean loss.

        Raises:
            HwoptError: if there is none.
        """
        count = 0
        means = {p: torch.zeros_like(p) for p in self._parameters()}
        buffers = [buffer.clone() for buffer in self._buffers]
        for closure in closures:
            count += 1
            with torch.enable_grad():
                closure()
            for parameter, mean in means.items():
                if parameter.grad is not None:
                    mean.add_(parameter.grad)
            self._batch_done(list(means))
        if not count:
            raise HwoptError("a snapshot needs a mini-batch at least")
        with torch.no_grad():
            torch._foreach_div_(list(means.values()), count)
            for parameter, mean in means.items():
                self.state[parameter].update(snapshot=parameter.clone(), mean=mean)
            self._restore(buffers)

    def step(self, closure: Closure | None = None) -> Tensor:  # type: ignore[override]
        """Take a step and return the loss before it; the closure is called twice.

        Both times random layers draw the same numbers.

        Raises:
            HwoptError: if there is no closure, or no snapshot.
        """
        parameters = self._parameters()
        if closure is None:
            raise HwoptError("a step needs a closure that returns the loss")
        if not all("snapshot" in self.state[parameter] for parameter in parameters):
            raise HwoptError("a step needs a snapshot before")
        random = torch.get_rng_state()
        with torch.enable_grad():
            loss = closure().detach()
        here = [_gradient(parameter) for parameter in parameters]
        buffers = [buffer.clone() for buffer in self._buffers]
        there = self._at_snapshot(closure, parameters, random)
        with torch.no_grad():
            self._restore(buffers)
            gradients = dict(zip(parameters, zip(here, there, strict=True), strict=True))
            for group in self.param_groups:
                self._move(group, gradients)
        return loss

    def _batch_done(self, parameters: list[Tensor]) -> None:
        """Look at the gradients of one mini-batch of a snapshot."""

    def _parameters(self) -> list[Tensor]:
        return [p for group in self.param_groups for p in group["params"] if p.requires_grad]

    def _at_snapshot(
        self, closure: Closure, parameters: list[Tensor], random: Tensor
    ) -> list[Tensor]:
        """Return the gradients at the snapshot; the weights are as before."""
        with torch.no_grad():
            weights = [parameter.clone() for parameter in parameters]
            torch._foreach_copy_(parameters, [self.state[p]["snapshot"] for p in parameters])
        torch.set_rng_state(random)
        with torch.enable_grad():
            closure()
        there = [_gradient(parameter) for parameter in parameters]
        with torch.no_grad():
            torch._foreach_copy_(parameters, weights)
        return there

    def _move(self, group: dict[str, Any], gradients: dict[Tensor, tuple[Tensor, Tensor]]) -> None:
        bias, is_biased = group["bias"], group["estimator"] == "biased"
        if group["estimator"] is None:
            is_biased = bias > 0.5
        parameters = [p for p in group["params"] if p in gradients]
        if not parameters:
            return
        here, there = ([gradients[p][which] for p in parameters] for which in (0, 1))
        means = [self.state[p]["mean"] for p in parameters]
        correction = 1 - bias if is_biased else bias
        torch._foreach_add_(parameters, here, alpha=-group["lr"] * (1 - bias))
        torch._foreach_add_(parameters, there, alpha=group["lr"] * correction)
        torch._foreach_add_(parameters, means, alpha=-group["lr"] * bias)

    def _restore(self, buffers: list[Tensor]) -> None:
        for buffer, value in zip(self._buffers, buffers, strict=True):
            buffer.copy_(value)


def _gradient(parameter: Tensor) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.clone()


def decaying_rate(epoch: int, samples: int, steps: int, first: float = 0.5) -> float:
    """Return the step size of an epoch: falling at first, then constant.

    max(0.8 / (1.05 n^(1/5)), first / sqrt(epoch^1.85 steps)). Source: Bi's code, after the rule of
    Reddi et al. 2016.

    Args:
        epoch: from 1.
        samples: n, of the training set.
        steps: in an epoch.
        first: where it begins, times the root of ``steps``.

    >>> round(decaying_rate(1, 60_000, 600), 4), round(decaying_rate(1, 10**9, 1), 4)
    (0.0844, 0.5)
    """
    return max(0.8 / (1.05 * samples**0.2), first / (epoch**1.85 * steps) ** 0.5)
