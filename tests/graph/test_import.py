from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from torch import nn

import hwopt
from tests.networks import (
    IMAGE,
    IMAGE_NETWORKS,
    Concat,
    Residual,
    SeveralOutputs,
    Tied,
    make,
    max_difference,
)


@pytest.mark.slow
@pytest.mark.parametrize("network", IMAGE_NETWORKS)
@pytest.mark.parametrize("batch", [1, 5])
def test_the_graph_computes_what_the_model_computes_at_any_batch_size(network, batch):
    model = make(network)
    graph = hwopt.import_model(model, torch.randn(1, *IMAGE))
    x = torch.randn(batch, *IMAGE)
    assert max_difference(model(x), graph.to_torch().eval()(x)) <= 1e-6


def test_golden_text(golden):
    graph = hwopt.import_model(make(Residual), torch.randn(1, *IMAGE))
    golden("residual.txt", graph.to_text())


def test_importing_leaves_the_mode_of_every_module_as_it_was():
    model = make(Residual).train()
    model.norm1.eval()
    hwopt.import_model(model, torch.randn(1, *IMAGE))
    assert model.training and model.stem_norm.training and not model.norm1.training


def test_importing_again_what_was_exported_gives_the_same_graph():
    graph = hwopt.import_model(make(Concat), torch.randn(1, *IMAGE), name="net")
    again = hwopt.import_model(graph.to_torch(), torch.randn(1, *IMAGE), name="net")
    assert again.to_text().replace("inputs_0", "x") == graph.to_text()


def test_batch_norm_and_dropout_follow_the_mode():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm2d(3, momentum=0.3)
            self.drop = nn.Dropout(0.5)

        def forward(self, x):
            return self.drop(self.norm(x))

    model = Net()
    module = hwopt.import_model(model, torch.randn(1, *IMAGE)).to_torch()
    x = torch.randn(16, *IMAGE) * 3 + 1
    torch.manual_seed(0)
    expected = model.train()(x)
    torch.manual_seed(0)
    assert torch.equal(module.train()(x), expected)
    assert torch.allclose(module.norm.running_var, model.norm.running_var)
    assert (expected == 0).float().mean() > 0.3
    assert max_difference(module.eval()(x), model.eval()(x)) <= 1e-6


def test_what_is_always_in_training_mode_stays_so():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm2d(3, track_running_stats=False)

        def forward(self, x):
            return nn.functional.dropout(self.norm(x), 0.5)

    graph = hwopt.import_model(Net(), torch.randn(1, *IMAGE))
    assert graph.nodes("dropout")[0].attributes["train"] is True
    result = graph.to_torch().eval()(torch.randn(8, *IMAGE) + 7)
    assert 0.4 < (result == 0).float().mean() < 0.6 and abs(result.mean()) < 0.1


def test_training_changes_the_module_and_not_the_graph():
    graph = hwopt.import_model(make(Residual), torch.randn(1, *IMAGE))
    before = {name: t.clone() for name, t in graph.parameters.items()}
    module = graph.to_torch()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    x, y = torch.randn(16, *IMAGE), torch.randint(0, 4, (16,))
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(module(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert all(torch.equal(graph.parameter(name), t) for name, t in before.items())
    trained = graph.with_weights_of(module)
    assert max_difference(trained.to_torch().eval()(x), module.eval()(x)) == 0


def test_training_the_model_after_its_import_leaves_the_graph():
    model = make(Residual)
    graph = hwopt.import_model(model, torch.randn(1, *IMAGE))
    before = {name: t.clone() for name, t in graph.parameters.items()}
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.add_(1)
    assert all(torch.equal(graph.parameter(name), t) for name, t in before.items())


def test_state_dict_has_the_names_of_the_model():
    model = make(Residual)
    module = hwopt.import_model(model, torch.randn(1, *IMAGE)).to_torch()
    own = {k for k in model.state_dict() if "num_batches_tracked" not in k}
    assert set(module.state_dict()) == own


def test_modules_may_have_any_name(tmp_path):
    names = ("block1-0", "a conv/ü", "a_conv__", "-")
    model = nn.Sequential(OrderedDict((name, nn.Conv2d(2, 2, 1)) for name in names))
    x = torch.randn(3, 2, 4, 4)
    graph = hwopt.import_model(model, x)
    weights = [name for name in graph.parameters if "weight" in name]
    assert weights == ["block1-0.weight", "a_conv__.weight", "a_conv__.weight_1", "_-.weight"]
    graph.save(tmp_path / "graph")
    again = hwopt.Graph.load(tmp_path / "graph")
    assert again.to_text() == graph.to_text()
    torch.testing.assert_close(again.to_torch()(x), model(x))


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3, "padding": "same", "dilation": 2},
        {"kernel_size": (4, 3), "padding": "same", "dilation": (1, 2)},
        {"kernel_size": 3, "padding": "valid", "stride": 2},
    ],
)
def test_padding_by_name_is_padding_by_numbers(options):
    model = nn.Conv2d(2, 3, **options)
    x = torch.randn(2, 2, 9, 9)
    graph = hwopt.import_model(model, x)
    assert {node.op for node in graph.nodes()} <= {"pad", "conv2d"}
    assert graph.macs() > 0
    assert max_difference(graph.to_torch()(x), model(x)) <= 1e-6


def test_shared_parameters_have_one_name_and_count_once():
    graph = hwopt.import_model(make(Tied), torch.randn(1, 6))
    assert graph.num_parameters() == 6 * 6 + 6 + 6
    module = graph.to_torch()
    module(torch.randn(3, 6)).sum().backward()
    assert len(list(module.parameters())) == 3


def test_several_inputs_and_outputs_and_the_same_value_twice():
    model = make(SeveralOutputs)
    inputs = (torch.randn(2, 6), torch.randn(2, 2))
    graph = hwopt.import_model(model, inputs)
    expected = model(*inputs)
    left, values, indices = graph.to_torch()(*inputs)
    assert torch.allclose(left, expected["left"])
    assert torch.allclose(values, expected["best"][0])
    assert torch.equal(indices, expected["best"][1])
    assert graph.spec(graph.outputs["best_1"]).dtype == "int64"
