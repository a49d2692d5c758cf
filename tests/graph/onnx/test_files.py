"""Whole files: names, weights, what is known, states, and what is refused."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

import hwopt
from hwopt.errors import HwoptError
from tests.graph.onnx.files import numbers, outputs_of, write

node = helper.make_node


def test_layers_keep_their_names_and_are_pruned(tmp_path):
    """As torch's exporter writes them: weights by name, products beside their sums."""
    weights = {
        "body.0.weight": numbers(8, 3, 3, 3),
        "body.0.bias": numbers(8, seed=1),
        "onnx::MatMul_7": numbers(8, 5, seed=2),
        "fc.bias": numbers(5, seed=3),
    }
    nodes = [
        node("Conv", ["image", "body.0.weight", "body.0.bias"], ["c"], name="/body/body.0/Conv"),
        node("Relu", ["c"], ["r"], name="/body/body.1/Relu"),
        node("GlobalAveragePool", ["r"], ["p"]),
        node("Flatten", ["p"], ["f"]),
        node("MatMul", ["f", "onnx::MatMul_7"], ["m"], name="/fc/MatMul"),
        node("Add", ["fc.bias", "m"], ["scores"], name="/fc/Add"),
    ]
    path = write(tmp_path / "net.onnx", nodes, {"image": ["N", 3, 8, 8]}, ["scores"], weights)
    graph = hwopt.import_model(path)
    assert [n.name for n in graph.nodes()][:2] == ["body.0", "body.1"]
    assert [n.op for n in graph.nodes()] == ["conv2d", "relu", "mean", "flatten", "linear"]
    assert graph.parameter("fc.weight").shape == (5, 8)
    assert list(graph.inputs) == ["image"] and list(graph.outputs) == ["scores"]
    assert "f32[N, 5]" in graph.to_text()
    pruned = hwopt.apply(graph, "prune-channels{ratio=0.5,multiple=1}")
    assert pruned.parameter("body.0.weight").shape[0] == 4
    outputs_of(graph, numbers(1, 3, 8, 8))


