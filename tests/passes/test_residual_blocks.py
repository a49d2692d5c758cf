"""What is a residual block, and which of them follow each other."""

import pytest
import torch
from torch import nn

import hwopt
from hwopt import models
from hwopt.graph import Value
from hwopt.passes.residual_blocks import residual_blocks, stages


def blocks_of(module, size=8):
    graph = hwopt.import_model(module.eval(), torch.zeros(1, 4, size, size))
    return residual_blocks(graph)


class Block(nn.Module):
    def __init__(self, forward):
        super().__init__()
        self.a, self.b = (nn.Conv2d(4, 4, 3, padding=1) for _ in range(2))
        self.run = forward

    def forward(self, x):
        return self.run(self, x)


def test_blocks_of_a_residual_network_with_their_shortcuts():
    graph = hwopt.import_model(models.create("resnet20"), torch.zeros(1, 3, 32, 32))
    found = residual_blocks(graph)
    assert len(found) == 9
    assert sum(block.is_identity for block in found) == 7
    assert [len(stage) for stage in stages(graph, found)] == [3, 2, 2]
    first = found[0]
    assert first.source == Value("stem.relu") and first.end == Value("stages.0.0.relu2")
    assert [graph.node(name).op for name in first.path] == [
        "conv2d",
        "batch_norm",
        "relu",
        "conv2d",
        "batch_norm",
    ]


def test_a_block_in_a_block_is_found_too():
    def nested(self, x):
        return x + self.b(torch.relu(x + self.a(x)))

    assert [block.is_identity for block in blocks_of(Block(nested))] == [True, True]


def test_blocks_of_other_kinds_are_other_stages():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = (nn.Conv2d(4, 4, 3, padding=1) for _ in range(3))

        def forward(self, x):
            x = x + self.a(x)
            x = x + torch.relu(self.b(x))
            return x + torch.relu(self.c(x))

    graph = hwopt.import_model(Two(), torch.zeros(1, 4, 8, 8))
    assert [len(stage) for stage in stages(graph, residual_blocks(graph))] == [1, 2]


def test_a_path_that_something_else_reads_is_no_block():
    def leaking(self, x):
        y = self.a(x)
        return torch.relu(x + y) * y.mean()

    assert blocks_of(Block(leaking)) == []


def test_a_sum_without_layers_between_is_no_block():
    assert blocks_of(Block(lambda self, x: self.b(x + torch.relu(x)))) == []


def test_a_second_input_into_the_path_is_no_block():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Conv2d(4, 4, 3, padding=1)

        def forward(self, x, y):
            return x + self.a(x * y)

    images = torch.zeros(1, 4, 8, 8)
    assert residual_blocks(hwopt.import_model(Two(), (images, images))) == []


def test_attention_to_channels_belongs_to_the_path():
    def excited(self, x):
        y = self.a(x)
        return x + y * torch.sigmoid(self.b(y.mean((2, 3), keepdim=True)))

    (block,) = blocks_of(Block(excited))
    assert len(block.path) == 5


class ThreeBlocks(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(4, 4, 3, padding=1) for _ in range(3))

    def forward(self, x):
        features = []
        for layer in self.layers:
            x = x + layer(x)
            features.append(x)
        return features


class ReadBetween(ThreeBlocks):
    def forward(self, x):
        _, second, last = super().forward(x)
        return last * second.mean((2, 3), keepdim=True)


class ResultBetween(ThreeBlocks):
    def forward(self, x):
        first, _, last = super().forward(x)
        return last, first


@pytest.mark.parametrize(("model", "lengths"), [(ReadBetween, [2, 1]), (ResultBetween, [1, 2])])
def test_a_stage_ends_where_something_else_reads(model, lengths):
    graph = hwopt.import_model(model(), torch.zeros(1, 4, 8, 8))
    assert [len(stage) for stage in stages(graph, residual_blocks(graph))] == lengths


def test_a_block_with_a_result_of_the_graph_inside_is_no_block():
    class Inside(Block):
        def forward(self, x):
            y = self.a(x)
            return x + torch.relu(y), y

    assert blocks_of(Inside(None)) == []
