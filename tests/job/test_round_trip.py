"""What was read, written out and read again is the same recipe, and leads to the same steps."""

import importlib
import json
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import hwopt
from hwopt import models, targets
from hwopt.data import load as load_data
from hwopt.errors import HwoptError
from hwopt.job import load_recipe, make_recipe
from hwopt.job.read_recipe import read_document
from hwopt.job.steps import Network
from hwopt.job.trainer import Trainer
from hwopt.job.variants import Variants, VariantSteps
from hwopt.job.workspace import Workspace
from hwopt.search.recipe import load_search, make_search
from hwopt.tasks import Classification

RECIPES = sorted((Path(__file__).parents[2] / "recipes").iterdir())
BENCHMARKS = ("kill_resume", "search_failures", "search_front", "search_ray")
TESTS = ("tests.job.test_job", "tests.job.test_compression", "tests.job.test_routed")


def optional(**keys):
    """Return dictionaries in which any of the keys are there."""
    return st.fixed_dictionaries({}, optional=keys)


def some(*values):
    return st.sampled_from(values)


PENALTY = st.fixed_dictionaries(
    {"strength": some(0, 0.5, 2)},
    optional={
        "form": some("cumulative", "proximal"),
        "grows": some("step", "epoch", None),
        "channels": st.booleans(),
    },
)
CONSTRAINTS = optional(sharpness=some(0.5, None), entropy_floor=some(1.0), strength=some(2.0))
TRAINING = optional(
    epochs=some(2, 4, 30),
    learning_rate=some(0.05, 1.0),
    optimizer=some("sgd", "adamw", "borat", "vcsg", "alig-plus"),
    optimizer_options=some({}, {"momentum": 0.5}),
    schedule=some("one-cycle", "constant"),
    label_smoothing=some(0.0, 0.1),
    augment=some("flip", None),
    penalty=PENALTY | st.none(),
    constraints=CONSTRAINTS | st.none(),
)
ROUTE = optional(
    expert=some("dense"),
    cut=some("stages.1"),
    router=some("learned", "entropy"),
    width=some(8, None),
    strength=some(0.5, None),
    only_router=st.booleans(),
    coverage=some(0.5),
    mean_ms=some(1.0),
)
VARIANT = optional(
    passes=some("", "prune-channels{ratio=0.5}", "prune-weights{ratio=0.5}", "binarize"),
    fine_tune=st.booleans(),
    rounds=some(1, 3),
    growth=some("cubic", "uniform", None),
    distill=optional(form=some("kl", "blocks"), layer=some("head", None)),
    align=optional(form=some("frobenius"), surviving=st.booleans()),
    binary=optional(method=some("bnew", "bop"), growth=some(3.0, None), frozen=some(1, None)),
    budget=optional(share=some(0.5), ms=some(1.0, None), every=some(1, 2)),
    route=ROUTE,
)
RECIPE = st.fixed_dictionaries(
    {"model": st.just("resnet8"), "data": st.just("digits"), "threads": st.just(1)},
    optional={
        "model_options": some({"width": 4}, {}),
        "input_shape": some([1, 28, 28], None),
        "train": TRAINING | st.none(),
        "fine_tune": TRAINING | st.none(),
        "task": some("classification", "segmentation{ignore=0}", "regression{by=r2}"),
        "no_worse": some("1%", 0.02, None),
        "kernel_trials": some(0, None),
        "peers": some([], ["torch"]),
        "runs": some(20, 500),
        "comparison_runs": some(20, None),
        "seed": some(0, 7),
    },
)
SEARCH = optional(
    space=some(["prune-channels"], ["binarize", "prune-channels{multiple=2}"]),
    only=some({}, {"prune-channels.stem": [1.0, 0.5]}),
    model_options=some({}, {"width": [4, 8]}),
    routes=st.lists(ROUTE, max_size=2),
    binary=optional(method=some("bnew", "bop"), growth=some(3.0, None)),
    sampler=some("guided", "tpe"),
    limits=optional(ms=some(1.0), quality=some(0.9, None), bytes=some(1000)),
    minimise=some([], ["bytes"]),
    first_epochs=some([], [1]),
    storage=some("sqlite:///a.db", None),
)


def again(recipe, make):
    """Return a recipe that was written as JSON and as YAML, and read."""
    dumped = recipe.model_dump(mode="json")
    assert make(yaml.safe_load(yaml.safe_dump(dumped))) == recipe
    return make(json.loads(json.dumps(dumped)))


@pytest.fixture(scope="module")
def steps_of(tmp_path_factory):
    """Return what lists the steps of a recipe's variants, with all that they depend on."""
    data = load_data("digits")
    work = Workspace(tmp_path_factory.mktemp("job"))
    graph = hwopt.import_model(models.create("resnet8", width=4), torch.zeros(1, 3, 32, 32))

    def steps(recipe):
        target = targets.get("x86-avx2", threads=1)
        variants = Variants(Trainer(recipe, work, data, Classification, target, threads=1))
        found = []
        for name, variant in recipe.variants.items():
            of_variant = VariantSteps(variants, name, variant).of(Network(graph, "key"))
            found += [(name, step.name, json.dumps(step.depends_on)) for step in of_variant]
            variants.made[name] = Network(graph, name)
        return found

    return steps


@pytest.mark.slow
@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)
@given(RECIPE, st.lists(VARIANT, max_size=3))
def test_a_generated_recipe_is_the_same_again(steps_of, document, variants):
    named = {"dense": {}, **{f"v{number}": one for number, one in enumerate(variants)}}
    try:
        recipe = make_recipe({**document, "variants": named})
    except HwoptError:
        assume(False)
    read = again(recipe, make_recipe)
    assert read == recipe
    assert steps_of(read) == steps_of(recipe) != []


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(RECIPE, SEARCH)
def test_a_generated_search_is_the_same_again(document, search):
    try:
        recipe = make_search({**document, "search": search})
    except HwoptError:
        assume(False)
    assert again(recipe, make_search) == recipe


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_the_recipes_that_ship_are_the_same_again(path, steps_of):
    if "search" in read_document(path):
        assert again(load_search(path), make_search) == load_search(path)
    else:
        recipe = load_recipe(path)
        assert again(recipe, make_recipe) == recipe
        assert steps_of(again(recipe, make_recipe)) == steps_of(recipe)


@pytest.mark.parametrize("name", [*(f"benchmarks.{name}" for name in BENCHMARKS), *TESTS])
def test_the_recipes_of_experiments_and_tests_are_the_same_again(name, steps_of):
    document = importlib.import_module(name).RECIPE
    make = make_search if "search" in document else make_recipe
    assert again(make(document), make) == make(document)
    if make is make_recipe:
        assert steps_of(again(make(document), make)) == steps_of(make(document))
