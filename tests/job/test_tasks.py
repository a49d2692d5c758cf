"""Jobs for tasks that are no classification of one tensor."""

from __future__ import annotations

import pytest
import torch

import hwopt
from hwopt import data
from hwopt.errors import HwoptError
from hwopt.job import make_recipe
from tests.job import task_networks

HERE = "tests.job.task_networks"
COMMON = {
    "kernel_trials": 0,
    "check_samples": 50,
    "runs": 10,
    "comparison_runs": 10,
    "train": {"epochs": 6, "batch_size": 20, "learning_rate": 0.1, "label_smoothing": 0.0},
    "fine_tune": {"epochs": 3, "batch_size": 20, "learning_rate": 0.05, "label_smoothing": 0.0},
    "variants": {"dense": "", "half": "prune-channels{ratio=0.5,criterion=taylor}"},
    "peers": ["onnxruntime"],
}


@pytest.mark.slow
def test_ids_and_a_mask_by_name(tmp_path):
    recipe = {**COMMON, "model": f"{HERE}:Reader", "data": f"{HERE}:sentences"}
    results = hwopt.optimize(recipe, tmp_path)
    dense, half = results.variants["dense"], results.variants["half"]
    assert dense.quality > 0.85 and half.macs < dense.macs
    assert dense.low < dense.quality < dense.high and dense.worse_by is None
    assert dense.quality - half.quality <= half.worse_by < dense.high - half.low
    assert dense.check.same_answer == dense.check.samples == 50
    assert dense.peers["onnxruntime"].ratio > 0
    # Another order of names is the same input.
    given, _ = data.batch(task_networks.Sentences(20, 3), torch.arange(20))
    artifact = results.artifact("half")
    found = [
        artifact({"ids": ids[None], "mask": mask[None]})["output"].argmax()
        for ids, mask in zip(given["ids"], given["mask"], strict=True)
    ]
    expected = data.run_model(artifact.graph().to_torch(), given).argmax(1)
    assert torch.equal(torch.stack(found), expected)


@pytest.mark.slow
def test_two_outputs_are_imitated_without_labels(tmp_path):
    recipe = {
        **COMMON,
        "model": f"{HERE}:TwoHeads",
        "data": f"{HERE}:unlabelled",
        "task": "imitate{kinds=[classes,numbers]}",
        "train": None,
        "fine_tune": {"epochs": 8, "batch_size": 20, "learning_rate": 0.02},
        "variants": {"dense": "", "half": "prune-channels{ratio=0.4,criterion=taylor}"},
    }
    results = hwopt.optimize(recipe, tmp_path)
    dense, half = results.variants["dense"], results.variants["half"]
    assert results.metric.name == "agreement" and dense.quality == pytest.approx(1.0)
    assert 0.7 < half.low < half.quality < half.high < 1
    assert half.worse_by == pytest.approx(1 - half.low, abs=0.02)
    assert "| dense | 100.00 % (100.00–100.00) |" in results.table()
    with pytest.raises(HwoptError, match="is what is imitated: leave `train` out"):
        make_recipe({**recipe, "train": {"epochs": 1}})


@pytest.mark.slow
def test_pairs_are_fed_one_behind_the_other(tmp_path):
    recipe = {
        **COMMON,
        "model": f"{HERE}:embedder",
        "data": f"{HERE}:labelled_pairs",
        "task": "similarity",
    }
    results = hwopt.optimize(recipe, tmp_path)
    dense = results.variants["dense"]
    assert dense.quality > 0.5 and dense.test_samples == 50 and dense.check.samples == 100
    assert dense.check.same_answer is None


def test_of_errors_the_smaller_ones_are_better(tmp_path):
    recipe = {
        **COMMON,
        "model": f"{HERE}:regressor",
        "data": f"{HERE}:curve",
        "task": "regression{by=root-mean-square}",
        "variants": {
            "dense": "",
            "half": {"passes": "prune-channels{ratio=0.75}", "fine_tune": False},
        },
        "peers": [],
    }
    results = hwopt.optimize(recipe, tmp_path)
    dense, half = results.variants["dense"], results.variants["half"]
    assert dense.quality < 0.2 and half.quality > 1.05 * dense.quality
    assert half.worse_by >= half.quality - dense.quality > 0
    assert results.best == "dense"
    assert f"| dense | {dense.quality:.4g} (" in results.table()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "clasification"}, "did you mean 'classification'"),
        ({"task": "regression{by=median}"}, "by"),
        (
            {"train": {**COMMON["train"], "optimizer": "alig", "label_smoothing": 0.1,
                       "schedule": "constant"}},
            r"needs a loss that can become 0, but not with the task classification",
        ),
    ],
)  # fmt: skip
def test_a_recipe_with_a_wrong_task_is_refused_at_once(changes, message):
    recipe = {**COMMON, "model": f"{HERE}:Reader", "data": f"{HERE}:sentences", **changes}
    with pytest.raises(HwoptError, match=message):
        make_recipe(recipe)


def test_data_that_are_not_of_the_task_are_one_sentence(tmp_path):
    recipe = {**COMMON, "model": f"{HERE}:Reader", "data": f"{HERE}:sentences"}
    with pytest.raises(HwoptError, match="like the outputs"):
        hwopt.optimize({**recipe, "task": "regression"}, tmp_path / "regression")
    with pytest.raises(HwoptError, match="does not take the inputs"):
        hwopt.optimize({**recipe, "model": f"{HERE}:TwoHeads"}, tmp_path / "heads")
