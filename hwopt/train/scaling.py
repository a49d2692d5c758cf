"""How many steps a training takes at what batch size: the law, its fit, and what it rests on.

Source: Lee et al. 2021 (data parallelism and sparsity); the derivation of ``steps_needed`` is our
own, after the theorem of that paper.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import nnls
from scipy.stats import qmc
from torch import Tensor, nn
from torch.utils.data import Dataset

from hwopt import data
from hwopt.errors import HwoptError
from hwopt.tasks import Classification, Task

_CLASSES = Classification()
#: Where between two points of a trajectory gradients are compared.
_BETWEEN = tuple(tenths / 10 for tenths in range(1, 10))


@dataclass(frozen=True)
class Metaparameters:
    """What a trial of stochastic gradient descent with momentum is run with."""

    learning_rate: float
    momentum: float


def quasi_random(count: int) -> list[Metaparameters]:
    """Return points of a Sobol sequence, its first two left out.

    The learning rate is in [1e-4, 1] and 1 - momentum in [1e-4, 0.1], both on a logarithmic scale.

    >>> point = quasi_random(1)[0]
    >>> point.learning_rate, round(point.momentum, 4)
    (0.1, 0.9822)
    """
    sobol = qmc.Sobol(2, scramble=False).fast_forward(2)
    return [from_unit(*map(float, sobol.random(1)[0])) for _ in range(count)]


def from_unit(first: float, second: float) -> Metaparameters:
    """Return the trial at a point of the unit square.

    >>> from_unit(0.5, 0.5)
    Metaparameters(learning_rate=0.01, momentum=0.9968377223398316)
    """
    return Metaparameters(10 ** (4 * first - 4), 1 - 10 ** (-1 - 3 * second))


@dataclass(frozen=True)
class Scaling:
    """The law K = c1 / B + c2 of the steps K to a result at batch size B.

    Attributes:
        c1: samples that are needed while batches are small.
        c2: steps that no batch size saves.
        r_squared: of the logarithms of K; 1 is a perfect fit.
    """

    c1: float
    c2: float
    r_squared: float

    def steps(self, batch_size: float) -> float:
        """Return K at a batch size."""
        return self.c1 / batch_size + self.c2

    @property
    def diminishing_returns(self) -> float:
        """The batch size from which on most steps are those that no batch size saves."""
        return self.c1 / self.c2 if self.c2 else math.inf


def fit_scaling(steps: Mapping[int, float]) -> Scaling:
    """Fit the law to measured steps by batch size, by the squares of relative errors.

    Raises:
        HwoptError: if there are fewer than three batch sizes, or a number is not positive.

    >>> law = fit_scaling({batch: 800 / batch + 50 for batch in (1, 4, 16, 64)})
    >>> round(law.c1), round(law.c2), round(law.r_squared, 3), round(law.diminishing_returns)
    (800, 50, 1.0, 16)
    """
    if len(steps) < 3 or min(*steps, *steps.values()) <= 0:
        raise HwoptError(
            "the law of scaling is fitted to at least three batch sizes, each with a positive "
            f"number of steps, not to {dict(steps)}"
        )
    batches, measured = (np.array(list(of), dtype=float) for of in (steps.keys(), steps.values()))
    columns = np.stack([1 / batches, np.ones_like(batches)], 1)
    (c1, c2), _ = nnls(columns / measured[:, None], np.ones_like(measured))
    logarithms = np.log(measured)
    left = ((logarithms - np.log(c1 / batches + c2)) ** 2).sum()
    total = ((logarithms - logarithms.mean()) ** 2).sum()
    return Scaling(float(c1), float(c2), float(1 - left / total) if total else 1.0)


def steps_needed(
    batch_size: float, distance: float, smoothness: float, variance: float, level: float
) -> float:
    """Return the least steps after which the mean squared gradient is surely below a level.

    For gradient descent on an L-smooth loss with unbiased gradients of variance s / B and the best
    constant rate, at most 1 / L: the mean over K steps is at most 2 D / (rate K) + rate L s / B.

    Args:
        batch_size: B.
        distance: D, from the first loss to the lowest.
        smoothness: L, such as :func:`lipschitz` estimates.
        variance: s, of the gradient of one sample.
        level: epsilon.

    >>> [round(steps_needed(batch, 1.0, 10.0, 4.0, 0.1)) for batch in (1, 2, 80)]
    [32000, 16000, 400]
    """
    if batch_size <= 2 * variance / level:
        return 8 * distance * smoothness * variance / (level**2 * batch_size)
    return 2 * distance * smoothness / (level - variance / batch_size)


def lipschitz(
    model: nn.Module,
    dataset: Dataset[object],
    before: Mapping[str, Tensor],
    after: Mapping[str, Tensor],
    task: Task = _CLASSES,
    chunk: int = 1000,
) -> float:
    """Estimate the Lipschitz constant of the gradient between two points of a trajectory.

    The largest of |g(w + t d) - g(w)| / |t d| for t from 0.1 to 0.9, d the step between the points
    and g the gradient of the mean loss over the whole data set, batch norms in evaluation mode.
    What a mask holds has no gradient and does not count.

    Args:
        model: left as it was.
        dataset: all of it is used.
        before, after: the trainable parameters by name, such as one optimizer step apart.
        task: whose loss.
        chunk: samples in memory at a time.

    Raises:
        HwoptError: if the points are the same.
    """
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    kept = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    mode = model.training
    model.eval()
    step = {name: after[name] - before[name] for name in parameters}

    def gradient(part: float) -> Tensor:
        for name, parameter in parameters.items():
            parameter.data.copy_(before[name] + part * step[name])
        return _full_gradient(model, list(parameters.values()), dataset, task, chunk)

    try:
        start = gradient(0.0)
        used = (start != 0) | (gradient(1.0) != 0)
        length = float((torch.cat([d.reshape(-1) for d in step.values()]) * used).norm())
        if not length:
            raise HwoptError("the Lipschitz constant is estimated between two different points")
        return max(float((gradient(t) - start).norm()) / (t * length) for t in _BETWEEN)
    finally:
        for name, parameter in parameters.items():
            parameter.data.copy_(kept[name])
        model.train(mode)


def _full_gradient(
    model: nn.Module,
    parameters: Sequence[Tensor],
    dataset: Dataset[object],
    task: Task,
    chunk: int,
) -> Tensor:
    """Return the gradient of the mean loss over the data set, as one vector."""
    count = len(dataset)  # type: ignore[arg-type]
    total = torch.zeros(sum(parameter.numel() for parameter in parameters))
    for indices in torch.arange(count).split(chunk):
        given = task.complete(data.batch(dataset, indices))
        outputs = data.run_model(model, task.feed(given.inputs))
        value = task.loss(outputs, given).mean() * (len(indices) / count)
        gradients = torch.autograd.grad(value, parameters, materialize_grads=True)
        total += torch.cat([gradient.reshape(-1) for gradient in gradients])
    return total
