"""A candidate: what a point of the space makes of the model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from hwopt.errors import HwoptError
from hwopt.files import read_json
from hwopt.job import Variant

if TYPE_CHECKING:
    from hwopt.search.recipe import Search
    from hwopt.search.space import Space

#: The dimension of routes: their number in the recipe, 0 for none.
ROUTE = "route"
#: Before the name of an option of the model.
MODEL = "model."


class Candidate(BaseModel):
    """What is trained and measured.

    Attributes:
        model_options: those that are not the recipe's.
        variant: passes, and what they lead to.

    >>> Candidate(variant=Variant(passes="binarize"), model_options={"width": 8}).model
    'width=8'
    >>> Candidate(variant=Variant(route={"expert": "dense", "router": "entropy"})).route
    'expert=dense, router=entropy'
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    model_options: dict[str, int | float | str | bool] = {}
    variant: Variant = Variant()

    @property
    def model(self) -> str:
        """The options, as text."""
        return _listed(self.model_options)

    @property
    def route(self) -> str:
        """What is asked about hard inputs, as text."""
        route = self.variant.route
        return _listed(route.model_dump(exclude_defaults=True)) if route else ""

    @classmethod
    def at(cls, point: Mapping[str, Any], space: Space, search: Search) -> Candidate:
        """Return the candidate of a point of a space."""
        text = space.text(point)
        route = search.routes[point[ROUTE] - 1] if point.get(ROUTE) else None
        changed = {
            name.removeprefix(MODEL): point[name]
            for name, values in space.dimensions.items()
            if name.startswith(MODEL) and point[name] != values[0]
        }
        variant = Variant(passes=text, route=route, binary=search.binary_of(text))
        return cls(model_options=changed, variant=variant)

    @classmethod
    def read(cls, file: Path) -> Candidate:
        """Return the candidate of a file in a study's folder.

        Raises:
            HwoptError: if it is the file of none.
        """
        try:
            return cls.model_validate(read_json(file))
        except ValidationError:
            raise HwoptError(
                f"{file} is not a candidate's: they lie in the folder candidates of a study"
            ) from None


def _listed(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in options.items())
