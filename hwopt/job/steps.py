"""The steps of a job: each from one network to the next, done once."""

from __future__ import annotations

import inspect
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hwopt.files import sha256
from hwopt.graph import Graph
from hwopt.job.workspace import CHECKPOINTS, digest

if TYPE_CHECKING:
    from hwopt.job.workspace import Workspace


def own_source(kind: Callable[..., Any]) -> str | None:
    """Return the hash of the file that defines a class or function of the user's own.

    None of hwopt's, which change with its version.
    """
    if kind.__module__.partition(".")[0] == "hwopt":
        return None
    return sha256(Path(inspect.getfile(kind)))


class Network(NamedTuple):
    """A graph, and what it is known by: a hash of all that it depends on."""

    graph: Graph
    key: str


@dataclass(frozen=True)
class GraphStep:
    """A step from one graph to another.

    Attributes:
        name: of the step.
        depends_on: all that its result depends on beside the graph, as JSON.
        compute: from the graph to the next one and notes; what it writes under the path that it is
            given beside the graph is there again if it was killed, and gone when it is done.
    """

    name: str
    depends_on: list[Any]
    compute: Callable[[Graph, Path], tuple[Graph, list[str]]]


def do(
    work: Workspace, record: str, step: GraphStep, network: Network, folder: Path
) -> tuple[Network, list[str]]:
    """Do a step where it is not done; its graph is kept in a folder.

    Args:
        work: where it is recorded ...
        record: ... under this name.
        step: what to do ...
        network: ... with this.
        folder: of the result.

    Returns:
        The next network, and notes.
    """
    depends_on = [network.key, *step.depends_on, folder.name]
    # The name holds what the result depends on: what another one left is not gone on with.
    scratch = work.path(CHECKPOINTS, f"{record}-{digest(depends_on)}")

    def save() -> dict[str, Any]:
        graph, notes = step.compute(network.graph, scratch)
        graph.save(folder)
        return {"notes": notes}

    result, key = work.step(record, depends_on, save, makes=folder)
    if scratch.is_dir():
        shutil.rmtree(scratch)
    scratch.unlink(missing_ok=True)
    return Network(Graph.load(folder), key), result["notes"]
