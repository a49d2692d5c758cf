"""Routed graphs: who answers, and what an artefact runs."""

import numpy as np
import pytest
import torch
from torch import nn

import hwopt
from hwopt import models, passes
from hwopt.errors import HwoptError
from hwopt.passes.route import Route, cut_points
from hwopt.passes.routing import RoutedValues, split, with_parts, with_threshold

SHAPE = (1, 28, 28)


def network(width):
    torch.manual_seed(width)
    model = models.create("resnet8", input_shape=SHAPE, width=width)
    return hwopt.import_model(model, torch.zeros(1, *SHAPE))


@pytest.fixture(scope="module")
def small():
    return network(4)


@pytest.fixture(scope="module")
def large():
    return network(8)


@pytest.fixture(scope="module")
def folder(large, tmp_path_factory):
    path = tmp_path_factory.mktemp("expert")
    large.save(path)
    return path


def outputs(graph, x):
    with torch.no_grad():
        return graph.to_torch().eval()(x)


def images(count):
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("router", ["learned", "entropy", "doubt"])
def test_rows_above_the_threshold_are_those_of_the_expert(router, small, large, folder):
    routed = hwopt.apply(small, f"route{{expert={folder},router={router}}}")
    x = images(40)
    easy, hard, score = outputs(with_parts(routed), x)
    assert torch.equal(easy, outputs(small, x)) and torch.equal(hard, outputs(large, x))
    threshold = float(score.quantile(0.5))
    answer = outputs(with_threshold(routed, threshold), x)
    assert torch.equal(answer, torch.where((score > threshold)[:, None], hard, easy))
    # With nothing above it all is as before; with all above it the expert alone answers.
    assert torch.equal(outputs(with_threshold(routed, float("inf")), x), easy)
    assert torch.equal(outputs(with_threshold(routed, float("-inf")), x), hard)


def test_an_exit_leaves_the_rest_of_the_network_to_the_others(large):
    points = cut_points(large)
    assert points == ["stem.relu", "stages.0.relu2", "stages.1.relu2"]
    instances = Route(router="entropy").candidates(large, passes.Context())
    assert [instance.cut for instance in instances] == points
    for point in points:
        routed = hwopt.apply(large, f"route{{cut={point},router=entropy,threshold=9}}")
        x = images(4)
        assert torch.equal(outputs(with_parts(routed), x)[1], outputs(large, x))
        assert torch.equal(outputs(routed, x), outputs(with_parts(routed), x)[0])


def test_an_expert_may_read_features_of_the_small_network(small):
    torch.manual_seed(0)
    rest = nn.Sequential(
        nn.Conv2d(4, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)
    )
    expert = hwopt.import_model(rest, torch.zeros(1, 4, 28, 28))
    result = Route(cut="stages.0.relu2", router="doubt").joined(small, expert, passes.Context())
    reads = [value for _, value in result.graph.node("expert.0").values()]
    assert [value.node for value in reads] == ["stages.0.relu2"]


def test_routed_graphs_are_saved_with_masks_and_codebooks(small, large, tmp_path):
    pruned = hwopt.apply(large, "prune-weights{ratio=0.5},share-codebook{bits=4}")
    routed = Route(router="entropy").joined(small, pruned, passes.Context()).graph
    routed.save(tmp_path)
    again = hwopt.Graph.load(tmp_path)
    assert again.to_text() == routed.to_text()
    assert len(again.masks) == len(pruned.masks) > 0
    assert {f"expert.{name}" for name in pruned.codebooks} == again.codebooks != set()


def test_channels_are_pruned_in_both_networks(small, large):
    routed = Route(router="learned").joined(small, large, passes.Context()).graph
    pruned = hwopt.apply(routed, "prune-channels{ratio=0.5}")
    for graph in (routed, pruned):
        assert RoutedValues.of(graph).threshold == 0.0
    assert pruned.macs() < 0.5 * routed.macs()
    small_convolution = "stages.1.conv1.weight"
    for name in (small_convolution, f"expert.{small_convolution}"):
        assert pruned.parameter(name).numel() < routed.parameter(name).numel()


