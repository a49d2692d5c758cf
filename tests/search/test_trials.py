"""Trials in a real database, told what a study would tell them."""

import shutil

import optuna
import pytest

from hwopt.errors import HwoptError
from hwopt.files import write_json
from hwopt.search.files import IDENTITY_FILE, SPACE_FILE
from hwopt.search.front import Point
from hwopt.search.plan import StudyPlan
from hwopt.search.prepared import PreparedStudy
from hwopt.search.recipe import make_search
from hwopt.search.results import Baseline
from hwopt.search.space import Space
from hwopt.search.trials import MOST_IN_VAIN, Trials, open_storage
from hwopt.tasks import Metric
from tests.search.studies import changed

LATENCY = {"median_ms": 2.0, "low_ms": 1.9, "high_ms": 2.1}
SPACE = Space((), {"width": (1.0, 0.5, 0.25), "pass": ("", "binarize")})
PREPARED = PreparedStudy(
    metric=Metric("accuracy"),
    baseline=Baseline(quality=0.9, latency=LATENCY, bytes=100, memory_bytes=50),
    data="digits",
    notes=(),
    space=SPACE,
    table={},
    key="key",
    worst=Point(0.5, 1.0),
)


def plan_of(folder, **search):
    options = {"sampler": "random", "trials": 6, **search}
    recipe = make_search({**changed(**options), "fine_tune": {"epochs": 4}})
    return StudyPlan(recipe, folder)


def trials_of(folder, **search):
    plan = plan_of(folder, **search)
    folder.mkdir(exist_ok=True)
    return Trials(plan, PREPARED, open_storage(plan))


def figures(ratio=0.5, size=50):
    return {"latency": {"median_ms": ratio}, "ratio": ratio, "memory_bytes": 20, "bytes": size}


def measure(trials, trial, accuracy, macs=100, early=None):
    trial.set_user_attr("name", str(trial.params))
    trial.set_user_attr("quality", accuracy)
    trial.set_user_attr("macs", macs)
    trial.set_user_attr("parameters", macs)
    if early is not None:
        trial.set_user_attr("quality after 1", early)
    trials.tell(trial, figures())


def choices(trials):
    return [dict(trial.params) for trial in trials.all()]


def test_a_trial_of_which_a_kill_left_a_number_alone_is_suggested_all_the_same(tmp_path):
    undisturbed = trials_of(tmp_path / "one", workers=2)
    undisturbed.next()
    killed = trials_of(tmp_path / "other", workers=2)
    killed._optuna.ask()  # as far as a study came before its sampler had an answer
    killed._optuna.ask()
    again = trials_of(tmp_path / "other", workers=2)
    assert [trial.number for trial in again.next()] == [0, 1]
    assert choices(again) == choices(undisturbed)
    assert all(one.keys() == SPACE.dimensions.keys() for one in choices(again))


def test_what_was_being_asked_for_when_a_kill_came_is_asked_for_together(tmp_path):
    undisturbed = trials_of(tmp_path / "one", workers=3)
    undisturbed.next()
    killed = trials_of(tmp_path / "other", workers=3)
    killed._suggested(killed._optuna.ask())  # and two more were to come
    again = trials_of(tmp_path / "other", workers=3)
    assert [trial.number for trial in again.next()] == [0, 1, 2]
    assert choices(again) == choices(undisturbed)
    # Names are given when all are there: now those that are left are all there are.
    for trial in again._optuna.get_trials()[:2]:
        again.fail(named(again, trial), "broken")
    named(again, again._optuna.get_trials()[2])
    assert [t.number for t in trials_of(tmp_path / "other", workers=3).next()] == [2]


def named(trials, frozen):
    trial = optuna.trial.Trial(trials._optuna, frozen._trial_id)
    trial.set_user_attr("name", f"c-{trial.number}")
    return trial


def test_points_of_others_are_asked_for_once_and_are_no_trials_before(tmp_path):
    points = [{"width": 0.5, "pass": ""}, {"width": 0.25, "pass": "binarize"}]
    trials = trials_of(tmp_path)
    trials.enqueue(points[:1])
    again = trials_of(tmp_path)
    again.enqueue(points)
    assert again.all() == []
    for point in points:
        (trial,) = again.next()
        assert trial.params == point
        measure(again, trial, 0.9)
    trials_of(tmp_path).enqueue(points)
    assert len(again.all()) == 2


def test_what_failed_in_an_earlier_run_does_not_end_this_one(tmp_path):
    trials = trials_of(tmp_path)
    for _ in range(MOST_IN_VAIN):
        (trial,) = trials.next()
        trial.set_user_attr("name", f"c-{trial.number}" if trial.number < 5 else "c-0")
        trials.fail(trial, "the disk is full")
    assert trials.next() == []
    assert trials.in_vain() == (
        f"{MOST_IN_VAIN} trials in a row were not measured; the last one: the disk is full"
    )
    mended = trials_of(tmp_path)
    assert mended.in_vain() is None
    assert [trial.number for trial in mended.next()] == [MOST_IN_VAIN]


