"""What is imported: programs, files, models that write into their inputs, and what is refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import hwopt
from hwopt.errors import HwoptError
from hwopt.graph import Batch
from tests.networks import (
    IMAGE,
    Attention,
    Residual,
    make,
    max_difference,
)


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

    with pytest.raises(HwoptError, match=r"test_import_sources.py:\d+ \(if x.sum\(\) > 0") as error:
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
