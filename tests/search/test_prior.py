import pytest
import torch
from torch.utils.data import Subset

import hwopt
from hwopt import data, models, train
from hwopt.errors import HwoptError
from hwopt.passes import Context
from hwopt.search.prior import prior
from hwopt.search.space import Space

WIDTH = "prune-channels.stages.2.conv1"


@pytest.fixture(scope="module")
def graph():
    model = models.create("resnet8", input_shape=(1, 8, 8), num_classes=10, width=8)
    return hwopt.import_model(model, torch.zeros(1, 1, 8, 8))


def size(graph):
    return sum(tensor.numel() for tensor in graph.parameters.values())


class Shares:
    """Shares of the parameters, and how often they were asked for."""

    def __init__(self, graph):
        self.graph, self.asked = graph, []

    def __call__(self, graphs):
        self.asked.append(len(graphs))
        return [size(graph) / size(self.graph) for graph in graphs]


def loss(graph):
    return train.evaluate(graph.to_torch(), Subset(data.load("digits").train, range(64))).loss


def known(graph, space, shares):
    return prior(space, lambda text: hwopt.apply(graph, text), shares, loss)


@pytest.mark.slow
def test_every_choice_is_applied_by_itself_and_latencies_are_asked_for_together(graph):
    space = Space.of(graph, ["prune-channels{multiple=4}"], Context(), levels=4)
    shares = Shares(graph)
    found = known(graph, space, shares)
    assert found.space == space
    assert sum(shares.asked) == sum(len(values) - 1 for values in space.dimensions.values())
    for name, values in space.dimensions.items():
        first, *others = found.table[name]
        assert (first.channels, first.latency, first.importance) == (len(values), 1.0, 0.0)
        assert others[-1].channels == 1 and others[-1].latency < 1
        for value, width in zip(values[1:], others, strict=True):
            alone = hwopt.apply(graph, space.text({**space.unchanged, name: value}))
            assert width.latency == size(alone) / size(graph)
            assert width.importance == pytest.approx(loss(graph) - loss(alone))


def test_many_choices_are_asked_for_in_parts(graph):
    choices = tuple(n / 64 for n in range(64, 44, -1))
    space = Space.of(graph, ["prune-channels{multiple=1}"], Context(), only={WIDTH: [0.5]})
    shares = Shares(graph)
    found = known(graph, Space(space.passes, {WIDTH: choices}), shares)
    assert shares.asked == [8, 8, 3]
    assert len(found.table[WIDTH]) == len(choices)


def test_what_a_pass_refuses_is_no_choice(graph):
    space = Space.of(graph, ["prune-channels{multiple=4}"], Context(), levels=2)
    refused = {WIDTH: (1.0, -0.5, 0.5), "prune-channels.stem.conv": (1.0, -0.5)}
    found = known(graph, Space(space.passes, refused), Shares(graph))
    assert found.space.dimensions == {WIDTH: (1.0, 0.5)}
    assert [width.channels for width in found.table[WIDTH]] == [2, 1]
    with pytest.raises(HwoptError, match="there is nothing to choose"):
        known(graph, Space(space.passes, {WIDTH: (1.0, -0.5)}), Shares(graph))
