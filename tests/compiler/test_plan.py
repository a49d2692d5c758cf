import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from hwopt.compiler.plan import ALIGNMENT, KernelCall, Plan, PlanValue, pack, read_constants

SHAPES = st.lists(st.integers(1, 5), max_size=3).map(tuple)
VALUES = st.builds(PlanValue, shape=SHAPES, dtype=st.sampled_from(["float32", "int64", "bool"]))


def plan(values, **fields):
    empty = {"inputs": (), "constants": (), "outputs": (), "calls": ()}
    return Plan(values=tuple(values), **(empty | fields))


@given(st.lists(VALUES, max_size=6))
def test_constants_come_back_aligned(tmp_path_factory, values):
    random = np.random.default_rng(0)
    arrays = [random.integers(0, 2, value.shape).astype(value.dtype) for value in values]
    path = tmp_path_factory.mktemp("constants") / "constants.bin"
    whole = plan(values, constants=tuple(range(len(values))))
    pack(arrays, whole).tofile(path)
    memory = read_constants(path, whole)
    for number, start in whole.packed_constants().places.items():
        one, other = whole.values[number].view(memory, start), arrays[number]
        assert one.dtype == other.dtype and np.array_equal(one, other)
        assert one.ctypes.data % ALIGNMENT == 0


@given(VALUES)
def test_new_arrays_are_aligned(value):
    array = value.empty()
    assert array.shape == value.shape and array.dtype == value.dtype
    assert array.nbytes == value.bytes and array.ctypes.data % ALIGNMENT == 0


def test_parameters_are_inputs_and_what_kernels_write():
    values = [PlanValue(shape=(2,), dtype="float32")] * 5
    calls = (KernelCall(kernel="a", arguments=(0, 1, 2)), KernelCall(kernel="b", arguments=(2, 3)))
    whole = plan(values, inputs=(0,), constants=(1, 4), outputs=(3, 0, 3, 4), calls=calls)
    assert whole.results == (3,)
    assert whole.parameters == (0, 3)
    assert set(whole.packed_constants().places) == {1, 4}


def test_a_plan_with_values_that_are_not_there_is_refused():
    with pytest.raises(ValidationError, match="names values that are not there"):
        plan([], outputs=(0,))


@given(st.data())
def test_values_needed_at_the_same_time_never_share_memory(data):
    """A chain in which every kernel reads some earlier results and writes one."""
    count = data.draw(st.integers(1, 8))
    values = [
        PlanValue(shape=(data.draw(st.integers(1, 3000)),), dtype="float32") for _ in range(count)
    ]
    reads = [data.draw(st.sets(st.integers(0, i))) for i in range(count - 1)]
    calls = [
        KernelCall(kernel="k", arguments=(*sorted(read), i + 1)) for i, read in enumerate(reads)
    ]
    whole = plan(values, inputs=(0,), outputs=(count - 1,), calls=tuple(calls))
    space = whole.workspace()
    assert set(space.places) == set(range(1, count - 1))
    last = {n: i for i, call in enumerate(calls) for n in call.arguments}
    for one, start in space.places.items():
        end = start + values[one].bytes
        assert start % ALIGNMENT == 0 and end <= space.bytes
        for other, place in space.places.items():
            if one < other <= last[one] + 1:  # written while the first is still to be read
                assert end <= place or place + values[other].bytes <= start
