from __future__ import annotations

import json

import pytest

from hwopt.errors import HwoptError
from hwopt.job import changed_recipe, load_recipe, make_recipe

SMALL = {"model": "resnet8", "data": "digits"}


@pytest.mark.parametrize("name", ["r.yaml", "r.toml", "r.json"])
def test_three_file_formats(tmp_path, name):
    texts = {
        "r.yaml": "model: resnet8\ndata: digits\nvariants: {dense: }\n",
        "r.toml": 'model = "resnet8"\ndata = "digits"\nvariants = { dense = "" }\n',
        "r.json": json.dumps({**SMALL, "variants": {"dense": ""}}),
    }
    (tmp_path / name).write_text(texts[name])
    assert load_recipe(tmp_path / name) == make_recipe(SMALL)


def test_a_changed_recipe_is_checked_again():
    recipe = make_recipe(SMALL)
    assert changed_recipe(recipe, seed=3) == recipe.model_copy(update={"seed": 3})
    with pytest.raises(HwoptError, match="greater than or equal to 0"):
        changed_recipe(recipe, seed=-1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"variants": {"a": {"growth": "cubic"}}}, "variant a has growth, but one round"),
        (
            {
                "variants": {
                    "a": {
                        "passes": "substitute-global-layer",
                        "distill": {"form": "blocks", "layer": "x"},
                    }
                }
            },
            "finds its layers itself",
        ),
        (
            {"variants": {"a": {"passes": "prune-channels", "distill": {"form": "attention"}}}},
            "attention needs layers that read images",
        ),
        ({"variants": {"a": "take-pixels"}}, "changes what the model takes or returns"),
        ({"fine_tune": {"augment": "nope.nope:x"}}, "fine_tune: augmentation nope.nope:x: cannot"),
        ({"train": {"augment": "flipp"}}, "train.augment: .*did you mean 'flip'"),
        ({"limits": {"ms": 0}}, "limits.ms: .*greater than 0"),
        ({"modell": "x"}, "unknown key 'modell': did you mean 'model'"),
        ({"train": {"epoch": 3}}, "did you mean 'epochs'.* in train"),
        ({"train": {"epochs": -1}}, "train.epochs: .*greater than 0, not -1"),
        ({"train": {"optimizer": "sdg"}}, "train.optimizer: .*'sgd'"),
        ({"variants": {"a": {"pases": ""}}}, "did you mean 'passes'"),
        ({"variants": {"a": {"align": {"from": 1}}}}, "did you mean 'form'.* in variants.a.align"),
        ({"train": {"penalty": {"strenght": 1}}}, "did you mean 'strength'.* in train.penalty"),
        ({"variants": {"a": "prune-chanels"}}, "variant a: unknown pass.*did you mean"),
        ({"variants": {"a b": ""}}, "variant 'a b' must be"),
        ({"variants": {}}, "variants"),
        ({"train": {"constraints": {}}}, "train.constraints has no level"),
        ({"train": {"constraints": {"sharpnes": 1}}}, "did you mean 'sharpness'"),
        (
            {"fine_tune": {"constraints": {"sharpness": 1}, "optimizer": "alig-plus"}},
            "ALIGPlus needs the loss of every sample, which is not known with constraints",
        ),
        ({"train": {"constraints": {"sharpness": None}}}, "train.constraints has no level"),
        (
            {"fine_tune": {"optimizer_options": {"momentun": 0.5}}},
            "fine_tune: unknown option of sgd.*did you mean 'momentum'",
        ),
        (
            {"train": {"optimizer": "alig-plus", "epochs": 2}},
            "train: ALIGPlus: .*updates 1 to num_epochs, not .*5 of 2",
        ),
        (
            {"train": {"optimizer": "borat", "label_smoothing": 0, "learning_rate": 1e999}},
            "train: BORAT: max_lr must be finite",
        ),
        (
            {"train": {"optimizer_options": {"momentum": -1}}},
            "train: sgd refuses its options: Invalid momentum",
        ),
        ({"train": {"optimizer": "borat"}}, "train: BORAT needs a loss that can become 0"),
        ({"train": {"optimizer": "vcsg"}}, "train: VCSG chooses its step sizes"),
        (
            {
                "fine_tune": {"optimizer": "vcsg", "schedule": "constant"},
                "variants": {"a": {"budget": {"share": 0.5}}},
            },
            "fine_tune: VCSG does not go with budget",
        ),
        (
            {"train": {"penalty": {"strength": 1, "form": "proximal", "grows": "epoch"}}},
            "train.penalty: grows is of the cumulative form",
        ),
        ({"variants": {"a": {"budget": {}}}}, "a latency budget takes either ms or a share"),
        ({"variants": {"a": {"budget": {"ms": 1, "share": 0.5}}}}, "either ms or a share"),
        ({"variants": {"a": {"budget": {"ms": 1, "every": 9}}}}, "no round of 9 for the"),
        (
            {"variants": {"a": {"budget": {"ms": 1}, "rounds": 2}}},
            "budget does not go with rounds: leave one",
        ),
        ({"variants": {"a": {"budget": {"sahre": 1}}}}, "did you mean 'share'.* in variants.a.bud"),
        ({"kernel_trials": -1}, "kernel_trials"),
        ({"model": None}, "model"),
        ({"peers": ["onnxruntme"]}, "unknown peer.*did you mean 'onnxruntime'"),
    ],
)
def test_a_wrong_key_or_value_is_one_clear_sentence(change, message):
    with pytest.raises(HwoptError, match=message) as error:
        make_recipe({**SMALL, **change})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("r.yaml", "a: [", "cannot be parsed"),
        ("r.yaml", "- 1", "must hold keys and values"),
        ("r.yaml", "!!python/object/apply:os.system ['true']", "cannot be parsed"),
        ("r.toml", "a = ", "cannot be parsed"),
        ("r.yaml", "model: resnet8", "the key 'data' is missing"),
        ("r.yaml", None, "cannot be read"),
    ],
)
def test_bad_files(tmp_path, name, text, message):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(HwoptError, match=message):
        load_recipe(tmp_path / name)


@pytest.mark.parametrize(
    "training",
    [
        {"optimizer": "vcsg", "schedule": "constant", "optimizer_options": {"tolerance": 0.1}},
        {"optimizer": "alig-plus", "epochs": 10, "optimizer_options": {"momentum": 0.8}},
    ],
)
def test_options_of_optimizers_that_know_their_training(training):
    assert make_recipe({**SMALL, "train": training}).train.optimizer == training["optimizer"]
