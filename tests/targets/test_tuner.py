"""What the tuner takes: the fastest known, and never what failed."""

import dataclasses

import pytest
from tvm import te

from hwopt import targets
from hwopt.errors import HwoptError
from hwopt.targets import templates, tuner
from hwopt.targets.database import KernelDatabase, Record, kernel_key

HOST = targets.get("host")


@pytest.fixture
def kernel():
    x = te.placeholder((64, 64), "float32", name="x")
    y = te.compute((64, 64), lambda i, j: x[i, j] + x[j, i], name="y")
    return te.create_prim_func([x, y])


def choose(kernel, folder, kernel_trials):
    database = KernelDatabase(HOST, folder)
    return tuner.choose({"sum": kernel}, HOST, kernel_trials=kernel_trials, database=database)[
        "sum"
    ]


def remember(kernel, folder, fastest_us):
    """Record these times, None for a failure, for the first candidates of a kernel."""
    template = templates.find(kernel, HOST)
    space = template.space(kernel, HOST)
    for config, time in zip(space, fastest_us, strict=False):
        error = "no registers left" if time is None else None
        record = Record(kernel_key(kernel), "sum", template.name, config, time, time, 7, error)
        KernelDatabase(HOST, folder).add(record)
    return template, space


def test_without_trials_the_fastest_known_candidate_is_taken(kernel, tmp_path):
    template, space = remember(kernel, tmp_path, [3.0, 2.0])
    choice = choose(kernel, tmp_path, 0)
    assert (choice.road, choice.median_us) == (f"template:{template.name}", 2.0)
    assert choice.func.script() == template.schedule(kernel, space[1], HOST).script()
    assert choice.candidates_measured == 0


def test_without_records_the_first_choice_is_taken(kernel, tmp_path):
    template, space = remember(kernel, tmp_path, [])
    choice = choose(kernel, tmp_path, 0)
    assert choice.func.script() == template.schedule(kernel, space[0], HOST).script()
    assert (choice.median_us, choice.failures) == (None, ())


def test_a_candidate_that_failed_is_not_taken(kernel, tmp_path):
    template, space = remember(kernel, tmp_path, [None])
    choice = choose(kernel, tmp_path, 0)
    assert choice.func.script() == template.schedule(kernel, space[1], HOST).script()
    assert choice.failures == ("no registers left",)


def test_without_a_candidate_that_works_the_default_is_taken_and_said(kernel, tmp_path):
    _, space = remember(kernel, tmp_path, [None] * 100)
    choice = choose(kernel, tmp_path, None)
    assert (choice.road, choice.candidates_measured) == ("fallback", 0)
    assert choice.failures == ("no registers left",) * len(space)


@pytest.mark.slow
def test_what_is_measured_is_known_the_next_time(kernel, tmp_path):
    first, again = (choose(kernel, tmp_path, None) for _ in range(2))
    assert first.candidates_measured > 0 and again.candidates_measured == 0
    assert again.median_us == first.median_us > 0


@pytest.mark.slow
@pytest.mark.parametrize("change", [{"name": "other"}, {"threads": 7}, {"cpu": "another"}])
def test_what_was_measured_on_one_target_is_not_taken_for_another(
    kernel, tmp_path, monkeypatch, change
):
    monkeypatch.setenv("HWOPT_HOME", str(tmp_path))
    measured = tuner.choose({"sum": kernel}, HOST, kernel_trials=None)["sum"]
    assert measured.median_us is not None
    assert (
        tuner.choose({"sum": kernel}, HOST, kernel_trials=0)["sum"].median_us == measured.median_us
    )
    other = dataclasses.replace(HOST, **change)
    choice = tuner.choose({"sum": kernel}, other, kernel_trials=0)["sum"]
    assert (choice.median_us, choice.failures) == (None, ())


@pytest.mark.slow
def test_what_was_killed_before_its_finals_has_them_the_next_time(kernel, tmp_path):
    remember(kernel, tmp_path, [3.0, 2.0])
    choose(kernel, tmp_path, 2)
    records = KernelDatabase(HOST, tmp_path).candidates(
        kernel_key(kernel), templates.find(kernel, HOST).name
    )
    assert [record.runs for record in records] == [tuner.FINAL_REPEATS] * 2


def test_negative_trials(kernel, tmp_path):
    with pytest.raises(HwoptError, match="kernel_trials must be 0 or more, not -1"):
        choose(kernel, tmp_path, -1)
