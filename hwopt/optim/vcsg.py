"""VCSG: how many samples a snapshot takes, and how far it is trusted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from torch import Tensor

from hwopt.errors import HwoptError
from hwopt.optim.base import squared_norm
from hwopt.optim.behaviour import Closure, TrainingFacts
from hwopt.optim.variance_reduced import VarianceReduced

#: Snapshots at the beginning that take all samples, before the variance is trusted.
_WARM_UP = 3
#: The exponents of n between which the samples of a snapshot are then kept.
_FEWEST, _MOST = 0.88, 0.995


class VCSG(VarianceReduced):
    """Variance controlled stochastic gradient (Bi and Gunn 2021), our reading of the author's code.

    An outer iteration takes a snapshot of ``batch_size`` samples and then a step for every
    mini-batch of ``mini_batch_size`` of them. The variance of the gradients found at the snapshot
    decides on the steps' size and bias, and on the next ``batch_size``: the smaller of two
    candidates, one for biased and one for unbiased steps. The paper's bound on the variance is, in
    the code, another number; here it is the variance of a sample's gradient.

    Args:
        params: parameters or groups, all with one step size.
        num_samples: n, of the training set.
        smoothness: L, the one number to tune: steps are 1 / (3 L n^(5/32)), or 3/32 where biased.
        tolerance: of the squared gradient; None takes the largest snapshots.
        buffers: see :class:`VarianceReduced`.

    Raises:
        HwoptError: if a number is out of range.

    >>> import torch
    >>> w = torch.nn.Parameter(torch.zeros(1))
    >>> optimizer = VCSG([w], num_samples=60_000, smoothness=0.25)
    >>> optimizer.batch_size, optimizer.mini_batch_size
    (60000, 969)
    """

    chooses_rate: ClassVar[bool] = True
    in_one_process: ClassVar[bool] = True

    def __init__(
        self,
        params: Any,
        num_samples: int,
        smoothness: float,
        tolerance: float | None = None,
        buffers: Iterable[Tensor] = (),
    ) -> None:
        if num_samples < 2 or not smoothness > 0:
            raise HwoptError(
                "VCSG: num_samples must be at least 2 and smoothness positive, not "
                f"{num_samples} and {smoothness}"
            )
        if tolerance is not None and not tolerance > 0:
            raise HwoptError(f"VCSG: tolerance must be positive, not {tolerance}")
        rate = 1 / (3 * smoothness * num_samples ** (3 / 32))
        super().__init__(params, rate, bias=0.0, buffers=buffers)
        self.num_samples, self.smoothness, self.tolerance = num_samples, smoothness, tolerance
        self.param_groups[0].update(snapshots=0, batch_size=num_samples)

    @classmethod
    def training_arguments(cls, training: TrainingFacts) -> Mapping[str, Any]:
        """Return the smoothness of a first step; see :class:`hwopt.optim.behaviour.Behaviour`."""
        samples, buffers = training.samples, training.model.buffers()
        smoothness = cls.smoothness_for(training.learning_rate, samples)
        return {"smoothness": smoothness, "num_samples": samples, "buffers": buffers}

    def batches(self, size: int, steps: int) -> tuple[int, int]:
        """Return the size that it chose, whatever is asked for; a pass over its own samples."""
        size = self.mini_batch_size
        return size, max(1, self.batch_size // size)

    @staticmethod
    def smoothness_for(step_size: float, num_samples: int) -> float:
        """Return the smoothness with which the first steps have a size.

        >>> round(VCSG.smoothness_for(0.1, 60_000), 3)
        1.188
        """
        return 1 / (3 * step_size * num_samples ** (3 / 32))

    @property
    def batch_size(self) -> int:
        """Samples of the next snapshot, to be drawn without replacement."""
        return int(self.param_groups[0]["batch_size"])

    @property
    def mini_batch_size(self) -> int:
        """Samples of a step, and of each gradient of a snapshot."""
        return max(1, int(self.batch_size ** (5 / 8)))

    def snapshot(self, closures: Iterable[Closure]) -> None:
        """Keep the weights and the mean gradient, and choose how to go on.

        Args:
            closures: of mini-batches of ``mini_batch_size`` samples each, ``batch_size`` together.

        Raises:
            HwoptError: if there is none.
        """
        size = self.mini_batch_size
        self._squares: list[float] = []
        super().snapshot(closures)
        count = len(self._squares)
        mean = squared_norm(self.state[p]["mean"] for p in self._parameters())
        spread = (sum(self._squares) - count * mean) / max(1, count - 1)
        self._choose(size * max(0.0, spread))

    def _batch_done(self, parameters: list[Tensor]) -> None:
        self._squares.append(squared_norm(p.grad for p in parameters if p.grad is not None))

    def _choose(self, variance: float) -> None:
        """Set the steps' size and bias and the next snapshot's size, given a sample's variance."""
        n, first = self.num_samples, self.param_groups[0]
        first["snapshots"] += 1
        bias, exponent, estimator = 0.0, 3 / 32, "unbiased"
        biased, unbiased = batch_sizes(variance, n, self.tolerance)
        if first["snapshots"] > _WARM_UP:  # before, the snapshot is of all samples
            if biased < unbiased:
                bias, estimator = 0.75, "biased"
            else:
                bias, exponent = (0.4 if unbiased < biased else 0.5), 5 / 32
        first["batch_size"] = min(biased, unbiased) if first["snapshots"] >= _WARM_UP else n
        for group in self.param_groups:
            rate = 1 / (3 * self.smoothness * n**exponent)
            group.update(lr=rate, bias=bias, estimator=estimator)


def batch_sizes(variance: float, samples: int, tolerance: float | None) -> tuple[int, int]:
    """Return how many samples a snapshot needs for biased and for unbiased steps.

    Args:
        variance: of a sample's gradient.
        samples: n, of the training set.
        tolerance: of the squared gradient; None asks for the most.

    >>> batch_sizes(1.0, 60_000, None)
    (56789, 56789)
    >>> batch_sizes(1.0, 60_000, 1e-3)
    (23065, 47667)
    """
    least, most = samples**_FEWEST, samples**_MOST
    if tolerance is None:
        return round(most), round(most)
    biased = (4.8 * variance / tolerance) ** (32 / 27)
    noise = 10 * tolerance * (samples - 1) ** 1.5 * 0.325**2
    unbiased = samples**2 * variance / (samples * variance + noise)
    return round(min(max(biased, least), most)), round(min(max(unbiased, least), most))
