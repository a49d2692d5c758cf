"""Calls of single operators, drawn from PyTorch's own samples."""

from __future__ import annotations

import dataclasses
import functools
import json
import random
from collections.abc import Iterator
from typing import Any

import torch

from benchmarks.operator_samples import DTYPES, Calls, operators, unequal
from benchmarks.stations import Finding, compile_and_run, found, imported, results
from hwopt.graph import Graph


@dataclasses.dataclass(frozen=True)
class OperatorCall:
    """One of an operator's samples.

    Attributes:
        operator: its name in PyTorch's list.
        dtype: of the sample.
        seed: of the random numbers in it.
        place: in [0, 1), of the sample among all of the operator.
    """

    operator: str
    dtype: str
    seed: int
    place: float

    @classmethod
    def draw(cls, number: int) -> OperatorCall:
        """Return a random call; the same number gives the same one."""
        r = random.Random(number)
        return cls(*r.choice(_operators_and_dtypes()), number, r.random())

    def to_json(self) -> str:
        """Return it as JSON, from which :meth:`from_json` makes it again."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> OperatorCall:
        """Read what :meth:`to_json` wrote."""
        return cls(**json.loads(text))

    def smaller(self) -> Iterator[OperatorCall]:
        """Yield nothing: a call is as small as it gets."""
        yield from ()

    def check(self, *, compiled: bool) -> Iterator[Finding]:
        """Yield what comes out of each station; nothing where torch itself fails."""
        sample = self._sample()
        if sample is None:
            return
        function = operators()[self.operator].op
        # PyTorch's list sets the seed for operators that draw lots; a graph does not.
        if "wrapper_set_seed" in getattr(getattr(function, "__code__", None), "co_names", ()):
            return
        model = Calls(function, [sample])
        inputs = tuple(model.examples)
        compare = functools.partial(unequal, function, [sample])
        try:
            expected = results(model, inputs)
            is_set = expected and not compare(results(model, inputs), expected)
        except Exception:  # some of the samples are for GPUs, or of numbers that nothing compares
            return
        if not is_set:  # lots are drawn, or memory is read
            return
        graphs: list[Graph] = []
        yield from imported(graphs, model, inputs, expected, compare)
        if graphs and compiled:
            yield found("compile", lambda: compare(compile_and_run(graphs[0], inputs), expected))

    def _sample(self) -> Any:
        torch.manual_seed(self.seed)
        op = operators()[self.operator]
        drawn = op.sample_inputs("cpu", getattr(torch, self.dtype), requires_grad=False)
        samples = [sample for sample in drawn if Calls(op.op, [sample]).examples]
        return samples[int(self.place * len(samples))] if samples else None


@functools.cache
def _operators_and_dtypes() -> list[tuple[str, str]]:
    return [
        (name, dtype)
        for name, op in sorted(operators().items())
        for dtype in DTYPES
        if getattr(torch, dtype) in op.dtypes
    ]
