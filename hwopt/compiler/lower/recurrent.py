"""A recurrent cell over time: a product of all inputs at once, then a loop over the steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from tvm import relax, te, tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from hwopt.compiler.loops import like
from hwopt.compiler.lower.call import Call, Converter, Spec, Tensor
from hwopt.compiler.lower.movement import permuted
from hwopt.graph.recurrent import GATES
from hwopt.targets import tvm_build
from hwopt.targets.templates.written import MACS

op = relax.op


def recurrent(
    call: Call,
    steps: Tensor,
    state: Tensor | None,
    memory: Tensor | None,
    input_weight: Tensor,
    hidden_weight: Tensor,
    input_bias: Tensor | None,
    hidden_bias: Tensor | None,
    projection: Tensor | None,
    cell: str,
    reverse: bool = False,
) -> list[Tensor]:
    """Convert ``recurrent``; see ``hwopt.graph.recurrent``.

    What the inputs contribute to all gates is one product. The loop over the steps is one kernel;
    weights stand input by input in it, so that a vector holds neighbouring gates.
    """
    length, rows, _ = steps.shape
    size = input_weight.shape[0] // GATES[cell]
    width = hidden_weight.shape[1]
    gates = call.emit(op.matmul(call.plain(steps), _turned(call, input_weight)))
    if input_bias is not None:
        gates = call.emit(op.add(gates, call.plain(input_bias)))
    added = _or_zeros(call, hidden_bias, hidden_weight.shape[0])
    operands = [gates, _or_zeros(call, state, rows, width), _turned(call, hidden_weight), added]
    operands += [_or_zeros(call, memory, rows, size)] if cell == "lstm" else []
    operands += [] if projection is None else [_turned(call, projection)]
    loop = _Loop(cell, length, rows, size, width, reverse, projection is not None)
    macs = length * rows * sum(map(math.prod, (hidden_weight.shape, _shape(projection))))
    attrs = {tvm_build.SCHEDULED: True, MACS: macs}
    made = call.te(loop.describe, *operands, name=cell, attrs=attrs)
    found = [call.emit(relax.TupleGetItem(made, n)) for n in range(3)]
    results = [call.result(one, index=n) for n, one in enumerate(found[:2])]
    if cell != "lstm":
        empty = torch.empty(0, dtype=getattr(torch, call.dtype))
        return [*results, Tensor(Spec.of(empty), constant=empty)]
    return [*results, call.result(found[2], index=2)]


def _or_zeros(call: Call, given: Tensor | None, *shape: int) -> Any:
    if given is not None:
        return call.plain(given)
    return call.constant(torch.zeros(shape, dtype=getattr(torch, call.dtype)))


def _shape(projection: Tensor | None) -> tuple[int, ...]:
    return (0,) if projection is None else projection.shape


def _turned(call: Call, weight: Tensor) -> Any:
    return call.plain(permuted(call, weight, [1, 0]))


class _Loop:
    """The loop over the steps.

    Args:
        cell: see ``hwopt.graph.recurrent``.
        length, rows: steps, and rows of the batch.
        size: numbers of the cell; ``width``: of its state, less with a projection.
        reverse: whether the last step comes first.
        projected: whether the state is a product with the cell's numbers.
    """

    def __init__(
        self,
        cell: str,
        length: int,
        rows: int,
        size: int,
        width: int,
        reverse: bool,
        projected: bool,
    ) -> None:
        self.cell, self.length, self.rows = cell, length, rows
        self.size, self.width, self.count = size, width, GATES[cell] * size
        self.reverse, self.projected = reverse, projected

    def describe(self, *inputs: te.Tensor) -> list[te.Tensor]:
        """Return all states, the last state, the memory, and what is used on the way."""
        dtype = str(inputs[0].dtype)
        shapes = [
            (self.length, self.rows, self.width),
            (self.rows, self.width),
            (self.rows, self.size),
            (self.count,),
            (self.size,),
        ]
        sizes = [[tirx.IntImm("int64", n) for n in shape] for shape in shapes]
        made: list[te.Tensor] = te.extern(
            sizes, list(inputs), self._loop, dtype=[dtype] * len(shapes), name=self.cell
        )
        return made

    def _loop(self, ins: list[Any], outs: list[Any]) -> Any:
        with IRBuilder() as builder:
            gates, first, weight, bias, *rest = map(T.buffer_proxy, ins)
            states, state, memory, sums, new = map(T.buffer_proxy, outs)
            memory_before = rest.pop(0) if self.cell == "lstm" else None
            projection = rest.pop(0) if self.projected else None
            with T.serial(0, _int(self.rows)) as row:
                with T.serial(0, _int(self.width)) as i:
                    state[row, i] = first[row, i]
                with T.serial(0, _int(self.size)) as i:
                    if memory_before is None:
                        memory[row, i] = tirx.const(0, str(ins[0].dtype))
                    else:
                        memory[row, i] = memory_before[row, i]
                with T.serial(0, _int(self.length)) as turn:
                    step = _int(self.length - 1) - turn if self.reverse else turn
                    with T.serial(0, _int(self.count)) as g:
                        sums[g] = bias[g]
                    with T.serial(0, _int(self.width)) as k, T.serial(0, _int(self.count)) as g:
                        sums[g] = sums[g] + state[row, k] * weight[k, g]
                    with T.serial(0, _int(self.size)) as i:
                        new[i] = self._number(gates, sums, memory, state, step, row, i)
                    if projection is None:
                        with T.serial(0, _int(self.size)) as i:
                            state[row, i] = new[i]
                    else:
                        with T.serial(0, _int(self.width)) as i:
                            state[row, i] = tirx.const(0, str(ins[0].dtype))
                        with T.serial(0, _int(self.size)) as k, T.serial(0, _int(self.width)) as i:
                            state[row, i] = state[row, i] + new[k] * projection[k, i]
                    with T.serial(0, _int(self.width)) as i:
                        states[step, row, i] = state[row, i]
            return builder.get()

    def _number(
        self, gates: Any, sums: Any, memory: Any, state: Any, step: Any, row: Any, i: Any
    ) -> Any:
        """Return a number of the cell after a step; that of an LSTM's memory is written."""

        def of_input(gate: int) -> Any:
            return gates[step, row, i + gate * self.size]

        def of_state(gate: int) -> Any:
            return sums[i + gate * self.size]

        def gate(number: int, function: Callable[[Any], Any]) -> Any:
            return function(of_input(number) + of_state(number))

        if self.cell == "lstm":
            kept = gate(1, tirx.sigmoid) * memory[row, i]
            memory[row, i] = kept + gate(0, tirx.sigmoid) * gate(2, tirx.tanh)
            return gate(3, tirx.sigmoid) * tirx.tanh(memory[row, i])
        if self.cell == "gru":
            update = gate(1, tirx.sigmoid)
            candidate = tirx.tanh(of_input(2) + gate(0, tirx.sigmoid) * of_state(2))
            return candidate + update * (state[row, i] - candidate)
        return gate(0, tirx.tanh if self.cell == "rnn_tanh" else _relu)


def _relu(x: Any) -> Any:
    return tirx.max(like(x, 0), x)


def _int(number: int) -> Any:
    return tirx.IntImm("int64", number)


CONVERTERS: dict[str, Converter] = {"recurrent.default": recurrent}
