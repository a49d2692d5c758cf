"""A figure that says how good the answers of a network are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np


def share(text: str | float) -> float:
    """Return a share that was written as a number or in per cent.

    Raises:
        ValueError: if it is neither, or below 0.

    >>> share("1%"), share("0.5 %"), share(0.02)
    (0.01, 0.005, 0.02)
    """
    written = str(text).strip()
    try:
        value = float(written.removesuffix("%")) / (100 if written.endswith("%") else 1)
    except ValueError:
        raise ValueError(f"{text!r} is no share: write it as 1% or 0.01") from None
    if not value >= 0:
        raise ValueError(f"{text!r} is no share: it must be at least 0")
    return value


#: One number, or one a sample.
Figure = TypeVar("Figure", float, np.ndarray)


@dataclass(frozen=True)
class Metric:
    """A name, a direction and a unit.

    Attributes:
        name: how tables call it.
        higher_is_better: whether more of it is better.
        is_share: whether it is a share, which is shown in per cent.
        ideal: the best that there is.
    """

    name: str
    higher_is_better: bool = True
    is_share: bool = True
    ideal: float = 1.0

    def show(self, value: float | None) -> str:
        """Return a figure for people.

        >>> Metric("accuracy").show(0.9297), Metric("error", False, False, 0.0).show(12.3456)
        ('92.97 %', '12.35')
        """
        if value is None:
            return "–"
        return f"{100 * value:.2f} %" if self.is_share else f"{value:.4g}"

    def gain(self, value: Figure, beside: Figure) -> Figure:
        """Return by how much a figure is better than another one; negative if it is worse.

        >>> Metric("error", higher_is_better=False).gain(0.5, beside=0.75)
        0.25
        """
        return value - beside if self.higher_is_better else beside - value

    def show_within(self, value: float | None, low: float | None, high: float | None) -> str:
        """Return a figure with what it is between.

        >>> Metric("accuracy").show_within(0.92, 0.915, 0.9251)
        '92.00 % (91.50–92.51)'
        """
        shown = self.show(value)
        if low is None or high is None:
            return shown
        ends = (f"{100 * end:.2f}" if self.is_share else f"{end:.4g}" for end in (low, high))
        return f"{shown} ({'–'.join(ends)})"

    def show_difference(self, value: float, beside: float) -> str:
        """Return a difference with its sign for people.

        >>> Metric("accuracy").show_difference(0.91, beside=0.914)
        '−0.40 points'
        >>> Metric("error", is_share=False).show_difference(0.5, beside=0.25)
        '+0.25'
        """
        difference = value - beside
        text = f"{100 * difference:+.2f} points" if self.is_share else f"{difference:+.3g}"
        return text.replace("-", "−")

    @property
    def axis(self) -> str:
        """The title of an axis that shows it."""
        return f"{self.name} in %" if self.is_share else self.name

    @property
    def scale(self) -> float:
        """What figures are multiplied with where they are drawn."""
        return 100.0 if self.is_share else 1.0

    def worse(self, value: float, by: float) -> float:
        """Return a figure that is worse.

        >>> Metric("accuracy").worse(0.75, by=0.25)
        0.5
        """
        return value - by if self.higher_is_better else value + by

    def tolerance(self, share: float, beside: float) -> float:
        """Return what a loss of a share is: points of a share, else that part of the figure.

        >>> Metric("accuracy").tolerance(0.01, beside=0.9)
        0.01
        >>> Metric("error", is_share=False).tolerance(0.01, beside=50.0)
        0.5
        """
        return share if self.is_share else share * abs(beside)
