"""Whole studies, of seconds each: real processes, real training, real measuring."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import optuna
import pytest

import hwopt
from hwopt.errors import HwoptError
from hwopt.files import write_json
from hwopt.job import Variant
from hwopt.search.candidate import Candidate
from hwopt.search.choose import copy_artifact, pick
from hwopt.search.files import STUDY_FILE, TRIALS_FILE, candidate_file
from hwopt.search.front import Point, front
from hwopt.search.plan import StudyPlan
from hwopt.search.recipe import make_search, write_search
from hwopt.search.results import Trial
from hwopt.search.setting import Setting
from hwopt.search.space import Space
from hwopt.search.tasks import Tasks
from tests.search.studies import PLUGIN, Counted, changed, study

pytestmark = pytest.mark.slow


def of_three(**search):
    """Return a recipe that trades size, too, and measures peers."""
    return {**changed(minimise=["bytes"], **search), "peers": ["torch", "openvino-int8"]}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A finished study: its folder, its document, and what was done."""
    folder, workers = tmp_path_factory.mktemp("study") / "small", Counted()
    document = study(folder, of_three(), workers=workers).run()
    return folder, document, workers.done


@pytest.fixture
def prepared(done, tmp_path):
    """A folder in which the network is trained and compiled, and no candidate."""
    ignored = shutil.ignore_patterns("c-*", TRIALS_FILE, STUDY_FILE)
    return shutil.copytree(done[0], tmp_path / "prepared", ignore=ignored)


def test_trials_are_trained_and_measured_and_the_front_is_compiled(done):
    folder, document, tasks = done
    trials = document.trials
    assert [trial.state for trial in trials] == ["measured"] * 3
    assert tasks == ["TrainCandidate"] * 3
    assert len({trial.passes for trial in trials}) == 3
    for trial in trials:
        assert 0 < trial.quality <= 1 and 0 < trial.ratio < 2
        interval = trial.latency
        assert interval.low_ms <= interval.median_ms <= interval.high_ms
        assert trial.macs <= document.baseline.macs
        assert trial.memory_bytes > 0 and set(trial.seconds) == {"passes", "train", "measure"}
    assert make_search(document.recipe) == make_search(of_three())  # it can be run again
    size = document.baseline.bytes
    points = {t.number: Point(t.quality, t.ratio, (t.bytes / size,)) for t in trials}
    assert list(document.on_front) == front(points)
    assert [count for count, _ in document.hypervolume] == [1, 2, 3]
    for number in document.on_front:
        trial = trials[number]
        artifact = hwopt.load(folder / trial.artifact)
        assert artifact.manifest.macs == trial.macs
        assert 0 < trial.test_quality <= 1 and trial.kernels
    assert json.loads((folder / STUDY_FILE).read_text()) == document.to_json()


def test_a_finished_study_does_nothing_again(done):
    folder, document, _ = done
    workers = Counted()
    assert study(folder, of_three(), workers=workers).run() == document
    assert workers.done == []


def test_peers_run_the_unchanged_network(done):
    _, document, _ = done
    baseline, (exact, eight_bits) = document.baseline, document.peers
    assert (exact.name, eight_bits.name) == ("torch", "openvino-int8")
    # Labels that are equal up to rounding may change.
    assert exact.quality == pytest.approx(baseline.quality, abs=0.005)
    assert eight_bits.quality == pytest.approx(baseline.quality, abs=0.1)
    for peer in (exact, eight_bits):
        latency = peer.latency
        assert latency.low_ms <= latency.median_ms <= latency.high_ms
        assert peer.ratio == latency.median_ms / baseline.latency.median_ms


def test_more_trials_go_on_with_those_that_are_there(done, tmp_path):
    folder, document, _ = done
    workers = Counted()
    shutil.copytree(folder, tmp_path / "study")
    more = study(tmp_path / "study", of_three(trials=4), workers=workers).run()
    before = [trial.quality for trial in document.trials]
    assert [trial.quality for trial in more.trials[:3]] == before
    assert len(more.trials) == 4
    assert workers.done == ["TrainCandidate"]


