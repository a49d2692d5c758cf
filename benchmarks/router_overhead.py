"""What a router costs on the easy way: a routed network that never asks, beside the small one.

    python -m benchmarks router_overhead   # on a machine that does nothing else

The networks are those of `benchmarks.routing`, untrained: weights play no role for the time.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from statistics import median
from typing import Any

import hwopt
from benchmarks.experiment import Experiment, Key
from benchmarks.records import measured_on
from benchmarks.routed_nets import EXPERT_WIDTH, PRUNING, ROUTERS, untrained
from hwopt import passes, targets
from hwopt.compiler import measure
from hwopt.passes.route import Route
from hwopt.passes.routing import with_threshold
from hwopt.report import markdown

#: No score is above it.
NEVER = 1e30
THREADS = (1, 2)
#: In rounds, of whose ratios the median counts.
ROUNDS, RUNS = 15, 400


def run(used_threads: int) -> dict[str, Any]:
    """Return the ratio of every router's easy way to the small network."""
    small = hwopt.apply(untrained(16, seed=0), PRUNING)
    expert = untrained(EXPERT_WIDTH, seed=1)
    graphs = {"small": small}
    for router in ROUTERS:
        one = Route(router=router)  # type: ignore[arg-type]
        graph = one.joined(small, expert, passes.Context()).graph
        graphs[router] = with_threshold(graph, NEVER)
    target = targets.get("host", threads=used_threads)
    artifacts = {name: hwopt.compile(graph, target=target) for name, graph in graphs.items()}
    calls = {name: artifact.call(*artifact.random_inputs()) for name, artifact in artifacts.items()}
    rounds = [measure(calls, threads=used_threads, runs=RUNS) for _ in range(ROUNDS)]
    for router in ROUTERS:
        asked = artifacts[router].asked
        assert asked is not None and not asked.any()
    return {
        "small_us": median(1e3 * one["small"].median_ms for one in rounds),
        "ratios": {
            name: median(one[name].median_ms / one["small"].median_ms for one in rounds)
            for name in ROUTERS
        },
    }


def section(runs: list[dict[str, Any]]) -> Iterator[str]:
    """One line for each number of threads and machine."""
    yield "## The easy way\n\n`python -m benchmarks router_overhead`"
    yield (
        f"A routed ResNet-8 (1x28x28, `{PRUNING}`) that never asks, beside the same network "
        f"without a router, batch 1: medians of {ROUNDS} rounds' ratios, all in turns."
    )
    rows = [
        [
            f"{one['cpu']}, {one['isa']}",
            str(one["used_threads"]),
            f"{one['small_us']:.1f}",
            *(f"{one['ratios'][router]:.3f}" for router in ROUTERS),
        ]
        for one in runs
    ]
    yield markdown(["machine", "threads", "small alone, µs", *ROUTERS], rows)
    yield measured_on(runs)


def keys(_: Namespace) -> Iterator[Key]:
    """Yield every number of threads."""
    for threads in THREADS:
        yield {"used_threads": threads}


EXPERIMENTS = (
    Experiment(
        name="router_overhead",
        about="a routed network that never asks, beside the small one",
        chapter="routing",
        keys=keys,
        run=run,
        section=section,
    ),
)
