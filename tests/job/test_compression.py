"""Recipes that compress while they train."""

from __future__ import annotations

import pytest
from torch import nn

import hwopt
from hwopt.errors import HwoptError
from hwopt.files import read_json
from hwopt.graph import Graph
from hwopt.job import Job, make_recipe
from hwopt.passes.layers import binary_weights

RECIPE = {
    "model": "resnet8",
    "model_options": {"width": 4},
    "data": "digits",
    "train": {"epochs": 2, "penalty": {"strength": 20.0}},
    "fine_tune": {"epochs": 2, "learning_rate": 0.05},
    "variants": {
        "dense": "",
        "rounds": {
            "passes": "prune-weights{ratio=0.8}",
            "rounds": 2,
            "growth": "cubic",
            "distill": {"form": "kl"},
            "align": {"strength": 0.1},
        },
        "zeros": "prune-weights{criterion=zero},condense",
        "bits": {"passes": "binarize", "binary": {"first_epochs": 1}, "distill": {"form": "kl"}},
        "coded": {"passes": "fold-batch-norm,share-codebook{bits=5}", "fine_tune": False},
    },
    "kernel_trials": 0,
    "check_samples": 50,
    "runs": 20,
    "comparison_runs": 20,
    "peers": ["onnxruntime"],
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("job") / "run"
    return folder, Job(make_recipe(RECIPE), folder, bars=False).run().to_json()


@pytest.mark.slow
def test_a_penalty_leaves_zeros_that_a_variant_keeps(finished):
    folder, results = finished
    base = Graph.load(folder / "graphs" / "train")
    zeros = 1 - base.num_nonzeros() / base.num_parameters()
    assert zeros > 0.05
    assert results["variants"]["zeros"]["zeros_masked"] > 0.05


def test_binary_layers_end_with_a_bit_a_weight(finished):
    folder, results = finished
    graph = Graph.load(folder / "graphs" / "bits")
    weights = binary_weights(graph)
    assert len(weights) == 6
    for name in weights:
        assert bool((graph.parameter(name).abs() == 1).all())
        assert name in graph.codebooks and not graph.is_trainable(name)
    assert any("binarize" in note for note in results["variants"]["bits"]["notes"])
    # Products of floats for the peer, which knows no bits.
    assert results["variants"]["bits"]["peers"]["onnxruntime"]["ratio"] > 0
    assert results["variants"]["bits"]["check"]["turned"] is not None
    kernels = hwopt.load(folder / "artifacts" / "bits").manifest.kernels
    assert sum(kernel.calls for kernel in kernels if kernel.binary) == len(weights)


def test_rounds_reach_the_ratio_and_leave_no_folder(finished):
    folder, results = finished
    graph = Graph.load(folder / "graphs" / "rounds")
    held = sum(int((~mask).count_nonzero()) for mask in graph.masks.values())
    total = sum(mask.numel() for mask in graph.masks.values())
    assert held / total == pytest.approx(0.8, abs=0.01)
    assert not list((folder / "checkpoints").glob("rounds-*"))
    assert any("of the weights are zero" in note for note in results["variants"]["rounds"]["notes"])


def test_the_report_says_that_zeros_alone_make_nothing_faster(finished):
    _, results = finished
    (note,) = [note for note in results["notes"] if note.startswith("rounds:")]
    ratio = results["variants"]["rounds"]["ratio_to_baseline"]
    assert f"takes {ratio:.2f} of the latency" in note and "zeros alone make nothing faster" in note


def test_codes_are_smaller_and_accurate(finished):
    folder, results = finished
    dense, coded = (results["variants"][name] for name in ("dense", "coded"))
    assert coded["quality"] > dense["quality"] - 0.1
    sizes = [
        (folder / "graphs" / name / "weights.safetensors").stat().st_size
        for name in ("train", "coded")
    ]
    assert sizes[1] < 0.4 * sizes[0]


def test_run_again_nothing_is_computed(finished):
    folder, results = finished
    steps = []
    again = Job(
        make_recipe(RECIPE), folder, report=lambda *step: steps.append(step), bars=False
    ).run()
    assert all(reused for _, reused in steps)
    assert again.to_json() == results == read_json(folder / "results.json")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": {"penalty": {"strength": -1}}}, "strength"),
        ({"train": {"penalty": {"strength": 1, "form": "l2"}}}, "form"),
        ({"variants": {"a": {"passes": "", "rounds": 0}}}, "rounds"),
        ({"variants": {"a": {"passes": "", "distill": {"share": 2}}}}, "share"),
        ({"variants": {"a": {"passes": "", "growth": "linear"}}}, "growth"),
        ({"variants": {"base": ""}}, "rename the variant"),
        ({"variants": {"a": {"passes": "", "rounds": 2, "fine_tune": False}}}, "not fine-tuned"),
        ({"variants": {"a": {"passes": "", "align": {}}}, "fine_tune": None}, "not fine-tuned"),
        ({"variants": {"a": {"passes": "", "binary": {"method": "sgd"}}}}, "method"),
        ({"variants": {"a": {"passes": "", "binary": {}, "rounds": 2}}}, "in one round"),
        ({"variants": {"a": {"passes": "", "distill": {}}}}, "not fine-tuned"),
        ({"variants": {"a": {"binary": {"frozen": 2}}}}, "2 are frozen"),
        ({"variants": {"a": {"binary": {"method": "bop", "growth": 3}}}}, "growth is of bnew"),
    ],
)
def test_bad_recipes_are_refused(changes, message):
    with pytest.raises(HwoptError, match=message) as error:
        make_recipe({**RECIPE, **changes})
    assert "\n" not in str(error.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variant", "message"),
    [
        ({"passes": "prune-channels", "binary": {}}, "variant odd: there is no binary layer"),
        ({"passes": "prune-channels", "distill": {"form": "blocks"}}, "variant odd: .* no block"),
        ({"passes": "prune-channels", "align": {}}, "variant odd: .* masked layers, and there are"),
        ({"passes": "prune-weights", "distill": {"layer": "nonsense"}}, "variant odd: .*nonsense"),
        ({"budget": {"share": 0.5}, "distill": {"form": "blocks"}}, "variant odd: .* no block"),
    ],
)
def test_what_a_variant_lacks_is_said_before_the_model_is_trained(variant, message, tmp_path):
    variants = {"dense": "", "odd": variant}
    recipe = make_recipe({**RECIPE, "variants": variants, "fine_tune": {"epochs": 4}})
    with pytest.raises(HwoptError, match=message):
        Job(recipe, tmp_path, bars=False).run()
    assert not list(tmp_path.rglob("*train*"))


def two_convolutions():
    layers = [nn.Conv2d(1, 32, 3), nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 32, 3), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))


@pytest.mark.alone
@pytest.mark.slow
def test_a_budget_is_met_while_training_and_the_job_says_so(tmp_path):
    recipe = RECIPE | {
        "model": "tests.job.test_compression:two_convolutions",
        "model_options": {},
        "threads": 1,
        "train": {"epochs": 2},
        "fine_tune": {"epochs": 4, "learning_rate": 0.05},
        "variants": {
            "dense": "",
            "fast": {"budget": {"share": 0.85, "widths": 3}},
            "never": {"budget": {"ms": 1e-6, "widths": 2}},
        },
    }
    results = Job(make_recipe(recipe), tmp_path / "run", bars=False).run().to_json()["variants"]
    assert results["fast"]["notes"][-1].endswith("ms: inside")
    assert results["fast"]["macs"] < results["dense"]["macs"]
    assert results["never"]["notes"][-1].endswith("of 1e-06 ms: missed")
    again = Job(make_recipe(recipe), tmp_path / "run", bars=False).run().to_json()["variants"]
    assert again["fast"] == results["fast"]