def test_picking(done, tmp_path):
    folder, document, _ = done
    shown = [document.trials[number] for number in document.on_front]
    fastest = shown[0]
    # Not the last one: some of a front of three objectives are there for their size alone.
    best = max(shown, key=lambda trial: trial.quality)
    assert pick(folder, quality=0.0).number == fastest.number
    assert pick(folder, latency_ms=1e6).number == best.number
    with pytest.raises(HwoptError, match="no model of the front fits: the fastest takes"):
        pick(folder, latency_ms=1e-6)
    with pytest.raises(HwoptError, match="holds no study"):
        pick(tmp_path, quality=0.5)
    copy_artifact(folder, fastest, tmp_path / "a")
    assert hwopt.load(tmp_path / "a").manifest.macs == fastest.macs
    write_json(tmp_path / STUDY_FILE, {**document.to_json(), "schema_version": 0})
    with pytest.raises(HwoptError, match="is of schema version 0, and this hwopt reads version 4"):
        pick(tmp_path, quality=0.5)


def test_a_removed_model_is_compiled_again(done, tmp_path):
    folder, document, _ = done
    shutil.copytree(folder, tmp_path / "study")
    first = document.trials[document.on_front[0]]
    shutil.rmtree(tmp_path / "study" / first.artifact)
    with pytest.raises(HwoptError, match="was removed: `hwopt search` makes it again"):
        copy_artifact(tmp_path / "study", first, tmp_path / "a")
    again = study(tmp_path / "study", of_three()).run()
    assert again.on_front == document.on_front
    copy_artifact(tmp_path / "study", first, tmp_path / "a")
    assert hwopt.load(tmp_path / "a").manifest.macs == first.macs


ENDS = {
    "crash": "RuntimeError: crashed as it was told to",
    "hang": "took over 20 s",
    "kill": "its process was ended by SIGKILL",
    "nan": "the loss became nan",
}


def test_what_misbehaves_costs_itself_alone(done, prepared, tmp_path):
    document = changed(
        space=["misbehave", "prune-channels{multiple=2}"],
        sampler="random",
        trials=1,
        trial_seconds=20,
        workers=2,
        warm_start=[str(tmp_path / "other")],
    )
    hwopt.passes.load_file(PLUGIN)
    texts = [str(hwopt.passes.parse(f"misbehave{{how={how}}}")[0]) for how in ENDS]
    narrow = {"prune-channels.stem": 0.5, "prune-channels.body": 0.5}
    trials = tuple(
        Trial(number=number, state="measured", choices={"misbehave": text, **narrow})
        for number, text in enumerate([*texts, ""])
    )
    other = done[1].model_copy(update={"trials": trials, "on_front": (0, 1, 2, 3, 4)})
    other.write(tmp_path / "other" / STUDY_FILE)
    found = study(prepared, document, plugins=[PLUGIN]).run()
    *failed, last = found.trials
    assert [trial.state for trial in failed] == ["failed"] * 4
    for trial, reason in zip(failed, ENDS.values(), strict=True):
        assert reason in trial.reason
    assert last.state == "measured" and found.on_front == (4,)


RUN = """
import sys
from pathlib import Path
from tests.search.studies import changed, study
recipe = changed(minimise=["bytes"])
study(Path(sys.argv[1]), recipe, report=lambda _, doing: print(doing, flush=True)).run()
"""