def test_another_sampler_goes_on_where_one_had_nothing_new(tmp_path):
    trials = trials_of(tmp_path)
    point = {"width": 0.5, "pass": ""}
    trials.enqueue([point])
    (first,) = trials.next()
    measure(trials, first, 0.9)
    earlier = trials.all()[0]
    for _ in range(MOST_IN_VAIN):
        (trial,) = trials.next()
        trial.set_user_attr("name", "the same")
        trials.repeat(trial, earlier)
    assert trials.next() == []
    assert "it is the same as trial 0" in trials.in_vain()
    other = trials_of(tmp_path, sampler="tpe")
    assert other.in_vain() is None
    assert [trial.number for trial in other.next()] == [MOST_IN_VAIN + 1]


@pytest.mark.parametrize(("last", "goes_on"), [(0.8, False), (0.95, True)])
def test_patience_ends_where_the_front_gets_no_better(tmp_path, last, goes_on):
    trials = trials_of(tmp_path, patience=2)
    trials.enqueue(list(SPACE.points())[:3])
    for accuracy in (0.9, 0.8, last):
        (trial,) = trials.next()
        measure(trials, trial, accuracy)
    assert bool(trials.next()) == goes_on


def test_a_small_space_ends_when_all_of_it_was_tried(tmp_path):
    trials = trials_of(tmp_path, trials=100)
    points = list(SPACE.points())
    trials.enqueue(points)
    for _ in points:
        (trial,) = trials.next()
        measure(trials, trial, 0.9)
    assert trials.next() == []


def test_only_what_differs_in_widths_alone_is_judged_by_its_size(tmp_path):
    trials = trials_of(tmp_path, first_epochs=[1])
    wide, narrow = ({"width": width, "pass": ""} for width in (1.0, 0.5))
    binary = {"width": 1.0, "pass": "binarize"}
    trials.enqueue([narrow, wide, binary])
    (first,) = trials.next()
    measure(trials, first, 0.9, macs=100, early=0.8)
    assert trials.most_gained(1) == pytest.approx(0.1)
    for point, better in ((wide, first.number), (binary, None)):
        (trial,) = trials.next()
        assert trial.params == point
        for key, value in {"name": str(point), "macs": 100, "parameters": 90}.items():
            trial.set_user_attr(key, value)
        assert trials.clearly_better(trial, 1, 0.7) == better
        assert trials.clearly_better(trial, 1, 0.8) is None
        # Size is traded, and this one is smaller.
        assert trials_of(tmp_path, minimise=["bytes"]).clearly_better(trial, 1, 0.7) is None
        trials.stop(trial, "beaten")


def test_a_database_of_many_tells_folders_and_machines_apart(tmp_path):
    storage = f"sqlite:///{tmp_path}/many.db"
    trials_of(tmp_path / "one", storage=storage).next()
    assert len(trials_of(tmp_path / "one", storage=storage).all()) == 1
    shutil.copytree(tmp_path / "one", tmp_path / "copy")
    assert trials_of(tmp_path / "copy", storage=storage).all() == []
    (tmp_path / "one" / IDENTITY_FILE).unlink()  # as on another machine, under the same path
    assert trials_of(tmp_path / "one", storage=storage).all() == []


def test_a_storage_out_of_reach_is_one_sentence_without_its_password(tmp_path):
    plan = plan_of(tmp_path, storage="sqlite:////nowhere/at/all/trials.db")
    with pytest.raises(HwoptError, match=r"the storage sqlite:////nowhere/.* cannot be opened"):
        open_storage(plan)
    plan = plan_of(tmp_path, storage="nodatabase://user:secret@nowhere/db")
    with pytest.raises(HwoptError, match="cannot be opened") as raised:
        open_storage(plan)
    assert "secret" not in str(raised.value)


def test_the_corner_of_the_hypervolume_is_at_the_limits(tmp_path):
    baseline = {"quality": 0.9, "latency": LATENCY, "bytes": 100}
    found = {"dimensions": SPACE.dimensions, "table": {}, "key": "", "data": "", "notes": []}
    write_json(tmp_path / SPACE_FILE, {**found, "baseline": baseline})
    for limits, corner in (
        ({}, (0.8, 1.0)),
        ({"quality": 0.6, "ms": 1.0}, (0.6, 0.5)),
        ({"quality": 0.85, "share": 0.7}, (0.85, 0.7)),
    ):
        worst = PreparedStudy.read(plan_of(tmp_path, limits=limits)).worst
        assert (worst.gain, worst.latency) == pytest.approx(corner)
