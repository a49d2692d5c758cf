"""Block-wise distillation: substituted blocks learn to make what stood there before."""

import pytest
import torch
from torch.utils.data import TensorDataset

import hwopt
from hwopt import models, train
from hwopt.errors import HwoptError
from hwopt.job.recipe import Distillation, Training, Variant
from hwopt.job.trainer import make_terms
from hwopt.train import BlockDistillation, substituted_places


@pytest.fixture(scope="module")
def base():
    torch.manual_seed(0)
    model = models.create("resnet20", input_shape=(1, 8, 8), width=4)
    return hwopt.import_model(model.eval(), torch.zeros(1, 1, 8, 8))


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 1, 8, 8, generator=generator)
    return TensorDataset(x, torch.arange(64) % 10)


@pytest.mark.slow
def test_places_are_where_substituted_parts_are_read(base):
    layered = hwopt.apply(base, "substitute-global-layer")
    assert substituted_places(layered, base) == [
        (f"stages.{stage}.2.relu2", "self") for stage in range(3)
    ]
    interpolated = hwopt.apply(base, "substitute-spatial-interpolation{layers=[stages.0.1]}")
    assert substituted_places(interpolated, base) == [("stages.0.1", "self")]
    assert substituted_places(base, base) == []


def test_places_in_dense_stages_are_behind_what_is_put_together():
    class Dense(torch.nn.Module):
        def __init__(self):
            super().__init__()
            layers = [torch.nn.Conv2d(8 + 2 * i, 2, 3, padding=1) for i in range(4)]
            self.layers, self.last = torch.nn.ModuleList(layers), torch.nn.Conv2d(16, 3, 1)

        def forward(self, x):
            for layer in self.layers:
                x = torch.cat([x, torch.relu(layer(x))], 1)
            return self.last(x)

    graph = hwopt.import_model(Dense(), torch.zeros(1, 8, 6, 6))
    assert substituted_places(hwopt.apply(graph, "substitute-global-layer"), graph) == [
        ("last", "input")
    ]


def test_the_original_has_no_distance_to_itself(base, images):
    term = BlockDistillation(base.to_torch(), [("stages.0.2.relu2", "self")], share=1.0)
    module = base.to_torch().eval()
    term.start(module, 64)
    x = images.tensors[0]
    assert term.loss(torch.tensor(3.0), x, module(x), None).item() == 0
    term.finish()


@pytest.mark.slow
def test_substituted_parts_come_nearer_without_labels(base, images):
    graph = hwopt.apply(base, "substitute-global-layer")
    term = BlockDistillation(base.to_torch(), substituted_places(graph, base), share=1.0)
    module = graph.to_torch()
    options = {"epochs": 8, "batch_size": 16, "learning_rate": 0.05, "progress": False}
    history = train.fit(module, images, terms=[term], **options)
    losses = [stats.loss for stats in history.epochs]
    assert losses[-1] < 0.9 * losses[0]
    assert not any(layer._forward_pre_hooks for layer in module.modules())


def test_recipes_ask_for_it_by_form(base, images):
    graph = hwopt.apply(base, "substitute-global-layer")
    variant = Variant(distill=Distillation(form="blocks", share=0.9))
    (term,) = make_terms(Training(), graph, 64, variant, base)
    assert isinstance(term, BlockDistillation) and term.share == 0.9 and len(term.places) == 3


def test_what_cannot_be_distilled_is_said(base):
    with pytest.raises(HwoptError, match="no block to distil"):
        BlockDistillation(base.to_torch(), substituted_places(base, base))
    with pytest.raises(HwoptError, match=r"must be in \[0, 1\], not 2"):
        BlockDistillation(base.to_torch(), [("stem.conv", "input")], share=2)
    term = BlockDistillation(base.to_torch(), [("nowhere", "input")])
    with pytest.raises(HwoptError, match="no layer 'nowhere'"):
        term.start(base.to_torch(), 1)