def test_a_killed_study_goes_on_and_repeats_nothing(done, prepared):
    command = [sys.executable, "-c", RUN, str(prepared)]
    for until in ("training 0", "measuring 0"):
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, start_new_session=True
        ) as process:
            for line in process.stdout:
                if line.startswith(until):
                    time.sleep(1)
                    os.killpg(process.pid, signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
    steps = (prepared / "steps").glob("c-*.json")
    done_before = {step: step.stat().st_mtime_ns for step in steps}
    assert done_before
    storage = f"sqlite:///{prepared / TRIALS_FILE}"
    (name,) = optuna.get_all_study_names(storage)
    told = optuna.load_study(study_name=name, storage=storage).trials
    # A quick machine has measured the first one before it was killed.
    left = 3 - sum(trial.state.is_finished() for trial in told)
    workers = Counted()
    document = study(prepared, changed(minimise=["bytes"]), workers=workers).run()
    trials = document.trials
    assert [trial.state for trial in trials] == ["measured"] * 3
    # The same seed on the same machine: the same suggestions, killed or not.
    assert [t.choices for t in trials] == [t.choices for t in done[1].trials]
    assert workers.done == ["TrainCandidate"] * left
    assert {step: step.stat().st_mtime_ns for step in done_before} == done_before
    assert len(optuna.load_study(study_name=name, storage=storage).trials) == 3


def test_what_is_over_a_limit_is_not_trained(prepared):
    workers = Counted()
    document = changed(limits={"memory_bytes": 1000}, sampler="random")
    found = study(prepared, document, workers=workers).run()
    assert found.on_front == () and workers.done
    reasons = [t.reason for t in found.trials if "the same as" not in t.reason]
    assert reasons and all("bytes of memory predicted, 1000 allowed" in r for r in reasons)
    assert not list((prepared / "graphs").glob("c-*"))
    assert "no candidate kept to all limits" in found.notes
    with pytest.raises(HwoptError, match="is empty: no candidate was measured within limits"):
        pick(prepared, quality=0.0)


def test_what_is_clearly_beaten_after_a_short_training_is_not_trained_on(prepared):
    document = {**changed(first_epochs=[1], clearly=0.0), "fine_tune": {"epochs": 2}}
    found = study(prepared, document).run()
    trials = [t for t in found.trials if t.quality is not None]
    measured = {t.number: t for t in trials if t.state == "measured"}
    assert measured
    for trial in trials:
        folder = prepared / "graphs"
        names = [path.name for path in folder.glob("c-*-1")]
        assert len(names) == len(trials)  # each had its short training
        if trial.state == "stopped":
            better = int(trial.reason.partition("trial ")[2].split()[0])
            assert measured[better].macs <= trial.macs


def test_a_short_training_is_judged_by_what_others_gained_after_theirs(prepared):
    document = changed(first_epochs=[1], clearly=0.0, limits={"quality": 0.99})
    found = study(prepared, {**document, "fine_tune": {"epochs": 2}}).run()
    first, *others = [t for t in found.trials if t.quality is not None]
    assert first.state == "measured" and others  # nobody knows yet what a training gains
    for trial in others:
        assert trial.state == "stopped"
        assert "0.99 asked for; no trial has gained more than" in trial.reason


def test_of_routes_nothing_is_known_before(prepared):
    write_search(prepared, make_search(changed(routes=[{"expert": "dense", "router": "entropy"}])))
    setting = Setting(prepared)
    space = Space((), {"route": (0, 1)})
    found = setting.known.of(space, setting.job.trained().graph, {})
    assert found["dimensions"] == space.dimensions and found["refused"] == []
    none, some = found["table"]["route"]
    assert none["latency"] == some["latency"] == 1.0
    assert some["importance"] < none["importance"] == 0.0


def test_what_asks_the_unchanged_network_has_short_trainings_too(prepared):
    document = changed(first_epochs=[1], routes=[{"expert": "dense", "router": "entropy"}])
    recipe = make_search({**document, "fine_tune": {"epochs": 2}})
    write_search(prepared, recipe)
    passes = "prune-channels{ratio=0.5,layers=[stem]}"
    one = Candidate(variant=Variant(passes=passes, route=recipe.search.routes[0]))
    write_json(candidate_file(prepared, "c-routed"), one.model_dump(mode="json"))
    for epochs in (1, 2):
        (outcome,) = Tasks(StudyPlan(recipe, prepared)).train(["c-routed"], epochs)
        assert outcome.reason is None and 0 < outcome.result["quality"] <= 1


def test_a_wrong_name_is_said_before_anything_is_trained(tmp_path):
    with pytest.raises(HwoptError, match="unknown dimension of the space 'stam'"):
        study(tmp_path, changed(only={"stam": [1.0]})).run()
    assert not (tmp_path / "graphs" / "train").exists()


def test_another_studys_front_comes_first(done, prepared):
    folder, document, _ = done
    found = study(prepared, changed(warm_start=[str(folder)], trials=1)).run()
    first = document.trials[document.on_front[0]]
    assert found.trials[0].choices == first.choices


def test_other_widths_of_the_model_are_candidates(prepared):
    only = {f"prune-channels.{name}": [1.0] for name in ("stem", "body")}
    document = study(prepared, changed(trials=2, only=only, model_options={"width": [8]})).run()
    assert document.space == {"model.width": (4, 8)}
    trials = {trial.choices["model.width"]: trial for trial in document.trials}
    assert trials[4].macs == document.baseline.macs < trials[8].macs
    assert (trials[4].model, trials[8].model) == ("", "width=8")
    assert trials[8].state == "measured" and not trials[8].passes
