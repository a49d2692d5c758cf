"""``fastest-first``: a sampler that begins with what is predicted to be the fastest."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, RandomSampler


class FastestFirst(BaseSampler):
    """Suggests the points of a space in the order of their predicted latency."""

    needs_table = True

    def __init__(self, space: Any, table: Mapping[str, Sequence[Any]], worst: Any, seed: int):
        self._space, self._random = space, RandomSampler(seed)
        self._latency = {
            name: {value: width.latency for value, width in zip(values, table[name], strict=True)}
            for name, values in space.dimensions.items()
        }

    def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, BaseDistribution]:
        """Return the whole space."""
        return {name: CategoricalDistribution(v) for name, v in self._space.dimensions.items()}

    def sample_relative(self, study: Any, trial: Any, search_space: Any) -> dict[str, Any]:
        """Return the fastest point that no trial before it was."""
        seen = {
            tuple(sorted(other.params.items()))
            for other in study.get_trials(deepcopy=False)
            if other.number < trial.number
        }
        points = sorted(self._space.points(), key=self._predicted)
        return next(dict(p) for p in points if tuple(sorted(p.items())) not in seen)

    def sample_independent(self, study: Any, trial: Any, name: str, distribution: Any) -> Any:
        """Return a value at random, where no whole point was suggested."""
        return self._random.sample_independent(study, trial, name, distribution)

    def _predicted(self, point: Mapping[str, Any]) -> float:
        return math.prod(self._latency[name][value] for name, value in point.items())
