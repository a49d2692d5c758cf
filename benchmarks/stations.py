"""The stations that a network goes through, and what comes out of each beside torch."""

from __future__ import annotations

import functools
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import hwopt
from hwopt.errors import FAULT, HwoptError, last_line
from hwopt.graph import Graph
from hwopt.passes import Context

#: These change no output.
EXACT = ("fold-constants", "fold-batch-norm", "fold-affine", "eliminate-dead-code")
#: These do, and leave a network that runs.
INEXACT = (
    "prune-channels{ratio=0.3}",
    "prune-channels{ratio=0.5,constants=exact}",
    "prune-weights{ratio=0.5}",
    "fuse-layers{ratio=0.5}",
    "share-codebook{bits=3}",
    "binarize{smallest=1}",
    "binarize{smallest=1},freeze-binary",
    "condense",
    "enforce-isometry{steps=3}",
    "substitute-global-layer",
    "substitute-spatial-interpolation",
)
#: These need data of a classifier, or latencies, and refuse other networks.
WITH_DATA = (
    "prune-channels{ratio=0.3,criterion=taylor}",
    "prune-channels{ratio=0.3,criterion=snip}",
    "prune-weights{ratio=0.5,criterion=snip}",
    "reestimate-batch-norm",
    "prune-to-latency{share=0.8,criterion=l1,widths=3}",
)
OK, REFUSED, WRONG, TRACEBACK = "ok", "refused", "wrong", "traceback"
Finding = tuple[str, str, str]
"""The station, what came of it, and the reason."""
Inputs = tuple[Tensor, ...]
Unequal = Callable[[Inputs, Inputs], str]
"""Returns how results differ from what is right, or nothing."""


def found(station: str, run: Callable[[], str]) -> Finding:
    """Return what comes out of a station.

    Args:
        station: its name.
        run: returns what is wrong, or nothing; an error of hwopt is a refusal, any other a fault.
    """
    try:
        difference = run()
    except HwoptError as error:
        return station, (TRACEBACK if FAULT in str(error) else REFUSED), str(error)
    except Exception as error:  # a traceback is what this looks for
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(place.filename).name}:{place.lineno}"
        return station, TRACEBACK, f"{type(error).__name__} at {where}: {last_line(error)}"
    return station, WRONG if difference else OK, difference


def imported(
    graphs: list[Graph], model: nn.Module, inputs: Inputs, expected: Inputs, unequal: Unequal
) -> Iterator[Finding]:
    """Import a model, write it as text and into files, and read it again.

    Args:
        graphs: where the graph is put, if the model is one.
        model: what is imported.
        inputs: examples.
        expected: what the model makes of them.
        unequal: compares.
    """

    def import_() -> str:
        graphs.append(hwopt.import_model(model, inputs))
        return unequal(results(graphs[0].to_torch().eval(), inputs), expected)

    def write() -> str:
        graph = graphs[0]
        again = Graph.from_text(graph.to_text(), graph.parameters)
        if again.to_text() != graph.to_text():
            return "the text is another one"
        with tempfile.TemporaryDirectory() as folder:
            graph.save(folder)
            return unequal(results(Graph.load(folder).to_torch().eval(), inputs), expected)

    yield found("import", import_)
    if graphs:
        yield found("text and files", write)


def passed(graph: Graph, inputs: Inputs, unequal: Unequal) -> Iterator[Finding]:
    """Apply every pass: the outputs stay, or at least their shapes."""
    expected = results(graph.to_torch().eval(), inputs)
    context = Context(
        batches=lambda: [(inputs[0], torch.arange(len(inputs[0])) % 2)] * 2,
        latency=lambda graphs: [1.0 + one.macs() for one in graphs],
    )

    def run(text: str, is_exact: bool) -> str:
        got = results(hwopt.apply(graph, text, context).to_torch().eval(), inputs)
        if is_exact:
            return unequal(got, expected)
        shapes = [one.shape for one in got]
        return "" if shapes == [one.shape for one in expected] else f"other shapes: {shapes}"

    for text in (*EXACT, *INEXACT, *WITH_DATA):
        yield found(text.partition("{")[0], functools.partial(run, text, text in EXACT))


def compile_and_run(model: Any, inputs: Inputs) -> Inputs:
    """Compile a model or a graph without measuring anything, and run it."""
    return results(hwopt.compile(model, inputs, kernel_trials=0, check=False), inputs)


def results(run: Callable[..., Any], inputs: Inputs) -> Inputs:
    """Return the tensors that a model returns, as a tuple."""
    with torch.no_grad():
        got = run(*inputs)
    return tuple(got) if isinstance(got, tuple | list) else (got,)
