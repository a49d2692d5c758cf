from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from torch import nn

import hwopt
from hwopt.errors import HwoptError
from hwopt.graph import Batch
from tests.networks import (
    IMAGE,
    IMAGE_NETWORKS,
    Attention,
    Concat,
    Residual,
    SeveralOutputs,
    Tied,
    make,
    max_difference,
)


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


def test_symbolic_sizes_become_multiples_of_the_batch():
    graph = hwopt.import_model(make(Attention), torch.randn(1, *IMAGE))
    sizes = [d for node in graph.nodes() for d in node.output.shape]
    assert Batch() in sizes and graph.inputs["x"].shape[0] == Batch()


def test_a_model_that_fixes_its_batch_size_is_imported_with_it():
    class Fixed(nn.Module):
        def forward(self, x):
            return x.reshape(4, 6).sum(1)

    graph = hwopt.import_model(Fixed(), torch.randn(2, 12))
    assert graph.inputs["x"].shape == (2, 12)
    assert graph.to_torch()(torch.ones(2, 12)).tolist() == [6.0] * 4


def test_writing_into_a_view_is_imported_correctly():
    class Net(nn.Module):
        def forward(self, x):
            y = x * 2
            y[:, 0] += 1
            view = y.view(-1)
            y.mul_(3)
            return view.reshape(x.shape) + y

    x = torch.randn(2, 6)
    graph = hwopt.import_model(Net(), x)
    assert max_difference(graph.to_torch()(x), Net()(x)) <= 1e-6


def test_a_model_that_writes_into_its_input_has_its_own_outputs_only():
    model = nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(3, 4, 3)).eval()
    graph = hwopt.import_model(model, torch.randn(1, *IMAGE))
    assert list(graph.outputs) == ["output"]
    x = torch.randn(2, *IMAGE)
    assert max_difference(model(x.clone()), graph.to_torch().eval()(x)) <= 1e-6


@pytest.mark.parametrize(
    ("dynamic", "message"),
    [
        ({0: "batch", 2: "height"}, "'x': dimension 2 is dynamic"),
        ({2: "height"}, "'x': dimension 2 is dynamic"),
    ],
)
def test_only_the_batch_size_of_a_program_may_be_dynamic(dynamic, message):
    class Pointwise(nn.Module):
        def forward(self, x):
            return torch.relu(x)

    shapes = {"x": {axis: torch.export.Dim(name) for axis, name in dynamic.items()}}
    program = torch.export.export(Pointwise(), (torch.randn(2, 3, 8, 8),), dynamic_shapes=shapes)
    with pytest.raises(HwoptError, match=message):
        hwopt.import_model(program)


def test_inputs_with_batch_sizes_of_their_own_are_refused():
    class Both(nn.Module):
        def forward(self, x, y):
            return torch.relu(x), torch.relu(y)

    shapes = {name: {0: torch.export.Dim(f"batch_{name}")} for name in "xy"}
    inputs = (torch.randn(2, 3), torch.randn(4, 3))
    program = torch.export.export(Both(), inputs, dynamic_shapes=shapes)
    with pytest.raises(HwoptError, match="'y': dimension 0 is dynamic"):
        hwopt.import_model(program)


def test_exported_program_and_pt2_file(tmp_path):
    model, x = make(Residual), torch.randn(1, *IMAGE)
    program = torch.export.export(model, (x,))
    torch.export.save(program, tmp_path / "net.pt2")
    for source in (program, tmp_path / "net.pt2"):
        assert max_difference(hwopt.import_model(source).to_torch().eval()(x), model(x)) <= 1e-6


def test_a_program_stays_as_its_owner_made_it(tmp_path):
    class InPlace(nn.Module):
        def forward(self, x):
            return (x + 1).relu_()

    program = torch.export.export(InPlace(), (torch.randn(2, 3),))
    before = str(program.graph)
    hwopt.import_model(program)
    assert str(program.graph) == before
    with pytest.raises(HwoptError, match="those that it was exported with: give none"):
        hwopt.import_model(program, torch.randn(2, 3))


def test_onnx_file(tmp_path):
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weight = torch.randn(4, 3, 3, 3)
    node = helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1], kernel_shape=[3, 3])
    graph = helper.make_graph(
        [node, helper.make_node("Relu", ["c"], ["y"])],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4, 8, 8])],
        [numpy_helper.from_array(weight.numpy(), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, tmp_path / "net.onnx")
    imported = hwopt.import_model(tmp_path / "net.onnx")
    again = hwopt.import_model(tmp_path / "net.onnx", next(iter(imported.example_inputs(2))))
    assert again.to_text() == imported.to_text()
    x = torch.randn(1, 3, 8, 8)
    expected = torch.relu(nn.functional.conv2d(x, weight, padding=1))
    assert max_difference(imported.to_torch().eval()(x), expected) <= 1e-5
    assert [n.op for n in imported.nodes()] == ["conv2d", "relu"]


def test_a_model_that_cannot_be_exported_names_the_line():
    class Branches(nn.Module):
        def forward(self, x):
            if x.sum() > 0:
                return x
            return -x

    with pytest.raises(HwoptError, match=r"test_import.py:\d+ \(if x.sum\(\) > 0") as error:
        hwopt.import_model(Branches(), torch.randn(2, 3))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "name", ["missing.pt2", "damaged.pt2", "damaged.onnx", "other.txt", "a.pt"]
)
def test_bad_files_are_refused_in_one_sentence(tmp_path, name):
    path = tmp_path / name
    if not name.startswith("missing"):
        path.write_bytes(b"not a model")
    with pytest.raises(HwoptError) as error:
        hwopt.import_model(path)
    assert "\n" not in str(error.value) and name in str(error.value)


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_torch_script_is_one_sentence():
    script = torch.jit.trace(nn.Linear(2, 3), torch.zeros(1, 2))
    with pytest.raises(HwoptError, match="TorchScript is not read"):
        hwopt.import_model(script, torch.zeros(1, 2))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.squeeze(0) * 2,
        lambda x: x.squeeze() * 2,
        lambda x: x.squeeze((0, 1)) * 2,
        lambda x: x.squeeze(),
    ],
)
def test_a_batch_of_one_that_is_squeezed_away(function):
    """With an example of one the batch is fixed; with one of two it is never taken away."""

    class Squeezed(nn.Module):
        def forward(self, x):
            return function(x)

    one, two = torch.randn(1, 1, 4, 5), torch.randn(2, 1, 4, 5)
    fixed = hwopt.import_model(Squeezed(), one)
    assert next(iter(fixed.inputs.values())).shape[0] == 1
    assert torch.equal(hwopt.compile(fixed, one, kernel_trials=0)(one), function(one))
    free = hwopt.import_model(Squeezed(), two)
    assert "[N, 1, 4, 5]" in free.to_text()
    assert torch.equal(free.to_torch()(two), function(two))
    assert torch.equal(hwopt.compile(free, one, kernel_trials=0)(two[:1]), function(two)[:1])
