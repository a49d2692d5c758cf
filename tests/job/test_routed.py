"""Recipes whose variants ask an expert about hard inputs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import hwopt
from hwopt.errors import HwoptError
from hwopt.graph import Graph
from hwopt.job import Job, make_recipe
from hwopt.passes.routing import RoutedValues

RECIPE = {
    "model": "resnet8",
    "model_options": {"width": 8},
    "data": "digits",
    "train": {"epochs": 3},
    "fine_tune": {"epochs": 2, "learning_rate": 0.05},
    "variants": {
        "dense": "",
        "routed": {
            "passes": "prune-channels{ratio=0.75}",
            "route": {"expert": "dense", "width": 16, "coverage": 0.6},
        },
        "early": {"route": {"cut": "stages.1", "router": "entropy", "quality": 0.1}},
        "fast": {
            "passes": "prune-channels{ratio=0.75}",
            "fine_tune": False,
            "route": {"expert": "dense", "router": "doubt", "mean_ms": 100},
        },
    },
    "kernel_trials": 0,
    "threads": 1,
    "check_samples": 50,
    "runs": 40,
    "comparison_runs": 40,
    "peers": ["onnxruntime"],
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("job") / "run"
    return folder, Job(make_recipe(RECIPE), folder, bars=False).run().to_json()


@pytest.mark.slow
def test_the_wished_coverage_is_near_on_the_test_set(finished):
    _, results = finished
    assert results["variants"]["routed"]["easy"] == pytest.approx(0.6, abs=0.2)
    assert results["variants"]["dense"]["easy"] is None


def test_the_expert_is_the_variant_that_was_named(finished):
    folder, _ = finished
    dense, routed = (Graph.load(folder / "graphs" / name) for name in ("dense", "routed"))
    for name, weight in dense.parameters.items():
        assert bool((routed.parameter(f"expert.{name}") == weight).all()), name


def test_thresholds_are_in_the_artefacts_and_in_the_notes(finished):
    folder, results = finished
    for name in ("routed", "early", "fast"):
        threshold = RoutedValues.of(hwopt.load(folder / "artifacts" / name).graph()).threshold
        (note,) = [n for n in results["variants"][name]["notes"] if n.startswith("threshold")]
        assert f"threshold {threshold:.4g}: " in note
    assert "ms expected" in note  # of the last one, which is for a latency


def test_latency_is_the_mean_over_test_samples(finished):
    _, results = finished
    dense, routed = (results["variants"][name] for name in ("dense", "routed"))
    ratio = routed["latency"]["mean_ms"] / dense["latency"]["mean_ms"]
    assert routed["ratio_to_baseline"] == pytest.approx(ratio)
    assert routed["peers"] == {} and dense["peers"]
    notes = [note for note in results["notes"] if note.startswith("routed: ")]
    assert "peers are left out" in notes[0] and "of these are easy" in notes[1]
    assert routed["check"]["tied"] < 10
    assert routed["has_ways"] and not dense["has_ways"]


def test_the_artefact_says_what_made_it(finished):
    folder, _ = finished
    made_by = hwopt.load(folder / "artifacts" / "routed").manifest.passes
    assert "route{width=16}" in made_by


@pytest.mark.slow
def test_again_nothing_is_computed(finished):
    folder, results = finished
    steps = []
    again = Job(make_recipe(RECIPE), folder, report=lambda *step: steps.append(step), bars=False)
    assert again.run().to_json() == results
    assert all(reused for _, reused in steps)


@pytest.mark.slow
def test_a_wish_that_nothing_fulfils_names_the_variant(finished):
    folder, _ = finished
    early = {"cut": "stages.1", "router": "entropy", "mean_ms": 1e-6}
    recipe = RECIPE | {"variants": {"dense": "", "early": {"route": early}}}
    with pytest.raises(HwoptError, match="variant early: route: no threshold gives mean_ms=1e-06"):
        Job(make_recipe(recipe), folder, bars=False).run()


@pytest.mark.parametrize(
    ("route", "message"),
    [
        ({}, "needs an expert, or a cut"),
        ({"expert": "later"}, "the expert later must come before routed"),
        ({"expert": "dnse"}, "'dnse' is no folder, and of the variants before it there are dense"),
        ({"expert": "dense", "coverage": 0.5, "mean_ms": 1}, "is for coverage and mean_ms"),
        ({"expert": "dense", "router": "doubt", "width": 9}, "width is of the learned router"),
        ({"expert": "dense", "coverage": 1.5}, "less than or equal to 1"),
        ({"expert": "dense", "covrage": 0.7}, "unknown key 'covrage': did you mean 'coverage'"),
        ({"cut": "stages.1", "only_router": True}, "the exit would not be trained"),
    ],
)
def test_what_could_not_be_done_is_refused_at_once(route, message):
    variants = {"dense": "", "routed": {"route": route}, "later": ""}
    with pytest.raises(HwoptError, match=message):
        make_recipe(RECIPE | {"variants": variants})


@pytest.mark.parametrize(
    ("fine_tune", "message"),
    [
        (None, "has something to train, which fine_tune must describe"),
        ({"optimizer": "alig", "schedule": "constant"}, "alig needs the loss of the task alone"),
        ({"penalty": {"strength": 1}}, "its training knows no penalty"),
    ],
)
def test_what_could_not_be_trained_is_refused_at_once(fine_tune, message):
    variants = {"dense": "", "routed": {"route": {"expert": "dense"}}}
    if fine_tune:
        fine_tune = {**fine_tune, "label_smoothing": 0.0}
    with pytest.raises(HwoptError, match=message):
        make_recipe(RECIPE | {"variants": variants, "fine_tune": fine_tune})


@pytest.mark.parametrize(
    ("passes", "message"),
    [
        ("abstain", "abstain changes what the model takes or returns"),
        ("route{cut=stages.1,router=entropy}", "what route adds must be trained"),
    ],
)
def test_passes_that_a_job_cannot_go_on_from(passes, message):
    with pytest.raises(HwoptError, match=message):
        make_recipe(RECIPE | {"variants": {"dense": passes}})


def test_an_expert_that_does_not_fit_is_found_before_training(tmp_path):
    graph = hwopt.import_model(nn.Linear(4, 3), torch.zeros(1, 4))
    graph.save(tmp_path / "other")
    variants = {"dense": "", "routed": {"route": {"expert": str(tmp_path / "other")}}}
    job = Job(make_recipe(RECIPE | {"variants": variants}), tmp_path / "run", bars=False)
    with pytest.raises(HwoptError, match="variant routed: pass route: the expert reads"):
        job.run()
    assert not (tmp_path / "run" / "graphs" / "train").exists()
