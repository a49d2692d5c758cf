"""Random networks through everything: import, text, files, passes, training, compile.

    python -m benchmarks.fuzz [--first 0] [--networks 200] [--no-compile] [--minutes 60]

A network is drawn by its number, so that the same numbers give the same networks. What comes out of
each station is compared with torch; a compiled network also with the same one written in another
way. A failure is made as small as it gets and written to ``results/fuzz/NUMBER.json``, from which
``--case FILE`` runs it again. One line of counts is appended to the results for each run.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import hwopt
from benchmarks.random_networks import Network, Program, draw
from benchmarks.records import RESULTS, Records, measured_on
from hwopt.errors import FAULT, HwoptError, last_line
from hwopt.graph import Graph
from hwopt.report import markdown

CASES = RESULTS / "fuzz"
#: These change no output.
EXACT = ("fold-constants", "fold-batch-norm", "fold-affine", "eliminate-dead-code")
#: These do, and leave a network that runs.
OTHERS = (
    "prune-channels{ratio=0.3}",
    "prune-channels{ratio=0.5,constants=exact}",
    "prune-weights{ratio=0.5}",
    "fuse-layers{ratio=0.5}",
    "share-codebook{bits=3}",
    "binarize{smallest=1}",
    "condense",
)
OK, REFUSED, WRONG, TRACEBACK = "ok", "refused", "wrong", "traceback"
Finding = tuple[str, str, str]
"""The station, what came of it, and the reason."""


class Rewritten(nn.Module):
    """The same network in other words: every input and output is turned there and back."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return what the network returns."""
        found = self.network(*(_there_and_back(x) for x in inputs))
        return tuple(_there_and_back(y) for y in found)


def _there_and_back(x: Tensor) -> Tensor:
    whole = torch.cat(x.split(1, 0), 0)
    return whole.transpose(0, -1).contiguous().transpose(0, -1)


def check(program: Program, *, compiled: bool = True, rewritten: bool = True) -> Iterator[Finding]:
    """Yield what comes out of each station.

    Args:
        program: the network.
        compiled: whether it is compiled, too.
        rewritten: whether it then is in other words, too.
    """
    network, inputs = Network(program).eval(), program.examples()
    with torch.no_grad():
        expected = network(*inputs)
    graphs: list[Graph] = []

    def imported() -> str:
        graphs.append(hwopt.import_model(network, inputs))
        return _differ(graphs[0].to_torch().eval(), inputs, expected)

    def written() -> str:
        graph = graphs[0]
        again = Graph.from_text(graph.to_text(), graph.parameters)
        if again.to_text() != graph.to_text():
            return "the text is another one"
        with tempfile.TemporaryDirectory() as folder:
            graph.save(folder)
            return _differ(Graph.load(folder).to_torch().eval(), inputs, expected)

    def trained() -> str:
        ours, theirs = graphs[0].to_torch().train(), Network(program).train()
        theirs.load_state_dict(network.state_dict())
        found, wanted = ours(*inputs), theirs(*inputs)
        return _unequal(found if isinstance(found, tuple) else (found,), wanted)

    yield _found("import", imported)
    if not graphs:
        return
    yield _found("text and files", written)
    yield _found("training", trained)
    for text in (*EXACT, *OTHERS):
        yield _found(text.partition("{")[0], lambda text=text: _passed(graphs[0], text, inputs))
    if compiled:
        yield _found("compile", lambda: _compiled(graphs[0], inputs, expected))
    if compiled and rewritten:
        same = Rewritten(network)
        yield _found("rewritten", lambda: _compiled(same, inputs, expected))


def _passed(graph: Graph, text: str, inputs: tuple[Tensor, ...]) -> str:
    """Apply a pass; one that is exact must leave the outputs, any a network that runs."""
    before = graph.to_torch().eval()(*inputs)
    module = hwopt.apply(graph, text).to_torch().eval()
    wanted = before if isinstance(before, tuple) else (before,)
    if text in EXACT:
        return _differ(module, inputs, wanted)
    found = module(*inputs)
    shapes = [one.shape for one in (found if isinstance(found, tuple) else (found,))]
    return "" if shapes == [one.shape for one in wanted] else f"other shapes: {shapes}"


