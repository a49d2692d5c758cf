"""ONNX's own tests of its operators, imported, compiled and compared.

    python -m benchmarks onnx_nodes [--no-compile] [NAME ...]

Each is a model of one operator (or of the nodes that it is put together from) with inputs and
results. Inputs that must be known, such as a shape, are given as constants. A test is *equal*,
*refused* in one sentence, *wrong*, or a *traceback*; tests of other types than ours (texts, half
precision, 8-bit floats, 4-bit numbers, maps) are counted apart.
"""

from __future__ import annotations

import functools
import os
import tempfile
import warnings
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

import hwopt
from benchmarks.apart import Ended, apart
from benchmarks.experiment import Experiment
from benchmarks.records import Records, latest, measured_on
from hwopt.errors import FAULT, HwoptError, first_line
from hwopt.graph.onnx import load_onnx
from hwopt.graph.onnx.table import OPERATORS
from hwopt.report import markdown

EQUAL, REFUSED, WRONG, TRACEBACK, OTHER = "equal", "refused", "wrong", "traceback", "other types"
KINDS = (EQUAL, REFUSED, WRONG, TRACEBACK, OTHER)
SECONDS = 900
_OURS = {"float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool"}


_OF_SHAPES = ("Shape", "Size", "CastLike")


def cases() -> dict[str, list[Any]]:
    """Return ONNX's tests by the operator of their first node."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.loader import load_model_tests

        found: dict[str, list[Any]] = {}
        for test in load_model_tests(kind="node"):
            nodes = test.model.graph.node
            name = test.name.removeprefix("test_").partition("_")[0] if len(nodes) != 1 else ""
            found.setdefault(name or nodes[0].op_type, []).append(test)
    return dict(sorted(found.items()))


def outcome(test: Any, *, compiled: bool) -> tuple[str, str]:
    """Return what came of a test, and the reason.

    Args:
        test: of ONNX.
        compiled: whether it is compiled, too.
    """
    given, expected = test.data_sets[0]
    if not all(_is_ours(value) for value in (*given, *expected)):
        return OTHER, ""
    arrays = dict(
        zip((v.name for v in test.model.graph.input), map(np.asarray, given), strict=True)
    )
    known = _must_be_known(test.model)
    constants = {name: value for name, value in arrays.items() if name in known}
    inputs = {k: torch.from_numpy(v.copy()) for k, v in arrays.items() if k not in constants}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "node.onnx"
        onnx.save(test.model, path)
        try:
            got = _run(path, inputs, constants, compiled)
        except HwoptError as error:
            reason = str(error).replace(f"{path}: ", "").replace(str(path), "the file")
            return (TRACEBACK if FAULT in reason else REFUSED), reason
        except Exception as error:  # a traceback is what this looks for
            return TRACEBACK, f"{type(error).__name__}: {first_line(error)}"
    if any(node.op_type == "NonMaxSuppression" for node in test.model.graph.node):
        *got, count = got  # of the chosen boxes so many count
        got = [rows[: int(count)] for rows in got]
    if len(got) != len(expected):
        return WRONG, f"{len(got)} results, not {len(expected)}"
    differences = (_differs(a, np.asarray(b)) for a, b in zip(got, expected, strict=True))
    difference = next(filter(None, differences), "")
    return (WRONG, difference) if difference else (EQUAL, "")


def _is_ours(value: Any) -> bool:
    return isinstance(value, np.ndarray | np.generic) and str(value.dtype) in _OURS


def _must_be_known(model: onnx.ModelProto) -> set[str]:
    """Return the inputs that are sizes, axes and limits of operators, or of which such are made."""
    found: set[str] = set()
    for node in reversed(model.graph.node):
        operator = OPERATORS.get(node.op_type)
        plain = operator.plain if operator else ()
        is_made = any(name in found for name in node.output) and node.op_type not in _OF_SHAPES
        decides = node.op_type in ("If", "Loop")
        found |= {
            name
            for place, name in enumerate(node.input)
            if place in plain or is_made or (decides and place < 2)
        }
        if is_made:
            inner = [a.g for a in node.attribute if a.type == onnx.AttributeProto.GRAPH]
            found |= {name for graph in inner for one in graph.node for name in one.input}
    return found


def _run(path: Path, inputs: Any, constants: Any, compiled: bool) -> list[np.ndarray]:
    if not inputs:  # everything is known: there is nothing to compile
        module = load_onnx(path, None, constants).module
        found = module()
    elif compiled:
        graph = hwopt.import_model(path, inputs, constants=constants)
        examples = tuple(inputs.values())
        found = hwopt.compile(graph, examples, kernel_trials=0, check=False)(*examples)
    else:
        with torch.no_grad():
            found = load_onnx(path, inputs, constants).module(*inputs.values())
    return [np.asarray(one) for one in (found if isinstance(found, tuple) else (found,))]


def _differs(got: np.ndarray, wanted: np.ndarray) -> str:
    if got.dtype != wanted.dtype or got.shape != wanted.shape:
        return f"{got.dtype} {list(got.shape)}, not {wanted.dtype} {list(wanted.shape)}"
    if np.allclose(got, wanted, rtol=1e-3, atol=1e-5, equal_nan=True):
        return ""
    return "other numbers"


def measure(name: str, compiled: bool) -> dict[str, Any]:
    """Run the tests of an operator in this process."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    counts: Counter[str] = Counter()
    reasons: dict[str, Counter[str]] = {}
    for test in cases()[name]:
        kind, reason = outcome(test, compiled=compiled)
        counts[kind] += 1
        if reason:
            reasons.setdefault(kind, Counter())[f"{test.name}: {reason}"[:300]] += 1
    return {
        **{kind: counts[kind] for kind in KINDS},
        "reasons": {kind: list(found) for kind, found in reasons.items()},
    }


