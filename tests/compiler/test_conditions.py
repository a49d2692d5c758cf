from hypothesis import given
from hypothesis import strategies as st

from hwopt.compiler.conditions import with_conditions
from hwopt.compiler.plan import Condition, KernelCall, Plan, PlanValue

CHOICES = frozenset({"cond"})
A_ROW = PlanValue(shape=(1,), dtype="float32")


def plan(values, calls, outputs, inputs=(0,)):
    return Plan(
        values=(A_ROW,) * values, inputs=inputs, constants=(), outputs=outputs, calls=tuple(calls)
    )


def kernel(*arguments):
    return KernelCall(kernel="kernel", arguments=arguments)


def cond(*arguments):
    return KernelCall(kernel="cond", arguments=arguments)


def conditions(found):
    return {call.arguments[-1]: call.when for call in found.calls}


def test_what_one_side_alone_needs_waits_for_the_predicate():
    # The larger network comes first, and reads what the smaller one does.
    calls = [kernel(0, 1), kernel(1, 2), kernel(1, 3), kernel(3, 4), cond(4, 2, 3, 5)]
    found = with_conditions(plan(6, calls, outputs=(5,)), CHOICES)
    assert [call.arguments[-1] for call in found.calls] == [1, 3, 4, 2, 5]
    assert conditions(found) == {1: (), 3: (), 4: (), 2: (Condition(4, True),), 5: ()}


def test_what_the_other_side_alone_needs_waits_too():
    calls = [kernel(0, 1), kernel(0, 2), kernel(0, 3), cond(3, 1, 2, 4)]
    found = with_conditions(plan(5, calls, outputs=(4,)), CHOICES)
    assert conditions(found)[1] == (Condition(3, True),)
    assert conditions(found)[2] == (Condition(3, False),)


def test_what_the_model_returns_besides_needs_no_condition():
    calls = [kernel(0, 1), kernel(0, 2), kernel(0, 3), cond(3, 1, 2, 4)]
    found = with_conditions(plan(5, calls, outputs=(4, 1)), CHOICES)
    assert conditions(found)[1] == ()


def test_choices_within_a_choice():
    # 3 is asked for by 1; there 6 is asked for by 4, and 7 is what both sides of 4 need.
    calls = [
        *(kernel(0, 1), kernel(0, 2), kernel(0, 4), kernel(0, 7)),
        *(kernel(7, 5), kernel(7, 6), cond(4, 6, 5, 3), cond(1, 3, 2, 8)),
    ]
    found = with_conditions(plan(9, calls, outputs=(8,)), CHOICES)
    outer, inner = Condition(1, True), Condition(4, True)
    when = conditions(found)
    assert when[4] == when[7] == when[3] == (outer,)
    assert when[6] == (outer, inner) and when[5] == (outer, Condition(4, False))


def test_a_call_waits_for_what_asks_for_it():
    # 2 is asked for by 4, which stands behind it, and which needs 3, which is asked for by 1.
    calls = [kernel(0, 2), kernel(0, 3), cond(1, 0, 3, 4), cond(4, 0, 2, 5)]
    found = with_conditions(plan(6, calls, outputs=(5,), inputs=(0, 1)), CHOICES)
    assert [call.arguments[-1] for call in found.calls] == [3, 4, 2, 5]


@st.composite
def plans(draw):
    """Chains of sums and choices; kernels read what is there."""
    calls, count = [], draw(st.integers(2, 3))
    inputs = tuple(range(count))
    for _ in range(draw(st.integers(1, 12))):
        read = [draw(st.integers(0, count - 1)) for _ in range(3)]
        calls.append(draw(st.sampled_from((kernel, cond)))(*read, count))
        count += 1
    outputs = draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=2))
    return plan(count, calls, tuple(outputs), inputs)


def run(found, inputs):
    """Return the outputs, and how many calls ran; what was not computed is None."""
    values = dict(enumerate(inputs))
    ran = 0
    for call in found.calls:
        *read, written = call.arguments
        if any((values[asked.predicate] > 0) != asked.holds for asked in call.when):
            values[written] = None
            continue
        ran += 1
        given = [values[number] for number in read]
        if call.kernel == "cond":
            values[written] = given[1] if given[0] > 0 else given[2]
        else:
            values[written] = sum((-1) ** place * (place + 1) * x for place, x in enumerate(given))
    return [values[number] for number in found.outputs], ran


@given(plans(), st.lists(st.integers(-3, 3), min_size=3, max_size=3))
def test_conditions_change_no_output_and_only_save_calls(whole, inputs):
    found = with_conditions(whole, CHOICES)
    expected, all_calls = run(whole, inputs[: len(whole.inputs)])
    outputs, ran = run(found, inputs[: len(whole.inputs)])
    assert outputs == expected
    assert ran <= all_calls == len(found.calls)
