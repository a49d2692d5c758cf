"""Answer many inputs, those that ask for it in groups: easy ones never wait for hard ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hwopt.compiler.plan import INFERENCE, Condition, KernelCall, Plan
from hwopt.errors import HwoptError

#: The library's functions that call the kernels of one way only, of the same parameters as all.
EASY, HARD = "inference_easy", "inference_hard"


@dataclass(frozen=True)
class Grouping:
    """How the calls of a plan divide at its one choice, which is its last call.

    Attributes:
        predicate: says which rows are hard.
        easy, hard: the calls for the two, without conditions.
        handed: what the hard ones read of the easy ones.
        answers: the values with the easy and the hard answers.
    """

    predicate: int
    easy: tuple[KernelCall, ...]
    hard: tuple[KernelCall, ...]
    handed: tuple[int, ...]
    answers: tuple[int, int]

    @classmethod
    def of(cls, plan: Plan) -> Grouping | None:
        """Divide a plan; None if it is of another form, or some values are not one row an input."""
        if not plan.calls or not plan.calls[-1].chooses:
            return None
        predicate, then, otherwise, answer = plan.calls[-1].arguments
        if plan.predicates != (predicate,) or plan.outputs != (answer,):
            return None
        easy: list[KernelCall] = []
        hard: list[KernelCall] = []
        made = {*plan.constants}
        for call, written in zip(plan.calls[:-1], plan.written[:-1], strict=True):
            is_hard = Condition(predicate, True) in call.when
            (hard if is_hard else easy).append(call.model_copy(update={"when": ()}))
            if is_hard:
                made.update(written)
        read = dict.fromkeys(number for call in hard for number in call.arguments)
        handed = tuple(number for number in (*read, then) if number not in made)
        rows = plan.values[predicate].shape[0]
        if any(plan.values[number].shape[:1] != (rows,) for number in (*handed, *plan.inputs)):
            return None
        return cls(predicate, tuple(easy), tuple(hard), handed, (otherwise, then))


def predict(
    plan: Plan,
    arrays: Mapping[int, np.ndarray],
    run: Callable[[str], None],
    inputs: Sequence[np.ndarray],
) -> list[np.ndarray]:
    """Return the outputs for any number of rows.

    Args:
        plan: of an artefact.
        arrays: its values by their numbers; those of the inputs and what is handed are written.
        run: calls a function of its library, by name.
        inputs: arrays (n, ...), in the order of the call.

    Raises:
        HwoptError: if inputs and outputs are not of one row an input.
    """
    grouping = Grouping.of(plan)
    outputs = plan.outputs if grouping is None else grouping.answers[:1]
    rows = {arrays[number].shape[:1] for number in (*plan.inputs, *outputs)}
    if len(rows) != 1 or rows == {()}:
        raise HwoptError("inputs and outputs of the model have not one row each for an input")
    ((size,),) = rows
    results = [np.empty((len(inputs[0]), *arrays[n].shape[1:]), arrays[n].dtype) for n in outputs]
    waiting: list[tuple[int, list[np.ndarray]]] = []
    for start in range(0, len(inputs[0]), size):
        count = min(size, len(inputs[0]) - start)
        for number, given in zip(plan.inputs, inputs, strict=True):
            arrays[number][:count] = given[start : start + count]
        run(INFERENCE if grouping is None else EASY)
        for number, result in zip(outputs, results, strict=True):
            result[start : start + count] = arrays[number][:count]
        if grouping is not None:
            for row in np.flatnonzero(arrays[grouping.predicate][:count]):
                handed = [arrays[number][row].copy() for number in grouping.handed]
                waiting.append((start + int(row), handed))
            while len(waiting) >= size:
                _ask(grouping, arrays, run, waiting[:size], results[0])
                del waiting[:size]
    if grouping is not None and waiting:
        _ask(grouping, arrays, run, waiting, results[0])
    return results


def _ask(
    grouping: Grouping,
    arrays: Mapping[int, np.ndarray],
    run: Callable[[str], None],
    waiting: Sequence[tuple[int, list[np.ndarray]]],
    result: np.ndarray,
) -> None:
    """Answer a group of hard rows, not more than a batch has."""
    for row, (_, handed) in enumerate(waiting):
        for number, value in zip(grouping.handed, handed, strict=True):
            arrays[number][row] = value
    run(HARD)
    result[[place for place, _ in waiting]] = arrays[grouping.answers[1]][: len(waiting)]