def test_weights_behind_constants_and_what_is_computed_of_them_are_weights(tmp_path):
    value = onnx.numpy_helper.from_array(numbers(5, 4))
    nodes = [
        node("Constant", [], ["w"], value=value),
        node("Transpose", ["w"], ["t"], perm=[1, 0]),
        node("Identity", ["t"], ["i"]),
        node("Gemm", ["x", "i", "b"], ["y"], alpha=2.0, beta=0.5),
    ]
    weights = {"b": numbers(5, seed=1)}
    graph = hwopt.import_model(write(tmp_path / "n.onnx", nodes, {"x": [3, 4]}, ["y"], weights))
    (linear,) = graph.nodes()
    assert linear.op == "linear" and len(graph.parameters) == 2
    x = numbers(3, 4, seed=2)
    (found,) = outputs_of(graph, x)
    expected = 2 * x @ numbers(5, 4).T + 0.5 * weights["b"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_sizes_are_computed_while_importing_and_the_batch_stays_free(tmp_path):
    nodes = [
        node("Shape", ["x"], ["s"]),
        node("Gather", ["s", "zero"], ["n"], axis=0),
        node("Unsqueeze", ["n", "axes"], ["n1"]),
        node("Concat", ["n1", "rest"], ["shape"], axis=0),
        node("Reshape", ["x", "shape"], ["y"]),
    ]
    whole = {"zero": np.int64(0), "axes": np.array([0]), "rest": np.array([-1, 2])}
    path = write(tmp_path / "n.onnx", nodes, {"x": ["batch", 6]}, ["y"], whole)
    graph = hwopt.import_model(path)
    assert [n.op for n in graph.nodes()] == ["reshape"]
    assert graph.to_torch()(torch.zeros(5, 6)).shape == (5, 3, 2)


def test_a_condition_on_a_constant_leaves_one_branch(tmp_path):
    def branch(name, op):
        value = helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4])
        return helper.make_graph([node(op, ["x"], [name])], name, [], [value])

    nodes = [
        node("Equal", ["rate", "fast"], ["is_fast"]),
        node(
            "If", ["is_fast"], ["y"], then_branch=branch("a", "Exp"), else_branch=branch("b", "Neg")
        ),
    ]
    inputs = {"x": [1, 4], "rate": ("int64", [])}
    path = write(tmp_path / "n.onnx", nodes, inputs, ["y"], {"fast": np.int64(16000)})
    graphs = [hwopt.import_model(path, constants={"rate": rate}) for rate in (16000, 8000)]
    assert [[n.op for n in g.nodes()] for g in graphs] == [["exp"], ["neg"]]
    assert list(graphs[0].inputs) == ["x"]
    with pytest.raises(HwoptError, match="a condition that depends on an input of the model"):
        hwopt.import_model(path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_recurrent_layers_with_states(tmp_path, kind, direction):
    import onnxruntime

    both, gates = (2 if direction == "bidirectional" else 1), {"LSTM": 4, "GRU": 3, "RNN": 1}[kind]
    states = ["h", "c"] if kind == "LSTM" else ["h"]
    results = ["y", "hn", "cn"][: 1 + len(states)]
    options = {"linear_before_reset": 1} if kind == "GRU" else {}
    nodes = [
        node(
            kind,
            ["x", "w", "r", "b", "", *states],
            results,
            hidden_size=6,
            direction=direction,
            **options,
        )
    ]
    inputs = {"x": [5, 2, 3], **{name: [both, 2, 6] for name in states}}
    weights = {
        "w": numbers(both, gates * 6, 3),
        "r": numbers(both, gates * 6, 6, seed=1) * 0.3,
        "b": numbers(both, 2 * gates * 6, seed=2),
    }
    path = write(tmp_path / "n.onnx", nodes, inputs, results, weights)
    arrays = [numbers(*shape, seed=3 + n) for n, shape in enumerate(inputs.values())]
    session = onnxruntime.InferenceSession(path)
    expected = session.run(None, dict(zip(inputs, arrays, strict=True)))
    graph = hwopt.import_model(path)
    assert sum(n.op == "recurrent" for n in graph.nodes()) == both
    for one, other in zip(outputs_of(graph, *arrays), expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("axes", [None, [0], [1]])
def test_a_batch_of_one_is_squeezed_as_the_file_says(tmp_path, axes):
    import onnxruntime

    names, weights = (["x"], {}) if axes is None else (["x", "axes"], {"axes": np.array(axes)})
    nodes = [node("Squeeze", names, ["s"]), node("Relu", ["s"], ["y"])]
    path = write(tmp_path / "n.onnx", nodes, {"x": ["n", 1, 3]}, ["y"], weights)
    x = numbers(1, 1, 3)
    (expected,) = onnxruntime.InferenceSession(path).run(None, {"x": x})
    (found,) = outputs_of(hwopt.import_model(path), x)
    assert found.shape == expected.shape


def test_examples_of_another_batch_than_the_file_says(tmp_path):
    path = write(tmp_path / "n.onnx", [node("Relu", ["x"], ["y"])], {"x": [1, 3, "h"]}, ["y"])
    graph = hwopt.import_model(path, torch.zeros(2, 3, 5))
    assert "[N, 3, 5]" in graph.to_text()
    with pytest.raises(HwoptError, match="the example"):
        hwopt.import_model(path, torch.zeros(2, 4, 5))


def test_two_inputs_by_name_and_dimensions_by_theirs(tmp_path):
    inputs = {"a": [1, "length"], "b": [1, "length"]}
    path = write(tmp_path / "n.onnx", [node("Add", ["a", "b"], ["y"])], inputs, ["y"])
    graph = hwopt.import_model(path, dims={"length": 7})
    assert [spec.at()[1] for spec in graph.inputs.values()] == [7, 7]
    graph = hwopt.import_model(path, {"b": torch.zeros(1, 3), "a": torch.zeros(1, 3)})
    assert list(graph.inputs) == ["a", "b"]


def test_tensors_in_a_file_of_their_own(tmp_path):
    nodes, weights = [node("Mul", ["x", "w"], ["y"])], {"w": numbers(4, 300)}
    path = write(tmp_path / "n.onnx", nodes, {"x": [4, 300]}, ["y"], weights)
    whole = hwopt.import_model(path)
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="n.bin", size_threshold=0)
    assert (tmp_path / "n.bin").exists()
    again = hwopt.import_model(path)
    assert torch.equal(*(next(iter(g.parameters.values())) for g in (whole, again)))
    (tmp_path / "n.bin").unlink()
    with pytest.raises(HwoptError, match="cannot be read as an ONNX model"):
        hwopt.import_model(path)


@pytest.mark.parametrize(
    ("nodes", "opset", "options", "message"),
    [
        ([node("NonZero", ["x"], ["y"])], 17, {}, "NonZero of 'y': how much it returns depends on"),
        (
            [node("Bernoulli", ["x"], ["y"])],
            17,
            {},
            "Bernoulli of 'y': this operator of version 17",
        ),
        ([node("Relu", ["x"], ["y"])], 6, {}, "version 6 of ONNX's operators"),
        ([node("Relu", ["x"], ["y"])], 17, {"constants": {"z": 1}}, "unknown input 'z': .*x"),
        ([node("Relu", ["x"], ["y"])], 17, {"dims": {"n": 1}}, "unknown free dimension 'n'"),
        ([node("Relu", ["x"], ["y"])], 17, {"example_inputs": []}, "has 1 inputs, 0 examples"),
        (
            [node("Relu", ["x"], ["y"])],
            17,
            {"example_inputs": torch.zeros(2, 5)},
            r"input 'x' has the shape \[2, 3\], the example \[2, 5\]",
        ),
        (
            [node("Relu", ["x"], ["y"])],
            17,
            {"example_inputs": {"x": torch.zeros(2, 3).long()}},
            "input 'x' is of float32, the example of torch.int64",
        ),
    ],
)
def test_what_is_refused_is_one_sentence(tmp_path, nodes, opset, options, message):
    path = write(tmp_path / "n.onnx", nodes, {"x": [2, 3]}, ["y"], opset=opset)
    with pytest.raises(HwoptError, match=message) as error:
        hwopt.import_model(path, **options)
    assert "\n" not in str(error.value) and "n.onnx" in str(error.value)


def test_free_sizes_that_nobody_said_are_named(tmp_path):
    nodes, weights = [node("Conv", ["x", "w"], ["y"])], {"w": numbers(4, 3, 3, 3)}
    inputs = {"x": ["n", 3, "height", "width"]}
    path = write(tmp_path / "n.onnx", nodes, inputs, ["y"], weights)
    with pytest.raises(HwoptError, match=r"Conv of 'y': .*the free sizes height, width were taken"):
        hwopt.import_model(path)
    graph = hwopt.import_model(path, dims={"height": 5, "width": 6})
    assert graph.to_torch()(torch.zeros(2, 3, 5, 6)).shape == (2, 4, 3, 4)


def test_only_files_have_constants_and_sizes():
    with pytest.raises(HwoptError, match=r"are for an \.onnx file"):
        hwopt.import_model(torch.nn.ReLU(), torch.zeros(1, 2), dims={"n": 2})


@pytest.mark.slow
@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div", "Pow", "Less", "Equal", "Max", "Mod"])
@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("constant", [np.float32(2), np.array([[3]], "float32"), numbers(4) + 3])
def test_constants_on_either_side(tmp_path, op, swapped, constant):
    import onnxruntime

    names = ["c", "x"] if swapped else ["x", "c"]
    options = {"fmod": 1} if op == "Mod" else {}
    nodes = [node(op, names, ["r"], **options), node("Cast", ["r"], ["y"], to=TensorProto.FLOAT)]
    path = write(tmp_path / "n.onnx", nodes, {"x": [3, 4]}, ["y"], {"c": constant})
    x = np.abs(numbers(3, 4)) + 0.5
    (expected,) = onnxruntime.InferenceSession(path).run(None, {"x": x})
    with torch.no_grad():
        found = hwopt.import_model(path).to_torch()(torch.from_numpy(x))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)


def test_an_lstm_of_whole_numbers_is_one_of_the_floats_that_they_mean(tmp_path):
    import onnxruntime

    size, gates = 6, 24
    rng = np.random.default_rng(0)
    weights = {
        "w": rng.integers(0, 255, (1, 3, gates)).astype("uint8"),
        "r": rng.integers(0, 255, (1, size, gates)).astype("uint8"),
        "b": numbers(1, 2 * gates) * 0.1,
        "scale": np.full((1,), 0.01, "float32"),
        "zero": np.full((1,), 128, "uint8"),
    }
    inputs = ["x", "w", "r", "b", "", "", "", "", "scale", "zero", "scale", "zero"]
    made = node("DynamicQuantizeLSTM", inputs, ["y"], hidden_size=size, domain="com.microsoft")
    path = tmp_path / "n.onnx"
    write(path, [made], {"x": [5, 2, 3]}, ["y"], weights, domains=["com.microsoft"])
    x = numbers(5, 2, 3, seed=1)
    (found,) = outputs_of(hwopt.import_model(path), x)
    (expected,) = onnxruntime.InferenceSession(path).run(None, {"x": x})
    # ONNX Runtime rounds the input and the state to 8 bits in every step.
    assert np.abs(found - expected).max() < 0.02
