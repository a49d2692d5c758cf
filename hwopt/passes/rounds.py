"""Spread what a pass removes over several rounds, with training between them."""

from __future__ import annotations

import functools
from typing import Literal, get_args

from hwopt.errors import HwoptError, check_choice
from hwopt.passes.base import Pass

Growth = Literal["uniform", "geometric", "cubic"]


def shares(final: float, rounds: int, growth: Growth) -> list[float]:
    """Return the share that is removed after every round; the last one is ``final``.

    Args:
        final: in [0, 1).
        rounds: at least 1.
        growth: ``uniform``: the same share of the whole in every round; ``geometric``: the same
            share of what is left; ``cubic``: much at first, little at the end (Zhu and Gupta 2017).

    Raises:
        HwoptError: if there is no round, or no such growth.

    >>> [round(share, 4) for share in shares(0.9, 4, "cubic")]
    [0.5203, 0.7875, 0.8859, 0.9]
    """
    check_choice("growth", growth, get_args(Growth))
    if rounds < 1:
        raise HwoptError(f"rounds must be at least 1, not {rounds}")
    done = [(t + 1) / rounds for t in range(rounds)]
    if growth == "uniform":
        return [final * part for part in done]
    if growth == "geometric":
        return [1 - (1 - final) ** part for part in done]
    return [final * (1 - (1 - part) ** 3) for part in done]


def between(gone: list[float]) -> list[float]:
    """Return the share that every round removes of what the one before left.

    >>> [round(ratio, 4) for ratio in between([0.3, 0.6])]
    [0.3, 0.4286]
    """
    before = [0.0, *gone[:-1]]
    return [1 - (1 - now) / (1 - earlier) for earlier, now in zip(before, gone, strict=True)]


def in_rounds(passes: list[Pass], rounds: int, growth: Growth) -> list[list[Pass]]:
    """Return the passes of every round; see ``Pass.in_rounds``.

    >>> from hwopt.passes import parse
    >>> for passes in in_rounds(parse("prune-weights{ratio=0.8},condense"), 2, "uniform"):
    ...     print(*passes)
    prune-weights{ratio=0.4} condense
    prune-weights{ratio=0.8} condense
    """
    spread = functools.partial(shares, rounds=rounds, growth=growth)
    instances = [instance.in_rounds(spread) for instance in passes]
    return [[of_pass[number] for of_pass in instances] for number in range(rounds)]
