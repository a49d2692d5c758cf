"""What a model takes of memory is known before its code is generated."""

import dataclasses
import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import hwopt
from hwopt import models, targets
from hwopt.compiler.footprint import LIBRARY_BYTES, Footprint, activation_bytes
from hwopt.compiler.plan import KernelCall, Plan, PlanValue
from hwopt.errors import HwoptError

HOST = targets.get("host")


def chain(sizes):
    """Return a plan of kernels that each read the last value and write the next."""
    values = tuple(PlanValue(shape=(size,), dtype="float32") for size in sizes)
    calls = tuple(KernelCall(kernel=f"k{i}", arguments=(i, i + 1)) for i in range(len(sizes) - 1))
    return Plan(values=values, inputs=(0,), constants=(), outputs=(len(sizes) - 1,), calls=calls)


def test_a_chain_takes_its_largest_pair():
    assert activation_bytes(chain([4, 10, 20, 3])) == 4 * 30  # without input and output


def test_what_waits_counts():
    values = tuple(PlanValue(shape=(size,), dtype="float32") for size in (1, 10, 10, 10, 1))
    calls = [(0, 1), (1, 2), (2, 3), (1, 3, 4)]  # the second value waits for the last call
    plan = Plan(
        values=values,
        inputs=(0,),
        constants=(),
        outputs=(4,),
        calls=tuple(KernelCall(kernel="k", arguments=arguments) for arguments in calls),
    )
    assert activation_bytes(plan) == 4 * 30


def test_what_a_kernel_makes_inside_has_a_place_beside_what_waits():
    plan = chain([1, 4, 4, 4, 1])
    waits = KernelCall(kernel="k3", arguments=(1, 3, 4))
    plan = plan.model_copy(update={"calls": (*plan.calls[:3], waits)})
    placed = plan.workspace(alignment=8, apart=0, scratch={"k1": 24})
    taken = sorted([(placed.places[1], 16), (placed.places[2], 16), (placed.places[-2], 24)])
    assert all(start + size <= after for (start, size), (after, _) in itertools.pairwise(taken))
    assert placed.bytes == 56


@given(st.lists(st.integers(1, 50), min_size=3, max_size=8), st.data())
def test_no_plan_is_smaller_than_what_is_needed(sizes, data):
    plan = chain(sizes)
    scratch = {call.kernel: 8 * data.draw(st.integers(0, 20)) for call in plan.calls}
    placed = plan.workspace(alignment=8, apart=0, scratch=scratch)
    inside = [n for n in placed.places if n > 0]
    assert placed.bytes >= activation_bytes(plan)
    # A value and the scratch of a call that uses it never overlap.
    for i, call in enumerate(plan.calls):
        used = [(placed.places[n], plan.values[n].bytes) for n in call.arguments if n in inside]
        if -1 - i in placed.places:
            used.append((placed.places[-1 - i], scratch[call.kernel]))
        used.sort()
        for (start, size), (after, _) in itertools.pairwise(used):
            assert start + size <= after
        assert all(start % 8 == 0 and start + size <= placed.bytes for start, size in used)


def test_what_is_predicted_is_there(tmp_path):
    model = models.create("resnet8", num_classes=10, input_shape=(1, 28, 28))
    artifact = hwopt.compile(model, torch.zeros(1, 1, 28, 28), kernel_trials=0)
    footprint = artifact.manifest.footprint
    assert footprint.workspace_bytes == artifact.workspace_bytes()
    library = (artifact.path / "model.so").stat().st_size
    assert library / 2 <= footprint.library_bytes <= 2 * library
    assert footprint.activation_bytes <= footprint.workspace_bytes


def test_what_does_not_fit_is_refused_before_tuning():
    small = dataclasses.replace(HOST, memory_bytes=200_000)
    model = nn.Sequential(nn.Conv2d(1, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 1, 3))
    measured = []
    with pytest.raises(HwoptError, match=r"does not fit on host: .*200 KB there; largest tensor"):
        hwopt.compile(
            model,
            torch.zeros(1, 1, 64, 64),
            target=small,
            progress=lambda *step: measured.append(step),
        )
    assert measured == []
    flash = dataclasses.replace(HOST, flash_bytes=1000)
    with pytest.raises(HwoptError, match="KB of flash needed, 1 KB there"):
        hwopt.compile(nn.Linear(64, 64), torch.zeros(1, 64), target=flash)


def test_a_plan_without_kernels():
    plan = chain([3])
    assert Footprint.of(plan).largest == "none"
    assert Footprint.of(plan).library_bytes == LIBRARY_BYTES