def test_the_learned_router_reads_neither_the_expert_nor_the_label(small, large):
    import networkx

    routed = Route().joined(small, large, passes.Context()).graph
    before = networkx.ancestors(routed.to_networkx(), "route.asks")
    assert any(name.startswith("router.") for name in before)
    assert not any(name.startswith("expert.") for name in before)


@pytest.mark.slow
def test_an_artefact_takes_the_same_way(small, large):
    routed = Route(router="learned").joined(small, large, passes.Context()).graph
    x = images(64)
    *_, score = outputs(with_parts(routed), x)
    routed = with_threshold(routed, float(score.quantile(0.5)))
    artifact = hwopt.compile(routed, kernel_trials=0)
    found = np.concatenate([artifact(row[None].numpy()) for row in x])
    np.testing.assert_allclose(found, outputs(routed, x), rtol=0, atol=1e-5)
    conditional = {call.kernel for call in artifact.manifest.plan.calls if call.when}
    macs = sum(k.macs * k.calls for k in artifact.manifest.kernels if k.name in conditional)
    assert macs > 0.9 * large.macs()


@pytest.mark.slow
@pytest.mark.parametrize("text", ["route{cut=stages.0.relu2}", "route{expert=EXPERT}"])
def test_two_machines_give_what_one_does(text, small, folder):
    routed = hwopt.apply(small, text.replace("EXPERT", str(folder)))
    *_, score = outputs(with_parts(routed), images(12))
    routed = with_threshold(routed, float(score.quantile(0.5)))
    here, there = split(routed)
    assert here.macs() + there.macs() == routed.macs()
    assert here.num_parameters() + there.num_parameters() == routed.num_parameters()
    first, second = (hwopt.compile(half, kernel_trials=0) for half in (here, there))
    hard = 0
    for x in images(12).split(1):
        answer, asks, *handed = first(x)
        if asks:
            answer = second(*(handed or [x]))
            hard += 1
        torch.testing.assert_close(answer, outputs(routed, x), rtol=0, atol=1e-5)
    assert hard == 6


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("route", "give an expert.*or a cut, such as stem.relu, stages.0.relu2"),
        ("route{cut=stages.9}", "unknown node 'stages.9'"),
        ("route{expert=/nowhere}", "/nowhere"),
        ("route{router=random}", "router"),
        ("route{cut=stem.relu},route{cut=stem.relu}", "is routed already"),
    ],
)
def test_what_cannot_be_is_said_in_one_sentence(text, message, small):
    with pytest.raises(HwoptError, match=message):
        hwopt.apply(small, text)


def test_names_that_are_taken_are_refused(small):
    model = nn.Sequential()
    model.add_module("expert", nn.Linear(4, 8))
    model.add_module("last", nn.Linear(8, 3))
    graph = hwopt.import_model(model, torch.zeros(1, 4))
    with pytest.raises(HwoptError, match="has a part 'expert', a name that the pass route gives"):
        hwopt.apply(graph, "route{cut=expert,router=entropy}")


def test_a_job_knows_the_file_of_the_expert(folder):
    assert Route(expert=str(folder)).files == (folder / "graph.json",)
    assert folder.joinpath("graph.json").exists() and Route(cut="stem").files == ()


def test_an_expert_must_fit(small):
    other = models.create("resnet8", input_shape=(3, 32, 32))
    expert = hwopt.import_model(other, torch.zeros(1, 3, 32, 32))
    with pytest.raises(HwoptError, match=r"the expert reads f32.*has f32"):
        Route().joined(small, expert, passes.Context())
    with pytest.raises(HwoptError, match="has no router"):
        RoutedValues.of(small)
