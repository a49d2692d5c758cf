"""PyTorch's own samples of every operator, imported, compiled and compared with torch.

    python -m benchmarks operator_samples [--most 12] [NAME ...]

The samples are those with which PyTorch tests its operators (``OpInfo``): edge cases of shapes,
dtypes and arguments. Each is a model of one call whose tensors are its inputs. It is *equal*,
*refused* in one sentence, *wrong*, or a *traceback*; only the first two are right. What is there
already for an operator and a dtype is not run again; ``--most 0`` takes all samples.
"""

from __future__ import annotations

import functools
import os
import warnings
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils import _pytree as pytree

import hwopt
from benchmarks.apart import Ended, apart
from benchmarks.experiment import Experiment
from benchmarks.records import RESULTS, Records, measured_on
from hwopt.errors import FAULT, HwoptError, first_line
from hwopt.report import markdown

DTYPES = ("float32", "int64", "bool", "uint8")
PAGE = RESULTS.parents[1] / "docs" / "coverage.md"
#: What these return is not set: whatever stood in memory.
_UNSET = ("empty", "new_empty")
#: Samples that are compiled together, one by one only where they are not all equal.
TOGETHER = 6
SECONDS = 900
EQUAL, REFUSED, WRONG, TRACEBACK = "equal", "refused", "wrong", "traceback"


