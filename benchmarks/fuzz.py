"""Random networks, operators and damaged files through everything that hwopt does.

    python -m benchmarks fuzz [networks|operators|files] [--first 0] [--cases 200]
                              [--no-compile] [--minutes 60]

A case is drawn by its number, so that the same numbers give the same cases:

* ``networks``: a random network through import, text, files, every pass, training, compile; what
  comes out of each station is compared with torch, and a compiled network also with the same one
  written in another way.
* ``operators``: a call of an operator, from PyTorch's own samples, with random numbers.
* ``files``: a file of a model (``.pt2``, ``.onnx``, a saved graph, an artefact) of which bytes are
  others: it is refused in one sentence, or what an intact file of its kind could hold.

A failure is made as small as it gets and written to ``results/fuzz/KIND-NUMBER.json``, from which
``--case FILE`` runs it again. One line of counts is appended to the results for each run.
"""

from __future__ import annotations

import os
import time
import warnings
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import torch

import hwopt
from benchmarks.apart import Ended, apart
from benchmarks.damaged_files import DamagedFile
from benchmarks.experiment import Experiment
from benchmarks.random_calls import OperatorCall
from benchmarks.random_networks import Program
from benchmarks.records import RESULTS, Records, measured_on
from benchmarks.stations import REFUSED, TRACEBACK, WRONG, Finding
from hwopt.report import markdown

CASES = RESULTS / "fuzz"
SECONDS = 1800
#: Cases of one process.
TOGETHER = 100


class Case(Protocol):
    """What is drawn and checked."""

    @classmethod
    def draw(cls, number: int) -> Case:
        """Return a random case; the same number gives the same one."""

    @classmethod
    def from_json(cls, text: str) -> Case:
        """Read what :meth:`to_json` wrote."""

    def to_json(self) -> str:
        """Return it as JSON."""

    def smaller(self) -> Iterator[Case]:
        """Yield cases that are a little smaller."""

    def check(self, *, compiled: bool) -> Iterator[Finding]:
        """Yield what comes out of each station."""


KINDS: dict[str, type[Case]] = {
    "networks": Program,
    "operators": OperatorCall,
    "files": DamagedFile,
}


def failures(case: Case, compiled: bool) -> list[Finding]:
    """Return what is wrong with a case."""
    return [one for one in case.check(compiled=compiled) if one[1] in (WRONG, TRACEBACK)]


def shrunk(case: Case, finding: Finding, compiled: bool) -> Case:
    """Return the smallest case that fails at the same station in the same way."""
    for smaller in case.smaller():
        try:
            found = failures(smaller, compiled)
        except Exception:  # torch itself does not run it
            continue
        if any(one[:2] == finding[:2] for one in found):
            return shrunk(smaller, finding, compiled)
    return case


def run(kind: str, numbers: Sequence[int], compiled: bool) -> list[Finding]:
    """Check cases; write what fails, made small."""
    torch.set_num_threads(1)
    everything = []
    for number in numbers:
        case = KINDS[kind].draw(number)
        found = list(case.check(compiled=compiled))
        wrong = [one for one in found if one[1] in (WRONG, TRACEBACK)]
        if wrong:
            _keep(kind, number, shrunk(case, wrong[0], compiled), wrong[0])
        everything += found
    return everything


def run_apart(kind: str, numbers: Sequence[int], compiled: bool) -> list[Finding]:
    """Check cases in a process of their own; where that crashes, each in one of its own."""
    try:
        return apart(run, kind, numbers, compiled, seconds=SECONDS)
    except Ended as ended:
        if len(numbers) > 1:
            return [one for n in numbers for one in run_apart(kind, [n], compiled)]
        finding = ("process", TRACEBACK, str(ended))
        _keep(kind, numbers[0], KINDS[kind].draw(numbers[0]), finding)
        return [finding]


def _keep(kind: str, number: int, case: Case, finding: Finding) -> None:
    CASES.mkdir(parents=True, exist_ok=True)
    (CASES / f"{kind}-{number}.json").write_text(case.to_json() + "\n")
    print(f"{kind} {number}: {finding}\n  {case.to_json()}", flush=True)


def section(runs: list[dict[str, Any]]) -> Iterator[str]:
    """Return how many cases came out right."""
    yield "## Random networks, operators and damaged files\n\n`python -m benchmarks fuzz`"
    rows = [
        [
            r["kind"],
            str(r["first"]),
            f"{r['cases']:,}",
            "yes" if r["compiled"] else "no",
            f"{sum(r['stations'].values()):,}",
            f"{sum(n for name, n in r['stations'].items() if name.endswith(REFUSED)):,}",
            str(r["wrong"]),
        ]
        for r in runs
    ]
    head = ["kind", "first", "cases", "compiled", "stations", "refused", "wrong or tracebacks"]
    yield markdown(head, rows)
    yield measured_on(runs)


def options(parser: ArgumentParser) -> None:
    """Add what cases are run, and how."""
    parser.add_argument("kind", nargs="?", choices=KINDS, default="networks")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no case after that")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--case", type=Path, help="run one that was written")


def start(chosen: Namespace) -> None:
    """Run the case of a file, or draw cases and append a line."""
    warnings.simplefilter("ignore")
    compiled = not chosen.no_compile
    if chosen.case:
        kind = chosen.case.name.partition("-")[0]
        for finding in KINDS[kind].from_json(chosen.case.read_text()).check(compiled=compiled):
            print(*finding)
        return
    count, findings = checked(chosen, compiled)
    key = {"kind": chosen.kind, "first": chosen.first, "cases": count, "compiled": compiled}
    figures = counts(findings)
    Records("fuzz").run({**key, "time": time.strftime("%Y-%m-%d %H:%M")}, lambda: figures)


def checked(chosen: Namespace, compiled: bool) -> tuple[int, list[Finding]]:
    """Check cases while there is time; return how many, and what was found."""
    os.environ["TVM_NUM_THREADS"] = "1"
    end = time.monotonic() + 60 * chosen.minutes
    # What all processes share is loaded once.
    hwopt.compile(torch.nn.Linear(1, 1), torch.zeros(1, 1), kernel_trials=0, check=False)
    KINDS[chosen.kind].draw(0)
    last = chosen.first + chosen.cases
    parts = [range(n, min(n + TOGETHER, last)) for n in range(chosen.first, last, TOGETHER)]

    def check(part: range) -> tuple[int, list[Finding]]:
        if time.monotonic() > end:
            return 0, []
        return len(part), run_apart(chosen.kind, part, compiled)

    with ThreadPoolExecutor(chosen.processes) as pool:
        done = list(pool.map(check, parts))
    return sum(count for count, _ in done), [one for _, found in done for one in found]


def counts(findings: list[Finding]) -> dict[str, Any]:
    """Return the figures of a line."""
    stations = Counter(f"{station}: {outcome}" for station, outcome, _ in findings)
    reasons = Counter(reason[:200] for _, outcome, reason in findings if outcome == REFUSED)
    wrong = sum(outcome in (WRONG, TRACEBACK) for _, outcome, _ in findings)
    return {
        "wrong": wrong,
        "stations": dict(stations),
        "refused": dict(reasons.most_common(20)),
    }


EXPERIMENTS = (
    Experiment(
        name="fuzz",
        about="random networks, operators and damaged files through everything",
        chapter="robustness",
        section=section,
        options=options,
        main=start,
    ),
)
