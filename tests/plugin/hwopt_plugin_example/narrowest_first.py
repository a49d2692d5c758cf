"""``narrowest-first``: a sampler that begins with the narrowest network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, RandomSampler


class NarrowestFirst(BaseSampler):
    """Suggests the points of a space in the order of the widths that they leave."""

    needs_table = True

    def __init__(self, space: Any, table: Mapping[str, Sequence[Any]], worst: Any, seed: int):
        self._space, self._random = space, RandomSampler(seed)
        self._width = {
            name: {value: one.channels for value, one in zip(values, table[name], strict=True)}
            for name, values in space.dimensions.items()
        }

    def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, BaseDistribution]:
        """Return the whole space."""
        return {name: CategoricalDistribution(v) for name, v in self._space.dimensions.items()}

    def sample_relative(self, study: Any, trial: Any, search_space: Any) -> dict[str, Any]:
        """Return the narrowest point that no trial before it was."""
        seen = {
            tuple(sorted(other.params.items()))
            for other in study.get_trials(deepcopy=False)
            if other.number < trial.number
        }
        points = sorted(self._space.points(), key=self._product)
        return next(dict(p) for p in points if tuple(sorted(p.items())) not in seen)

    def sample_independent(self, study: Any, trial: Any, name: str, distribution: Any) -> Any:
        """Return a value at random, where no whole point was suggested."""
        return self._random.sample_independent(study, trial, name, distribution)

    def _product(self, point: Mapping[str, Any]) -> float:
        return math.prod(self._width[name][value] for name, value in point.items())
