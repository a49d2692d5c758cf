"""What every step of a variant gained, and what the last job in its folder had found."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwopt.compiler.kernels_of import footprint_of
from hwopt.errors import HwoptError
from hwopt.files import RESULTS_FILE
from hwopt.graph import Graph
from hwopt.job.facts import Earlier
from hwopt.job.results import JobResults
from hwopt.train import evaluate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch.utils.data import Dataset

    from hwopt.targets import Target
    from hwopt.tasks import Task


def step_facts(
    folders: Mapping[str, Path], samples: Dataset[Any], task: Task, target: Target
) -> list[dict[str, Any]]:
    """Return what a variant was after each of its steps.

    Args:
        folders: the graph after every step, by the step's name, in order.
        samples: of the test set.
        task: that the network is for.
        target: whose memory it takes.

    Returns:
        For every step: ``step``, ``quality`` (None after the last one, which is known), ``macs``,
        ``kept_bytes``, and ``is_final``, whether the network has the structure of the last one, and
        with that its latency.
    """
    graphs = {name: Graph.load(folder) for name, folder in folders.items()}
    *_, last = graphs.values()
    final = last.to_text()
    found = []
    for name, graph in graphs.items():
        is_last = graph is last
        found.append(
            {
                "step": name,
                "quality": None if is_last else evaluate(graph.to_torch(), samples, task).quality,
                "macs": graph.macs(),
                "kept_bytes": footprint_of(graph, target).kept_bytes,
                "is_final": graph.to_text() == final,
            }
        )
    return found


def earlier(folder: Path, now: JobResults) -> Earlier | None:
    """Return what the last job in a folder found, where this one found something else.

    Args:
        folder: of the job; its results are those of the last one.
        now: what this one found.
    """
    if not (folder / RESULTS_FILE).exists():
        return None
    try:
        before = JobResults.of(folder)
    except HwoptError:  # of another version
        return None
    found = Earlier(
        recipe=before.recipe,
        metric=before.metric,
        variants={
            name: (facts.quality, facts.typical_ms) for name, facts in before.variants.items()
        },
    )
    same = found.variants == {
        name: (facts.quality, facts.typical_ms) for name, facts in now.variants.items()
    }
    return before.earlier if same and before.recipe == now.recipe else found
