import pytest
import torch

import hwopt
from hwopt import models
from hwopt.errors import HwoptError
from hwopt.passes import Context, parse
from hwopt.search.space import Space


@pytest.fixture(scope="module")
def graph():
    model = models.create("resnet8", input_shape=(1, 12, 12), num_classes=3, width=8)
    return hwopt.import_model(model, torch.zeros(1, 1, 12, 12))


def space_of(graph, *passes, **options):
    return Space.of(graph, passes, Context(), **options)


def test_every_group_has_its_widths_and_every_other_pass_its_candidates(graph):
    space = space_of(graph, "prune-channels{multiple=4}", "share-codebook", levels=4)
    assert space.dimensions["prune-channels.stem.conv"] == (1.0, 0.5)
    assert space.dimensions["prune-channels.stages.2.conv1"] == (1.0, 0.75, 0.5, 0.25)
    nothing, *texts = space.dimensions["share-codebook"]
    assert nothing == "" and texts and all(str(parse(text)[0]) == text for text in texts)
    assert space.text(space.unchanged) == ""
    assert space.size == len(list(space.points()))


def test_a_point_is_what_its_passes_make(graph):
    space = space_of(graph, "prune-channels{multiple=4}", "share-codebook", levels=4)
    codebook = space.dimensions["share-codebook"][1]
    point = {**space.unchanged, "prune-channels.stages.2.conv1": 0.25, "share-codebook": codebook}
    text = space.text(point)
    assert text == f"prune-channels{{ratio=0.0,ratios=[stages.2.conv1:0.75],multiple=4}},{codebook}"
    narrow = hwopt.apply(graph, text)
    before = graph.parameter("stages.2.conv1.weight").shape[0]
    assert narrow.parameter("stages.2.conv1.weight").shape[0] == before // 4
    assert narrow.parameter("stem.conv.weight").shape == graph.parameter("stem.conv.weight").shape
    assert narrow.codebooks


def test_neighbours_are_one_step_away(graph):
    space = space_of(graph, "prune-channels{multiple=4}", levels=4)
    found = list(space.neighbours(space.unchanged))
    assert len(found) == len(space.dimensions)
    assert all(sum(p[n] != space.unchanged[n] for n in p) == 1 for p in found)


def test_users_restrict_it(graph):
    name = "prune-channels.stages.2.conv1"
    space = space_of(graph, "prune-channels{multiple=4}", levels=4, only={name: [0.5]})
    assert space.dimensions[name] == (1.0, 0.5)
    one = {other: [1.0] for other in space.dimensions if other != name}
    only = space_of(graph, "prune-channels{multiple=4}", levels=4, only=one)
    assert list(only.dimensions) == [name]


@pytest.mark.parametrize(
    ("passes", "options", "message"),
    [
        (["prune-channels", "prune-channels"], {}, "has prune-channels twice"),
        (["fold-batch-norm{}", "no-such-pass"], {}, "unknown pass 'no-such-pass'"),
        (["prune-channels"], {"only": {"prune-channels.stm": [1.0]}}, "'prune-channels.stem.conv'"),
        (["prune-channels"], {"only": {"prune-channels.stem.conv": [0.3]}}, "0.3 is no value of"),
        (["prune-channels{multiple=1000}"], {}, "there is nothing to choose"),
    ],
)
def test_what_cannot_be_is_one_sentence(graph, passes, options, message):
    with pytest.raises(HwoptError, match=message):
        space_of(graph, *passes, **options)


def test_a_point_of_another_space_has_a_nearest_one(graph):
    space = space_of(graph, "prune-channels{multiple=4}", levels=4)
    name = "prune-channels.stages.2.conv1"
    found = space.nearest({name: 0.6, "prune-channels.stem.conv": 0.1, "other": "x"})
    assert found == {**space.unchanged, name: 0.5, "prune-channels.stem.conv": 0.5}


@pytest.mark.parametrize(("width", "multiple"), [(12, 1), (24, 8), (28, 4)])
def test_shares_that_are_no_short_numbers(width, multiple):
    net = torch.nn.Sequential(
        torch.nn.Conv2d(1, width, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.LazyLinear(2)
    )
    net(torch.zeros(1, 1, 4, 4))
    graph = hwopt.import_model(net, torch.zeros(1, 1, 4, 4))
    space = space_of(graph, f"prune-channels{{multiple={multiple}}}", levels=width)
    for share in space.dimensions["prune-channels.0"][1:]:
        narrow = hwopt.apply(graph, space.text({"prune-channels.0": share}))
        assert narrow.parameter("0.weight").shape[0] == round(share * width)
