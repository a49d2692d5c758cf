"""A sampler for Optuna that begins with what is known, and then moves along the measured front."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState
from scipy.optimize import lsq_linear

from hwopt.allocation.allocate import Table, allocate, fastest
from hwopt.search.front import Point, front, hypervolume
from hwopt.search.space import Choices, Space

if TYPE_CHECKING:
    from optuna import Study

    from hwopt.passes.base import OptionValue

#: Trials of the ladder of budgets, before anything is learned from trials.
LADDER = 8
#: Random points among the candidates of every step: the front's neighbours are not all there is.
_RANDOM = 64
#: A budget needs some room below the baseline, and above the fastest one.
_ROOM = 0.02
#: Gauss-Hermite: expected improvements of a normal distribution, to rounding of what they are for.
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(7)


class GuidedSampler(BaseSampler):
    """Suggests points of a space by importance and latency, then by what trials measured (ours).

    First a ladder of latency budgets: for each the most important point within it, by an integer
    programme (:func:`hwopt.allocation.allocate.allocate`). Then, of the neighbours of the measured
    front, and of some points at random, the one whose expected gain of hypervolume is largest;
    quality and latency are Gaussian processes around what importance and the prediction say.

    Args:
        space: what is chosen from.
        table: for every dimension of the space its values in their order, as widths: ``channels``
            counts down, ``latency`` is a share of the baseline's.
        worst: the corner of the hypervolume; latency as a share.
        seed: of the points at random.
        ladder: trials of the ladder.

    The study's objectives are the gain of quality, to be maximised, the share of the latency, and
    as many others as ``worst`` has.
    """

    #: What every choice does by itself; see ``hwopt.search.samplers``.
    needs_table: ClassVar[bool] = True

    def __init__(
        self, space: Space, table: Table, worst: Point, seed: int = 0, ladder: int = LADDER
    ) -> None:
        self._space, self._table, self._worst = space, table, worst
        self._seed, self._ladder = seed, ladder

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return the whole space."""
        return distributions(self._space)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return the next point; it depends on the trials before it and on the seed alone."""
        others = [t for t in study.get_trials(deepcopy=False) if t.number < trial.number]
        seen = {self._key(t.params) for t in others if self._is_whole(t.params)}
        measured = [
            t for t in others if t.state == TrialState.COMPLETE and self._is_whole(t.params)
        ]
        random = np.random.default_rng([self._seed, trial.number])
        if trial.number >= self._ladder and len(measured) >= 2:
            return self._step(measured, seen, random)
        return self._rung(trial.number, seen, random)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: Any
    ) -> Any:
        """Return the first value of a dimension that is not the space's."""
        return param_distribution.choices[0]

    def _rung(
        self, number: int, seen: set[tuple[int, ...]], random: np.random.Generator
    ) -> dict[str, OptionValue]:
        """Return the best point within a budget of the ladder."""
        low, high = fastest(self._table) * (1 + _ROOM), 1 - _ROOM
        share = _spread_out(number)
        budget = low**share * high ** (1 - share) if low < high else low
        chosen = allocate(self._table, budget).widths
        point = {
            name: self._space.dimensions[name][self._table[name].index(width)]
            for name, width in chosen.items()
        }
        if self._key(point) not in seen:
            return point
        return self._unseen(self._space.neighbours(point), seen, random)

    def _step(
        self,
        measured: list[FrozenTrial],
        seen: set[tuple[int, ...]],
        random: np.random.Generator,
    ) -> dict[str, OptionValue]:
        """Return the candidate with the largest expected gain of hypervolume."""
        points = [dict(t.params) for t in measured]
        told = [Point.of(t.values) for t in measured]
        # What is over a limit teaches, but is no part of the front.
        found = {
            n: told[n]
            for n, t in enumerate(measured)
            if all(v <= 0 for v in t.constraints.values())
        }
        best = [points[n] for n in front(found or dict(enumerate(told)))]
        near = [other for point in best for other in self._space.neighbours(point)]
        near += [other for point in near for other in self._space.neighbours(point)]
        near += [self._drawn(random) for _ in range(_RANDOM)]
        candidates = {self._key(point): point for point in near}
        new = [point for key, point in candidates.items() if key not in seen]
        if not new:
            return self._unseen([], seen, random)
        gain, spread = self._fitted(points, [p.gain for p in told], new, 0)
        shares, _ = self._fitted(points, [math.log(p.latency) for p in told], new, 1)
        others = [
            # They follow the widths as the latency does, more or less.
            self._fitted(points, [math.log(p.others[n]) for p in told], new, 1)[0]
            for n in range(len(self._worst.others))
        ]
        costs = np.exp([shares, *others]).T
        ahead = {n: found[n] for n in front(found)}
        gains = [
            _expected_gain(ahead, self._worst, float(mean), float(deviation), of)
            for mean, deviation, of in zip(gain, spread, costs.tolist(), strict=True)
        ]
        return new[int(np.argmax(gains))]

    def _fitted(
        self, points: list[dict[str, OptionValue]], values: list[float], new: list[Any], known: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and deviation of a quantity at new points, from its values at others.

        Args:
            known: which of the two figures of :meth:`_prior` explains it.
        """
        prior = np.array([self._prior(point)[known] for point in points])
        targets = np.array(values)
        ones = np.c_[prior, np.ones(len(prior))]
        # What is known points the right way: few trials must not turn it round.
        line = lsq_linear(ones, targets, bounds=([0, -np.inf], np.inf)).x
        left = targets - ones @ line
        scale = float(left.std()) or 1e-6
        process = _process(len(self._space.dimensions))
        with warnings.catch_warnings():
            # Lengths at a bound say that a dimension does not matter.
            warnings.simplefilter("ignore")
            process.fit(self._inputs(points), left / scale)
        mean, spread = process.predict(self._inputs(new), return_std=True)
        at_new = np.array([self._prior(point)[known] for point in new])
        return np.c_[at_new, np.ones(len(new))] @ line + scale * mean, scale * spread

    def _prior(self, point: Choices) -> tuple[float, float]:
        """Return the importance, and the logarithm of the predicted share of the latency."""
        widths = [self._table[name][place] for name, place in self._places(point)]
        return (
            sum(width.importance for width in widths),
            sum(math.log(width.latency) for width in widths),
        )

    def _places(self, point: Choices) -> list[tuple[str, int]]:
        return [
            (name, values.index(point[name])) for name, values in self._space.dimensions.items()
        ]

    def _inputs(self, points: Iterable[Choices]) -> np.ndarray:
        sizes = np.array([max(1, len(v) - 1) for v in self._space.dimensions.values()])
        return np.array([[place for _, place in self._places(point)] for point in points]) / sizes

    def _key(self, point: Choices) -> tuple[int, ...]:
        return tuple(place for _, place in self._places(point))

    def _is_whole(self, point: Mapping[str, Any]) -> bool:
        return all(point.get(name) in values for name, values in self._space.dimensions.items())

    def _drawn(self, random: np.random.Generator) -> dict[str, OptionValue]:
        return {
            name: values[int(random.integers(len(values)))]
            for name, values in self._space.dimensions.items()
        }

    def _unseen(
        self,
        points: Iterable[dict[str, OptionValue]],
        seen: set[tuple[int, ...]],
        random: np.random.Generator,
    ) -> dict[str, OptionValue]:
        """Return one of the points that no trial had, else one from anywhere in the space."""
        drawn = [self._drawn(random) for _ in range(_RANDOM)]
        for some in (list(points), drawn):
            new = [point for point in some if self._key(point) not in seen]
            if new:
                return new[int(random.integers(len(new)))]
        return drawn[0]


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """Return a space in Optuna's terms."""
    return {name: CategoricalDistribution(values) for name, values in space.dimensions.items()}


def _spread_out(number: int) -> float:
    """Return a place in (0, 1): one half, a quarter, three quarters, ... (van der Corput).

    >>> [_spread_out(n) for n in range(4)]
    [0.5, 0.25, 0.75, 0.125]
    """
    digits = f"{number + 1:b}"
    return sum(int(digit) / 2 ** (1 + place) for place, digit in enumerate(reversed(digits)))


def _expected_gain(
    found: Mapping[int, Point], worst: Point, mean: float, spread: float, costs: Sequence[float]
) -> float:
    """Return by how much a point is expected to increase the hypervolume."""
    now, (share, *others) = hypervolume(found, worst), costs
    gains = [
        hypervolume({**found, -1: Point(mean + spread * node, share, tuple(others))}, worst) - now
        for node in _NODES
    ]
    return float(np.dot(_WEIGHTS, gains) / _WEIGHTS.sum())


def _process(dimensions: int) -> Any:
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

    covariance = ConstantKernel(1.0, (1e-2, 1e2)) * RBF(
        np.full(dimensions, 1.0), (0.2, 1e1)
    ) + WhiteKernel(0.1, (1e-3, 1e0))
    return GaussianProcessRegressor(covariance, random_state=0)
