"""Passes in rounds, with training after each of them."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwopt.errors import HwoptError
from hwopt.files import read_json, write_json
from hwopt.graph.fingerprint import fingerprint
from hwopt.passes import Context, Note, apply, parse
from hwopt.passes.rounds import Growth, in_rounds
from hwopt.tasks import Task
from hwopt.train.loop import fit
from hwopt.train.terms import Term

if TYPE_CHECKING:
    from hwopt.data import DataSet
    from hwopt.graph import Graph

#: Of a folder of rounds: whose they are.
MARKER = "call.json"

Terms = Callable[["Graph"], Sequence[Term]]
"""From the graph of a round to the terms of its training."""


def fit_in_rounds(
    graph: Graph,
    data: DataSet | Any,
    passes: str,
    *,
    rounds: int = 1,
    growth: Growth = "uniform",
    terms: Terms | None = None,
    context: Context | None = None,
    folder: Path | None = None,
    **training: Any,
) -> Graph:
    """Apply passes bit by bit, training after each round; return the graph with its weights.

    Pruning, training and, with ``SelfDistillation`` among the terms, distillation go on together,
    so that no second stage is needed (O'Neill et al. 2021).

    Args:
        graph: trained.
        data: as for ``fit``.
        passes: text; those that remove a share (``Pass.in_rounds``) reach it in the last round.
        rounds, growth: see ``hwopt.passes.rounds.shares``.
        terms: called with the graph of every round.
        context: for the passes.
        folder: where rounds are kept, so that a killed call goes on where it was; when the result
            is kept, remove it with ``remove_rounds``.
        training: arguments of ``fit``, of every round.

    Raises:
        HwoptError: as ``fit`` and the passes; if the folder holds anything else than rounds
            of these passes, this network and this training, or ``checkpoint`` is given.
    """
    if "checkpoint" in training:
        raise HwoptError("every round has a checkpoint of its own: give folder, not checkpoint")
    context = context or Context()
    if folder is not None:
        _claim(folder, [fingerprint(graph), passes, rounds, growth, _settings(training)])
    for number, instances in enumerate(in_rounds(parse(passes), rounds, growth), 1):
        kept = None if folder is None else folder / f"round-{number}"
        if kept is not None and (kept / "graph.json").exists() and _notes(kept).exists():
            graph = type(graph).load(kept)
            context.notes += [(name, Note(**note)) for name, note in read_json(_notes(kept))]
            continue
        before = len(context.notes)
        graph = apply(graph, instances, context)
        module = graph.to_torch()
        if folder is not None:
            training["checkpoint"] = folder / f"round-{number}.safetensors"
        fit(module, data, terms=terms(graph) if terms else (), **training)
        graph = graph.with_weights_of(module)
        if kept is not None:
            notes = [(name, dataclasses.asdict(note)) for name, note in context.notes[before:]]
            write_json(_notes(kept), notes)
            graph.save(kept)
    return graph


def _settings(training: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments that make a training another one, of those that can be written down."""
    plain = (str, int, float, bool, dict, type(None), Task)
    return {
        name: str(value) if isinstance(value, Task) else value
        for name, value in sorted(training.items())
        if isinstance(value, plain) and name not in ("threads", "progress")
    }


def _notes(kept: Path) -> Path:
    """Return where the notes of a round are kept; they are there before its graph is."""
    return kept.with_name(f"{kept.name}-notes.json")


def remove_rounds(folder: Path) -> None:
    """Remove the folder of ``fit_in_rounds``, whose result is kept elsewhere by now.

    What says whose it is goes last: a kill in the middle leaves it claimed.
    """
    if not folder.exists():
        return
    for path in sorted(folder.iterdir(), key=lambda path: path.name == MARKER):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    folder.rmdir()


def _claim(folder: Path, call: list[Any]) -> None:
    """Write down whose rounds a folder keeps, or refuse one that keeps others."""
    marker = folder / MARKER
    if not any(folder.glob("[!.]*")):  # a file that was being written begins with a dot
        folder.mkdir(parents=True, exist_ok=True)
        write_json(marker, call)
    elif not marker.exists() or read_json(marker) != call:
        raise HwoptError(
            f"folder {folder} holds something else than rounds of these passes, this network and "
            "training: delete it, or choose another folder"
        )
