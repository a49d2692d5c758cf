import pytest

from hwopt.errors import HwoptError
from hwopt.job import load_recipe
from hwopt.search.recipe import load_search, make_search
from tests.search.studies import RECIPE, changed


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (
            changed(sampler="guide"),
            "search.sampler: unknown sampler 'guide': did you mean 'guided'",
        ),
        (changed(trails=3), "unknown key 'trails': did you mean 'trials'.* in search"),
        (changed(limits={"sm": 1}), "unknown key 'sm': did you mean 'ms'.* in search.limits"),
        ({**RECIPE, "search": 5}, "search must hold keys and values"),
        (changed(space=["prune-chanels"]), "search: space: unknown pass 'prune-chanels'"),
        (changed(space=["prune-to-latency"]), "prune-to-latency measures while others are"),
        (changed(routes=[{"expert": "large"}]), "the expert 'large' is no folder, .* are dense"),
        (
            changed(routes=[{"expert": "dense", "mean_ms": 1}]),
            "mean_ms would be measured while others are trained: wish for a coverage",
        ),
        (
            changed(routes=[{"expert": "dense", "coverage": 0.5, "quality": 0.9}]),
            "route is for coverage and quality: keep one",
        ),
        (
            changed(space=["binarize"], binary={"frozen": 1}),
            "of 1 epochs of fine_tune 1 are frozen",
        ),
        (
            {**changed(binary={"frozen": 2}, first_epochs=[2]), "fine_tune": {"epochs": 4}},
            "of 2 epochs of fine_tune 2 are frozen",
        ),
        (changed(model_options={"depth": [2]}), "own model_options must give the depth before"),
        (
            {**changed(model_options={"width": [8]}), "train": None},
            "other models have no weights: train must say how",
        ),
        (
            changed(limits={"quality": "much"}),
            "search.limits.quality: Input should be a valid number",
        ),
        (changed(limits={"ms": 0}), "search.limits.ms: Input should be greater than 0"),
        (changed(first_epochs=[1]), "first_epochs must rise, and end below the 1 of fine_tune"),
        ({**RECIPE, "fine_tune": None}, "fine_tune must describe how"),
        ({**RECIPE, "modl": "x"}, "unknown key 'modl': did you mean 'model'"),
        (
            {**RECIPE, "variants": {"a": ""}},
            "a search makes its own variants",
        ),
    ],
)
def test_a_wrong_key_or_value_is_one_clear_sentence(document, message):
    with pytest.raises(HwoptError, match=message) as raised:
        make_search(document, "recipe x.yaml")
    assert str(raised.value).startswith("recipe x.yaml: ")
    assert "\n" not in str(raised.value)


def test_a_file(tmp_path):
    path = tmp_path / "search.yaml"
    path.write_text("model: resnet8\ndata: digits\nsearch:\n  trials: 5\n")
    recipe = load_search(path)
    assert (recipe.model, recipe.search.trials) == ("resnet8", 5)
    assert recipe.search.space == ("prune-channels{multiple=0}",)
    with pytest.raises(HwoptError, match="has a part `search`: it is for `hwopt search`"):
        load_recipe(path)