def _compiled(model: Any, inputs: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> str:
    found = hwopt.compile(model, inputs, trials=0, check=False)(*inputs)
    return _unequal(found if isinstance(found, tuple) else (found,), expected)


def _differ(module: nn.Module, inputs: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> str:
    with torch.no_grad():
        found = module(*inputs)
    return _unequal(found if isinstance(found, tuple) else (found,), expected)


def _unequal(found: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> str:
    """Return how results differ, or nothing."""
    for number, (one, other) in enumerate(zip(found, expected, strict=True)):
        if one.shape != other.shape or one.dtype != other.dtype:
            return f"output {number}: {one.dtype} {list(one.shape)}, not {list(other.shape)}"
        scale = max(1.0, other.abs().max().item())
        largest = (one - other).abs().max().item()
        if not largest <= 1e-3 * scale:
            return f"output {number} differs by {largest:.2g} of {scale:.2g}"
    return ""


def _found(station: str, run: Callable[[], str]) -> Finding:
    try:
        difference = run()
    except HwoptError as error:
        return station, (TRACEBACK if FAULT in str(error) else REFUSED), str(error)
    except Exception as error:  # a traceback is what this looks for
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(place.filename).name}:{place.lineno}"
        return station, TRACEBACK, f"{type(error).__name__} at {where}: {last_line(error)}"
    return station, WRONG if difference else OK, difference


def failures(program: Program, *, compiled: bool) -> list[Finding]:
    """Return what is wrong with a network."""
    return [f for f in check(program, compiled=compiled) if f[1] in (WRONG, TRACEBACK)]


def shrunk(program: Program, finding: Finding, *, compiled: bool) -> Program:
    """Return the smallest program that fails at the same station in the same way."""
    for smaller in program.smaller():
        try:
            found = failures(smaller, compiled=compiled)
        except Exception:  # torch itself does not run it
            continue
        if any(one[:2] == finding[:2] for one in found):
            return shrunk(smaller, finding, compiled=compiled)
    return program


def run(number: int, compiled: bool) -> dict[str, Any]:
    """Check a network; write what fails, made small."""
    torch.set_num_threads(1)
    program = draw(number)
    found = list(check(program, compiled=compiled))
    wrong = [one for one in found if one[1] in (WRONG, TRACEBACK)]
    if wrong:
        CASES.mkdir(parents=True, exist_ok=True)
        smallest = shrunk(program, wrong[0], compiled=compiled)
        (CASES / f"{number}.json").write_text(smallest.to_json() + "\n")
        print(f"{number}: {wrong[0]}\n  {smallest.to_json()}", flush=True)
    counts = Counter(f"{station}: {kind}" for station, kind, _ in found)
    reasons = Counter(reason[:200] for _, kind, reason in found if kind == REFUSED)
    return {"counts": dict(counts), "wrong": len(wrong), "refused": dict(reasons)}


def section(runs: list[dict[str, Any]]) -> Iterator[str]:
    """Return how many networks came out right."""
    yield "## Random networks\n\n`python -m benchmarks.fuzz`"
    rows = [
        [str(r["first"]), str(r["networks"]), "yes" if r["compiled"] else "no", str(r["wrong"])]
        for r in runs
    ]
    yield markdown(["first", "networks", "compiled", "wrong or tracebacks"], rows)
    yield measured_on(runs)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--networks", type=int, default=200)
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no network after that")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--case", type=Path, help="run one that was written")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    compiled = not options.no_compile
    if options.case:
        for finding in check(Program.from_json(options.case.read_text()), compiled=compiled):
            print(*finding)
        return
    os.environ["TVM_NUM_THREADS"] = "1"
    total: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    wrong = done = 0
    end = time.monotonic() + 60 * options.minutes
    context = multiprocessing.get_context("fork")
    import hwopt.compiler.pipeline  # noqa: F401 - once, for all processes

    numbers = range(options.first, options.first + options.networks)
    with context.Pool(options.processes, maxtasksperchild=50) as pool:
        for found in pool.imap_unordered(_run, ((n, compiled, end) for n in numbers)):
            if found is None:
                continue
            done += 1
            total.update(found["counts"])
            reasons.update(found["refused"])
            wrong += found["wrong"]
    key = {"first": options.first, "networks": done, "compiled": compiled}
    figures = {"wrong": wrong, "stations": dict(total), "refused": dict(reasons.most_common(20))}
    Records("fuzz").run({**key, "time": time.strftime("%Y-%m-%d %H:%M")}, lambda: figures)


def _run(task: tuple[int, bool, float]) -> dict[str, Any] | None:
    """Check a network, unless the time is over."""
    number, compiled, end = task
    return run(number, compiled) if time.monotonic() < end else None


if __name__ == "__main__":
    main()
