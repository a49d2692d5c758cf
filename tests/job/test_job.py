from __future__ import annotations

import importlib
import itertools
import json
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image

import hwopt
from hwopt import data, train
from hwopt.errors import HwoptError
from hwopt.files import read_json
from hwopt.graph import Graph
from hwopt.graph.fingerprint import fingerprint
from hwopt.job import Job, make_recipe

RECIPE = {
    "model": "resnet8",
    "model_options": {"width": 4},
    "data": "digits",
    "train": {"epochs": 2},
    "fine_tune": {"epochs": 1, "learning_rate": 0.05},
    "variants": {"dense": "", "half": "prune-channels{ratio=0.5}"},
    "kernel_trials": 0,
    "check_samples": 100,
    "runs": 20,
    "comparison_runs": 20,
    "peers": ["onnxruntime", "torch"],
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("job") / "run"
    steps = []
    results = Job(
        make_recipe(RECIPE), folder, report=lambda *step: steps.append(step), bars=False
    ).run()
    return folder, results.to_json(), steps


@pytest.mark.slow
def test_the_job_ends_with_every_figure(finished):
    folder, results, _ = finished
    dense, half = results["variants"]["dense"], results["variants"]["half"]
    assert half["macs"] < 0.5 * dense["macs"] and half["parameters"] < 0.5 * dense["parameters"]
    assert 0 < half["quality"] <= 1 and dense["test_samples"] == 360
    assert dense["ratio_to_baseline"] == 1.0
    for facts in (dense, half):
        assert facts["check"]["same_answer"] == 100
        assert facts["check"]["max_difference"] <= 1e-4
        assert facts["latency"]["runs"] == 20
        assert set(facts["peers"]) == {"onnxruntime", "torch"}
        ratio = facts["latency"]["median_ms"] / facts["peers"]["torch"]["latency"]["median_ms"]
        assert facts["peers"]["torch"]["ratio"] == ratio
    assert any("8 to 4 channels" in note for note in half["notes"])
    assert make_recipe(results["recipe"]) == make_recipe(RECIPE)  # it can be run again
    artifact = hwopt.load(folder / "artifacts" / "half")
    assert artifact.manifest.passes[0] == "prune-channels"
    assert artifact.manifest.macs == half["macs"]
    measured = artifact.manifest.measured
    assert measured["latency"] == half["latency"] and measured["quality"] == half["quality"]


def test_a_finished_job_computes_nothing_again(finished):
    folder, results, first = finished
    steps = []
    again = Job(make_recipe(RECIPE), folder, report=lambda *step: steps.append(step)).run()
    assert again.to_json() == results
    assert [name for name, _ in steps] == [name for name, _ in first]
    assert all(reused for _, reused in steps) and not any(reused for _, reused in first)


@pytest.mark.slow
def test_a_changed_value_repeats_only_what_depends_on_it(finished, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(finished[0], folder)
    recipe = make_recipe({**RECIPE, "fine_tune": {"epochs": 1, "learning_rate": 0.01}})
    steps = []
    done = Job(recipe, folder, report=lambda *step: steps.append(step), bars=False).run()
    before = finished[1]["variants"]["half"]
    assert done.earlier.variants["half"] == (before["quality"], before["latency"]["median_ms"])
    assert make_recipe(done.earlier.recipe) == make_recipe(RECIPE)
    assert Job(recipe, folder, bars=False).run().earlier == done.earlier
    repeated = {name for name, reused in steps if not reused}
    assert repeated == {
        "half.fine-tune",
        "half.quality",
        "half.compile",
        "half.check",
        "half.beside-baseline",
        "measure",
    }


@pytest.mark.slow
def test_an_augmentation_that_was_edited_trains_again(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    code, text = tmp_path / "my_augmentation.py", "def darker(images, _):\n    return images * {}\n"
    code.write_text(text.format(0.9))
    recipe = make_recipe(
        {
            **RECIPE,
            "peers": [],
            "train": {"epochs": 1, "augment": "my_augmentation:darker"},
            "variants": {"dense": ""},
        }
    )
    for share, repeats in ((0.9, True), (0.9, False), (0.85, True)):
        code.write_text(text.format(share))
        sys.modules.pop("my_augmentation", None)
        importlib.invalidate_caches()
        steps: dict[str, bool] = {}
        Job(recipe, tmp_path / "job", report=steps.__setitem__, bars=False).run()
        assert steps["train"] is not repeats


@pytest.mark.slow
def test_another_number_of_threads_trains_nothing_again(finished, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(finished[0], folder)
    steps = []
    recipe = make_recipe({**RECIPE, "threads": 1})
    Job(recipe, folder, report=lambda *step: steps.append(step), bars=False).run()
    repeated = {name for name, reused in steps if not reused}
    checks = {f"{name}.{step}" for name in ("dense", "half") for step in ("compile", "check")}
    assert repeated == {"measure"} | checks


def test_training_starts_from_the_pruned_weights_and_the_graphs_are_kept(finished):
    folder, results, _ = finished
    names = ("train", "half.passes", "half")
    trained, pruned, tuned = (Graph.load(folder / "graphs" / name) for name in names)
    assert pruned.num_parameters() < trained.num_parameters()
    assert pruned.to_text() == tuned.to_text()
    accuracies = [
        train.evaluate(graph.to_torch(), data.load("digits").test).quality
        for graph in (pruned, tuned)
    ]
    half = results["variants"]["half"]
    assert accuracies[1] == half["quality"] > accuracies[0]
    assert [(step["step"], step["quality"], step["is_final"]) for step in half["steps"]] == [
        ("passes", accuracies[0], True),
        ("fine-tune", None, True),
    ]
    assert half["steps"][0]["kept_bytes"] == half["kept_bytes"]
    assert not list((folder / "checkpoints").iterdir())


def test_samples_on_which_a_variant_lost_are_shown(finished):
    folder, results, _ = finished
    digits, found = data.load("digits"), results["variants"]["half"]["differences"]
    near = {"rtol": 0, "atol": 1 / 255}
    assert found and results["variants"]["dense"]["differences"] == []
    for one in found:
        image, label = (part[0] for part in data.batch(digits.test, torch.tensor([one["sample"]])))
        assert one["before"] == one["truth"] == str(int(label)) != one["after"]
        shown = Image.open(folder / "differences" / "half" / one["image"])
        pixels = torch.tensor(np.asarray(shown))[::4, ::4].double() / 255
        torch.testing.assert_close(
            pixels, image[0].double() * digits.std[0] + digits.mean[0], **near
        )
    assert not list((folder / "checkpoints").iterdir())


@pytest.mark.slow
def test_without_fine_tuning_the_graph_before_it_is_compiled(finished, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(finished[0], folder)
    pruned = Graph.load(folder / "graphs" / "half.passes")
    Job(make_recipe({**RECIPE, "fine_tune": None}), folder, bars=False).run()
    assert fingerprint(Graph.load(folder / "graphs" / "half")) == fingerprint(pruned)


def test_nan_in_training_is_one_clear_sentence(tmp_path):
    recipe = make_recipe({**RECIPE, "train": {"epochs": 1, "learning_rate": 1e30}})
    with pytest.raises(HwoptError, match=r"lower the learning rate|learning_rate"):
        Job(recipe, tmp_path, bars=False).run()
    assert not (tmp_path / "results.json").exists()


@pytest.mark.slow
def test_an_artefact_that_differs_from_torch_is_never_measured(tmp_path, monkeypatch):
    job = Job(make_recipe(RECIPE), tmp_path, bars=False)
    monkeypatch.setattr("hwopt.job.check.TOLERANCE", -1.0)
    with pytest.raises(HwoptError, match="differs from torch"):
        job.run()
    assert not (tmp_path / "steps" / "measure.json").exists()


@pytest.mark.slow
def test_killed_at_random_moments_it_resumes_and_ends_with_the_same_figures(finished, tmp_path):
    """SIGKILL in the middle of anything: what is deterministic ends the same."""
    _, expected, _ = finished
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps(RECIPE))
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "hwopt.cli.main", "optimize", recipe, "--output", folder]
    moments = random.Random(0)
    kills = 0
    while kills < 3:
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        time.sleep(moments.uniform(4.0, 9.0))
        if process.poll() is not None:
            break
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
    assert kills >= 1
    subprocess.run(command, check=True, capture_output=True)
    results = read_json(folder / "results.json")
    for name, facts in expected["variants"].items():
        for key in ("quality", "macs", "parameters", "notes", "passes"):
            assert results["variants"][name][key] == facts[key], (name, key)
    assert not list(folder.rglob("*.part"))


def test_a_model_that_does_not_fit_the_data_is_refused(tmp_path):
    recipe = make_recipe({**RECIPE, "model": "autoencoder", "model_options": {}})
    with pytest.raises(HwoptError, match="autoencoder"):
        Job(recipe, tmp_path, bars=False).run()
    recipe = make_recipe({**RECIPE, "input_shape": [1, 64, 64]})
    with pytest.raises(
        HwoptError, match="takes 1x64x64 float32 as input, but samples of digits are 1x28"
    ):
        Job(recipe, tmp_path, bars=False).run()
    assert not (tmp_path / "graphs").exists()


def test_photos_become_as_large_as_the_model_takes_them(tmp_path):
    for split, colour in itertools.product(("train", "test"), (50, 200)):
        folder = tmp_path / "photos" / split / str(colour)
        folder.mkdir(parents=True)
        for number in range(12):
            Image.new("RGB", (40, 30), (colour, number, 0)).save(folder / f"{number}.png")
    recipe = {**RECIPE, "data": str(tmp_path / "photos"), "input_shape": [3, 16, 16]}
    job = Job(make_recipe({**recipe, "variants": {"dense": ""}}), tmp_path / "run", bars=False)
    assert job.data.input_shape == (3, 16, 16)
    assert job.trained()[0].inputs["input"].at() == (1, 3, 16, 16)


@pytest.mark.slow
def test_passes_get_training_batches_and_latency_on_the_target(finished, tmp_path):
    job = Job(make_recipe({**RECIPE, "train": None}), tmp_path / "run")
    context = job.context()
    sizes = [len(labels) for _, labels in context.batches()]
    assert sum(sizes) == len(job.data.train) and max(sizes) == 128
    assert next(iter(context.batches()))[0].shape[1:] == job.data.input_shape
    graph = Graph.load(finished[0] / "graphs" / "base")
    (latency,) = context.latency([graph])
    assert 0 < latency < 100


NETS = """
from torch import nn

def make():
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 10){more})
"""


def test_a_changed_model_of_the_users_own_is_not_taken_for_done(tmp_path, monkeypatch):
    recipe = make_recipe(
        {
            **{key: RECIPE[key] for key in ("data", "kernel_trials", "check_samples", "runs")},
            "model": "changing_nets:make",
            "peers": [],
        }
    )
    monkeypatch.syspath_prepend(tmp_path)
    macs = []
    for more in ("", ", nn.Linear(10, 10)"):
        (tmp_path / "changing_nets.py").write_text(NETS.format(more=more))
        sys.modules.pop("changing_nets", None)
        importlib.invalidate_caches()
        results = Job(recipe, tmp_path / "run", bars=False).run().to_json()
        macs.append(results["variants"]["dense"]["macs"])
    assert macs == [7840, 7940]