class Calls(nn.Module):
    """Calls of an operator; all tensors among the arguments are inputs."""

    def __init__(self, function: Any, samples: list[Any]) -> None:
        super().__init__()
        self.function, self.parts = function, []
        self.examples: list[torch.Tensor] = []
        for sample in samples:
            leaves, spec = pytree.tree_flatten((sample.input, sample.args, sample.kwargs))
            places = []
            for leaf in leaves:
                is_tensor = isinstance(leaf, torch.Tensor)
                places.append(len(self.examples) if is_tensor else None)
                self.examples += [leaf.detach()] if is_tensor else []
            self.parts.append((leaves, places, spec))

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the tensors among the results."""
        results = []
        for leaves, places, spec in self.parts:
            given = [
                leaf if place is None else inputs[place]
                for leaf, place in zip(leaves, places, strict=True)
            ]
            first, args, kwargs = pytree.tree_unflatten(given, spec)
            found = pytree.tree_leaves(self.function(first, *args, **kwargs))
            results += [one for one in found if isinstance(one, torch.Tensor)]
        return tuple(results)


def outcome(function: Any, samples: list[Any]) -> tuple[str, str]:
    """Compile calls of an operator together; return what came out, and the reason."""
    model = Calls(function, samples)
    try:
        with torch.no_grad():
            expected = model(*model.examples)
    except Exception as error:  # some of the samples are for GPUs
        return REFUSED, f"torch itself fails: {first_line(error)}"
    if not expected:
        return REFUSED, "no tensor comes out"
    try:
        graph = hwopt.import_model(model, model.examples)
        artifact = hwopt.compile(graph, model.examples, kernel_trials=0, check=False)
        found = artifact(*model.examples)
    except HwoptError as error:
        return (TRACEBACK if FAULT in str(error) else REFUSED), str(error)
    except Exception as error:  # a traceback is what this looks for
        return TRACEBACK, f"{type(error).__name__}: {first_line(error)}"
    results = found if isinstance(found, tuple) else (found,)
    difference = unequal(function, samples, results, expected)
    return (WRONG, difference) if difference else (EQUAL, "")


def unequal(function: Any, samples: list[Any], results: Any, expected: Any) -> str:
    """Return how what came of samples differs from what torch computes, or nothing."""
    if len(samples) == 1 and _are_equal_places(function, samples[0].input, results, expected):
        return ""
    for number, (got, wanted) in enumerate(zip(results, expected, strict=True)):
        difference = differs(got, wanted)
        if difference:
            return f"result {number}: {difference}"
    return ""


def _are_equal_places(function: Any, x: Any, results: Any, expected: Any) -> bool:
    """Say whether values are the same, and places along a dimension where equal ones stand.

    Which of several equal numbers ``argsort``, ``topk``, ``kthvalue`` and ``median`` name is not
    set.
    """
    if function is torch.argsort and x.ndim:
        (got,), (places,) = results, expected
        return any(torch.equal(x.gather(d, got), x.gather(d, places)) for d in range(x.ndim))
    if len(expected) != 2 or expected[1].dtype != torch.int64 or not x.ndim:
        return False
    (values, places), (wanted, wanted_places) = results, expected
    if wanted.ndim != wanted_places.ndim or wanted.ndim not in (x.ndim, x.ndim - 1):
        return False
    if differs(values, wanted) or places.shape != wanted_places.shape:
        return False

    def are_named(where: torch.Tensor, dim: int) -> bool:
        whole = where.shape if where.ndim == x.ndim else where.unsqueeze(dim).shape
        fits = all(n <= m for d, (n, m) in enumerate(zip(whole, x.shape, strict=True)) if d != dim)
        if not fits or (where.numel() and not 0 <= where.min() <= where.max() < x.shape[dim]):
            return False
        read = x.gather(dim, where.reshape(whole)).reshape(wanted.shape)
        return torch.allclose(read, wanted, equal_nan=wanted.is_floating_point())

    return any(are_named(wanted_places, d) and are_named(places, d) for d in range(x.ndim))


def is_core(function: Any, sample: Any) -> bool:
    """Say whether torch itself decomposes an operator into core ATen."""
    model = Calls(function, [sample])
    try:
        program = torch.export.export(model, tuple(model.examples)).run_decompositions()
    except Exception:  # whatever the operator raises where its numbers are not known
        return False
    called = [node.target for node in program.graph.nodes if node.op == "call_function"]
    operators = [target for target in called if isinstance(target, torch._ops.OpOverload)]
    return all(torch.Tag.core in operator.tags for operator in operators)


def differs(got: torch.Tensor, wanted: torch.Tensor) -> str:
    """Return how two tensors differ, or nothing."""
    if got.dtype != wanted.dtype or got.shape != wanted.shape:
        return f"{got.dtype} {list(got.shape)}, not {wanted.dtype} {list(wanted.shape)}"
    if not wanted.is_floating_point():
        return "" if torch.equal(got, wanted) else "other numbers"
    one, other = got.double().numpy(), wanted.double().numpy()
    if np.array_equal(np.isnan(one), np.isnan(other)):
        finite = other[np.isfinite(other)]
        scale = np.abs(finite).max(initial=1e-3)
        if np.allclose(one, other, rtol=1e-4, atol=1e-5 * scale, equal_nan=True):
            return ""
        return f"largest difference {np.nanmax(np.abs(one - other)):.2g}"
    return "NaN elsewhere"


def each_outcome(function: Any, samples: list[Any]) -> Iterator[tuple[str, str]]:
    """Yield the outcome of each sample; of those that are equal together all at once."""
    for start in range(0, len(samples), TOGETHER):
        part = samples[start : start + TOGETHER]
        if len(part) > 1 and outcome(function, part)[0] == EQUAL:
            yield from [(EQUAL, "")] * len(part)
        else:
            yield from (outcome(function, [sample]) for sample in part)


def operators() -> dict[str, Any]:
    """Return PyTorch's descriptions of its operators by name."""
    from torch.testing._internal.common_methods_invocations import op_db

    named = {
        f"{op.name}.{op.variant_test_name}" if op.variant_test_name else op.name: op for op in op_db
    }
    return {name: op for name, op in named.items() if not name.startswith(_UNSET)}


