"""The latency table of a device: a grid of networks, each of them and its kernels timed."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING

from hwopt.compiler.graph_latency import GraphLatency
from hwopt.errors import HwoptError
from hwopt.passes.base import Context
from hwopt.passes.prune_channels import PruneChannels
from hwopt.targets import out_of_reach
from hwopt.targets.database import own_folder

if TYPE_CHECKING:
    from hwopt.graph import Graph
    from hwopt.targets import Target
    from hwopt.targets.progress import Progress

#: Widths that each group of channels is given. A prime number: see :func:`grid`.
LEVELS = 5
#: Networks measured side by side with the first one, so that all have the same machine.
TOGETHER = 4
MEMORY = "networks.json"


def measure_table(
    graph: Graph,
    target: Target,
    *,
    levels: int = LEVELS,
    kernel_trials: int | None = None,
    seed: int = 0,
    tuning: Progress | None = None,
    report: Callable[[int, int], None] | None = None,
) -> None:
    """Measure a network, its kernels and narrower ones, into the target's table.

    What is measured already is not measured again, so a run that was stopped goes on.

    Args:
        graph: its widths are the largest of the grid; weights play no role.
        target: the device.
        levels: widths of each group of channels, a prime number.
        kernel_trials, seed, tuning: of compiling; see ``hwopt.compile``.
        report: called with networks done, and networks in all.

    Raises:
        HwoptError: if the target is emulated or out of reach, or ``levels`` is no prime number.
    """
    if target.emulated:
        raise HwoptError(f"the times of {target.name} are an emulator's: they make no table")
    if reason := out_of_reach(target):
        raise HwoptError(reason)
    networks = grid(graph, levels, multiple=target.float_lanes)
    measure = GraphLatency(
        target,
        kernel_trials=kernel_trials,
        seed=seed,
        memory=own_folder(target) / MEMORY,
        progress=tuning,
    )
    for start in range(0, len(networks), TOGETHER):
        if report:
            report(start, len(networks))
        measure([graph, *networks[start : start + TOGETHER]])
    if report:
        report(len(networks), len(networks))


def grid(graph: Graph, levels: int, multiple: int) -> list[Graph]:
    """Return narrower networks in which any two neighbouring groups meet at all pairs of widths.

    It is an orthogonal array: of ``levels`` squared networks, number (i, j) gives group g the width
    number (i + g j) modulo ``levels``, so any two of as many groups as ``levels`` in a row have
    every pair of widths in one network (Rao 1947). A kernel reads one group and makes the next.

    Args:
        graph: the widest network.
        levels: widths of a group, a prime number.
        multiple: widths are multiples of it.

    Raises:
        HwoptError: if the number of levels is no prime.
    """
    if levels < 2 or any(levels % n == 0 for n in range(2, levels)):
        raise HwoptError(f"levels must be a prime number, not {levels}")
    context = Context()
    pruning = PruneChannels(ratio=0.0, criterion="l2", multiple=multiple)
    ranking = pruning.rank(graph, context)
    groups = list(ranking.named_groups())
    found: dict[str, Graph] = {}
    for i, j in itertools.product(range(levels), repeat=2):
        ratios = tuple(
            (name, ((i + place * j) % levels) / levels) for place, name in enumerate(groups)
        )
        narrow = dataclasses.replace(pruning, ratios=ratios).prune(ranking, context).graph
        found.setdefault(narrow.to_text(), narrow)
    found.pop(graph.to_text(), None)
    return list(found.values())