def measured(name: str, compiled: bool) -> dict[str, Any]:
    """Measure in a process of its own, which may crash."""
    try:
        return apart(measure, name, compiled, seconds=SECONDS)
    except Ended as ended:
        counts = dict.fromkeys(KINDS, 0) | {TRACEBACK: 1}
        return {**counts, "reasons": {TRACEBACK: [str(ended)]}}


def section(runs: list[dict[str, Any]]) -> Iterator[str]:
    """Return the counts, and every operator of which tests are not equal."""
    yield "## ONNX's node tests\n\n`python -m benchmarks onnx_nodes`"
    runs = list(latest(runs, "operator").values())
    total = {kind: sum(run[kind] for run in runs) for kind in KINDS}
    ours = sum(total.values()) - total[OTHER]
    yield markdown(
        [*KINDS, "share equal of our types"],
        [[*(str(total[kind]) for kind in KINDS), f"{total[EQUAL] / max(ours, 1):.1%}"]],
    )
    yield measured_on(runs)
    rows = [
        [f"`{run['operator']}`", *(str(run[kind]) for kind in KINDS), _reason(run)]
        for run in runs
        if run[REFUSED] + run[WRONG] + run[TRACEBACK]
    ]
    yield markdown(["operator", *KINDS, "first reason"], rows)


def _reason(run: dict[str, Any]) -> str:
    found = [why for kind in (WRONG, TRACEBACK, REFUSED) for why in run["reasons"].get(kind, [])]
    return found[0].partition(": ")[2][:120].replace("|", "\\|") if found else ""


def options(parser: ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("names", nargs="*", help="operators")
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--processes", type=int, default=2)


def start(chosen: Namespace) -> None:
    """Run the tests of every operator, some processes at a time."""
    warnings.simplefilter("ignore")
    os.environ["TVM_NUM_THREADS"] = "1"
    # What all processes share is loaded once.
    hwopt.compile(torch.nn.Linear(1, 1), torch.zeros(1, 1), kernel_trials=0, check=False)
    records = Records("onnx_nodes")
    with ThreadPoolExecutor(chosen.processes) as pool:
        for name in cases():
            if chosen.names and name not in chosen.names:
                continue
            compiled = not chosen.no_compile
            key = {"operator": name, "compiled": compiled}
            pool.submit(records.run, key, functools.partial(measured, name, compiled))


#: Its section is part of ``docs/coverage.md``: see ``benchmarks.operator_samples``.
EXPERIMENTS = (
    Experiment(
        name="onnx_nodes",
        about="ONNX's own tests of its operators",
        chapter="compiler",
        main=start,
        alone=False,
        options=options,
    ),
)
