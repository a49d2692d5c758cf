"""A variant that answers easy inputs and asks an expert about the others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwopt.files import sha256
from hwopt.graph import Graph
from hwopt.graph.storage import GRAPH_FILE
from hwopt.job.recipe import Routing
from hwopt.passes import Context, PassResult
from hwopt.passes.route import Route
from hwopt.passes.routing import with_threshold
from hwopt.routing.hybrid import fit_routed
from hwopt.routing.routed_parts import answers
from hwopt.routing.routes import choose_point, route_points

if TYPE_CHECKING:
    from hwopt.data import DataSet

#: No score is so far from 0: everything is easy, or hard.
_FAR = 1e30


def trains_routing(route: Routing) -> bool:
    """Return whether there is something new that must be trained: a router, or an exit."""
    return route.router == "learned" or not route.expert


def saved_expert(route: Routing) -> Graph | None:
    """Return the expert that a folder has, if the recipe names one."""
    return Graph.load(Path(route.expert)) if route.expert else None


def expert_file(route: Routing) -> str:
    """Return the hash of the saved expert's graph, which has that of its weights; else nothing."""
    file = Path(route.expert) / GRAPH_FILE
    return sha256(file) if route.expert and file.exists() else ""


def join(graph: Graph, expert: Graph | None, route: Routing, context: Context) -> PassResult:
    """Apply the pass ``route``."""
    one = Route(cut=route.cut, router=route.router, width=route.width)
    result = one.apply(graph, context) if expert is None else one.joined(graph, expert, context)
    result.graph.history = (*result.graph.history, str(one))
    return result


def routed(
    graph: Graph,
    expert: Graph | None,
    route: Routing,
    data: DataSet,
    context: Context,
    checkpoint: Path,
    training: dict[str, Any],
) -> tuple[Graph, list[str]]:
    """Return a graph with a trained router and a threshold, and notes on them.

    Args:
        graph: the small network; or, without an expert, the large one.
        expert: the large one, trained.
        route: what is wished for.
        data: trained on ``train``, and the threshold chosen on ``validation``.
        context: of the pass; must measure latency if ``route.mean_ms`` is wished for.
        checkpoint: of the training.
        training: arguments of ``hwopt.train.fit``.

    Raises:
        HwoptError: if the networks do not fit, or no threshold gives what is wished for.
    """
    result = join(graph, expert, route, context)
    notes = [f"{Route.name}: {note}" for note in result.notes]
    joined, wish = result.graph, route.wish()
    if trains_routing(route):
        joined = fit_routed(
            joined,
            data,
            coverage=wish.get("coverage", 0.7),
            strength=route.strength,
            only_router=route.only_router,
            checkpoint=checkpoint,
            **{key: value for key, value in training.items() if key != "label_smoothing"},
        )
    ways = (0.0, 1.0)
    if route.mean_ms is not None:
        assert context.latency is not None
        easy_ms, hard_ms = context.latency([with_threshold(joined, t) for t in (_FAR, -_FAR)])
        ways = easy_ms, hard_ms
        notes.append(f"latency: {easy_ms:.4g} ms of an easy input, {hard_ms:.4g} ms of a hard one")
    point = choose_point(route_points(*answers(joined, data.validation), ways), **wish)
    expected = f", {point.mean_ms:.4g} ms expected" if route.mean_ms is not None else ""
    notes.append(
        f"threshold {point.threshold:.4g}: on held-out samples {100 * point.coverage:.1f} % are "
        f"easy, accuracy {100 * point.accuracy:.2f} %{expected}"
    )
    return with_threshold(joined, point.threshold), notes