def measure(name: str, dtype: str, most: int) -> dict[str, Any]:
    """Run the samples of one operator and dtype in this process."""
    torch.set_num_threads(1)
    op = operators()[name]
    torch.manual_seed(0)
    drawn = op.sample_inputs("cpu", getattr(torch, dtype), requires_grad=False)
    # What reads no tensor makes a constant, and no model.
    samples = [sample for sample in drawn if Calls(op.op, [sample]).examples]
    chosen = samples[:: -(-len(samples) // most)] if most and len(samples) > most else samples
    counts: Counter[str] = Counter()
    reasons: dict[str, Counter[str]] = {}
    for kind, reason in each_outcome(op.op, chosen):
        counts[kind] += 1
        if reason:
            reasons.setdefault(kind, Counter())[reason[:300]] += 1
    return {
        "samples": len(chosen),
        "core": is_core(op.op, chosen[0]) if chosen else False,
        **{kind: counts[kind] for kind in (EQUAL, REFUSED, WRONG, TRACEBACK)},
        "reasons": {kind: dict(found.most_common(5)) for kind, found in reasons.items()},
    }


def measured(operator: str, dtype: str, most: int) -> dict[str, Any]:
    """Measure in a process of its own, which may crash."""
    try:
        return apart(measure, operator, dtype, most, seconds=SECONDS)
    except Ended as ended:
        empty = {EQUAL: 0, REFUSED: 0, WRONG: 0, TRACEBACK: 1}
        return {"samples": 1, "core": False, **empty, "reasons": {TRACEBACK: {str(ended): 1}}}


def page(runs: list[dict[str, Any]]) -> str:
    """Return ``docs/coverage.md``: what came out by dtype and by operator, and every reason."""
    kinds = ("samples", EQUAL, REFUSED, WRONG, TRACEBACK)

    def row(name: str, those: list[dict[str, Any]]) -> list[str]:
        counts: Counter[str] = Counter()
        for run in those:
            counts.update({kind: run[kind] for kind in kinds})
        share = f"{counts[EQUAL] / counts['samples']:.1%}" if counts["samples"] else "none"
        return [name, *(str(counts[kind]) for kind in kinds), share]

    head = ["", "samples", EQUAL, REFUSED, WRONG, "tracebacks", "share equal"]
    by_dtype = [row(dtype, [r for r in runs if r["dtype"] == dtype]) for dtype in DTYPES]
    core = [run for run in runs if run["core"]]
    parts = [
        "# What is compiled",
        "PyTorch's own samples of its operators (`OpInfo`), imported, compiled and compared with "
        f"torch, at most {max((r['most'] for r in runs), default=0)} of an operator and a dtype: "
        "`python -m benchmarks operator_samples`, then `--page`.",
        markdown(head, [*by_dtype, row("those that torch decomposes to core ATen", core)]),
        measured_on(runs),
        "## By operator",
        "Operators of which all samples are equal:",
        ", ".join(f"`{name}`" for name in _names(runs, all_equal=True)) + ".",
        "All others, with the first reason:",
    ]
    rows = []
    for name in _names(runs, all_equal=False):
        those = [run for run in runs if run["operator"] == name]
        reasons = [why for run in those for found in run["reasons"].values() for why in found]
        first = reasons[0].replace("|", "\\|").partition(": ")[2] or reasons[0] if reasons else ""
        rows.append([f"`{name}`", *row("", those)[1:6], first[:120]])
    parts.append(markdown(["operator", *head[1:6], "reason"], rows))
    return "\n\n".join(parts) + "\n"


def _names(runs: list[dict[str, Any]], *, all_equal: bool) -> list[str]:
    different = {run["operator"] for run in runs if run[EQUAL] < run["samples"]}
    names = dict.fromkeys(sorted(run["operator"] for run in runs))
    return [name for name in names if (name in different) != all_equal]


def options(parser: ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("names", nargs="*")
    parser.add_argument("--most", type=int, default=12, help="samples of an operator and dtype")
    parser.add_argument("--results", default="operator_samples")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--dtype", choices=DTYPES)
    parser.add_argument("--page", action="store_true", help="write docs/coverage.md only")


def start(chosen: Namespace) -> None:
    """Run the samples of every operator, some processes at a time; or write the page."""
    records = Records(chosen.results)
    if chosen.page:
        from benchmarks import onnx_nodes

        files = "\n\n".join(onnx_nodes.section(Records("onnx_nodes").read()))
        PAGE.write_text(f"{page(records.read())}\n{files}\n", encoding="utf-8")
        return
    warnings.simplefilter("ignore")
    os.environ["TVM_NUM_THREADS"] = "1"
    import hwopt.compiler.lower
    import hwopt.compiler.pipeline  # noqa: F401 - once, for all processes

    known = operators()
    with ThreadPoolExecutor(chosen.processes) as pool:
        for dtype in [chosen.dtype] if chosen.dtype else DTYPES:
            for name, op in known.items():
                if getattr(torch, dtype) in op.dtypes and name in (chosen.names or [name]):
                    unit = {"operator": name, "dtype": dtype, "most": chosen.most}
                    pool.submit(records.run, unit, functools.partial(measured, **unit))


EXPERIMENTS = (
    Experiment(
        name="operator_samples",
        about="PyTorch's own samples of every operator",
        chapter="compiler",
        main=start,
        alone=False,
        options=options,
    ),
)
