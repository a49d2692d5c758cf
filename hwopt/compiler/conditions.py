"""Which calls of a plan are needed only where a row of the batch asks for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hwopt.compiler.plan import Condition, KernelCall, Plan


def with_conditions(plan: Plan, choices: frozenset[str]) -> Plan:
    """Return the plan with the conditions under which each call is needed.

    Calls that need none run first, so that a condition is known where it is asked.

    Args:
        plan: without conditions.
        choices: the kernels that read a predicate and two results, and write one of these.
    """
    if not any(call.kernel in choices for call in plan.calls):
        return plan
    needs: dict[int, list[tuple[Condition, ...]]] = {value: [()] for value in plan.outputs}
    found: list[tuple[KernelCall, tuple[int, ...]]] = []
    for call, written in reversed(list(zip(plan.calls, plan.written, strict=True))):
        when = _common([path for value in written for path in needs.get(value, ())])
        changes = {"when": when, "chooses": call.kernel in choices}
        found.append((call.model_copy(update=changes), written))
        for value, path in _reads(call, call.kernel in choices):
            if value not in written:
                needs.setdefault(value, []).append((*when, *path))
    return plan.model_copy(update={"calls": tuple(_ordered(found[::-1]))})


def _reads(call: KernelCall, chooses: bool) -> Iterator[tuple[int, tuple[Condition, ...]]]:
    """Yield the values of a call, each with the condition under which it is read."""
    if chooses:
        predicate, then, otherwise = call.arguments[:3]
        yield predicate, ()
        yield then, (Condition(predicate, True),)
        yield otherwise, (Condition(predicate, False),)
        return
    for value in call.arguments:
        yield value, ()


def _common(paths: Sequence[tuple[Condition, ...]]) -> tuple[Condition, ...]:
    """Return the conditions that all paths begin with."""
    first, *others = paths or [()]
    length = len(first)
    for other in others:
        same = [one == two for one, two in zip(first, other, strict=False)]
        length = min(length, (*same, False).index(False))
    return first[:length]


def _ordered(calls: Sequence[tuple[KernelCall, tuple[int, ...]]]) -> Iterator[KernelCall]:
    """Yield the calls in an order in which they can run, those with fewer conditions first.

    Of two sides the one for what does not hold comes first: what the other one reads stays in its
    place until then, for those who run the sides by themselves (``hwopt.compiler.grouping``).

    Args:
        calls: in another such order, each with the values that it writes.
    """
    left = list(calls)
    while left:
        # What asks for a call may have stood behind it.
        to_come = {value for _, written in left for value in written}
        missing: set[int] = set()
        ready = []
        for call, written in left:
            predicates = {asked.predicate for asked in call.when}
            if not missing & {*call.arguments} and not to_come & predicates:
                ready.append((call, written))
            missing.update(written)
        chosen = min(ready, key=lambda entry: (len(entry[0].when), *map(_holds, entry[0].when)))
        left.remove(chosen)
        yield chosen[0]


def _holds(condition: Condition) -> bool:
    return condition.holds
