"""Operators of ONNX Runtime's own domain, beside ONNX Runtime."""

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import helper

import hwopt
from tests.graph.onnx.files import numbers, write

DOMAIN = "com.microsoft"
ROW, SQUARE = numbers(8, seed=1), numbers(8, 8, seed=2)
WHOLE = np.random.default_rng(3).integers(-100, 100, (8, 8)).astype("int8")
STEP, NONE = np.full((1,), 0.02, "float32"), np.zeros((1,), "int8")


@pytest.mark.parametrize(
    ("op", "weights", "attributes"),
    [
        ("Gelu", [], {}),
        ("BiasGelu", [ROW], {}),
        ("FastGelu", [], {}),
        ("FastGelu", [ROW], {}),
        ("QuickGelu", [], {"alpha": 1.5}),
        ("SkipLayerNormalization", [numbers(2, 4, 8, seed=5), ROW, ROW, ROW], {"epsilon": 1e-5}),
        ("SkipSimplifiedLayerNormalization", [numbers(2, 4, 8, seed=5), ROW], {"epsilon": 1e-5}),
        ("FusedMatMul", [SQUARE], {"alpha": 0.5, "transB": 1}),
        ("DynamicQuantizeMatMul", [WHOLE, STEP, NONE, ROW], {}),
        (
            "MultiHeadAttention",
            [numbers(2, 5, 8, seed=6), numbers(2, 5, 8, seed=7)],
            {"num_heads": 2},
        ),
        (
            "MultiHeadAttention",
            [numbers(2, 5, 8, seed=6), numbers(2, 5, 8, seed=7), numbers(24, seed=8)],
            {"num_heads": 4, "scale": 0.3},
        ),
    ],
)
def test_floats(tmp_path, op, weights, attributes):
    names = [f"w{n}" for n in range(len(weights))]
    made = helper.make_node(op, ["x", *names], ["y"], domain=DOMAIN, **attributes)
    given = dict(zip(names, weights, strict=True))
    path = write(tmp_path / "n.onnx", [made], {"x": [2, 4, 8]}, ["y"], given, domains=[DOMAIN])
    compare(path, numbers(2, 4, 8), 1e-4 if op != "FastGelu" else 1e-3)


@pytest.mark.parametrize("op", ["QLinearAdd", "QLinearMul", "QLinearSigmoid", "QLinearLeakyRelu"])
def test_whole_numbers(tmp_path, op):
    values = {"s": np.float32(0.05), "z": np.uint8(120), "t": np.float32(0.03), "u": np.uint8(90)}
    operand = np.random.default_rng(0).integers(0, 255, (2, 4, 8)).astype("uint8")
    pair = ["q", "s", "z"]
    names = (
        [*pair, "w", "s", "z", "t", "u"]
        if op in ("QLinearAdd", "QLinearMul")
        else [*pair, "t", "u"]
    )
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node(op, names, ["r"], domain=DOMAIN),
        helper.make_node("DequantizeLinear", ["r", "t", "u"], ["y"]),
    ]
    given = {**values, "w": operand}
    path = write(tmp_path / "n.onnx", nodes, {"x": [2, 4, 8]}, ["y"], given, domains=[DOMAIN])
    compare(path, numbers(2, 4, 8), 0.031)  # one step, where rounding decides


PACKED = [numbers(8, 24, seed=9), numbers(24, seed=10)]
LENGTHS = np.array([3, 4], "int32")
MASK = np.array([[1, 1, 0, 1], [1, 1, 1, 0]], "int32")
PAST = numbers(2, 2, 2, 3, 4, seed=11)


@pytest.mark.parametrize(
    ("others", "attributes"),
    [
        ([], {}),
        ([], {"unidirectional": 1, "scale": 0.2}),
        ([LENGTHS], {}),
        ([MASK], {"mask_filter_value": -1e4}),
        ([np.stack([MASK] * 4, 1)], {}),
        ([None, None, numbers(2, 2, 4, 4, seed=12)], {}),
        ([None, PAST], {"unidirectional": 1}),
    ],
)
def test_packed_attention(tmp_path, others, attributes):
    given = dict(zip(("w", "b", "mask", "past", "added"), [*PACKED, *others], strict=False))
    given = {name: value for name, value in given.items() if value is not None}
    names = ["x", "w", "b", *(n if n in given else "" for n in ("mask", "past", "added"))]
    outputs = ["y", "present"] if "past" in given else ["y"]
    made = helper.make_node("Attention", names, outputs, domain=DOMAIN, num_heads=2, **attributes)
    path = write(tmp_path / "n.onnx", [made], {"x": [2, 4, 8]}, outputs, given, domains=[DOMAIN])
    compare(path, numbers(2, 4, 8), 1e-5)


def test_the_product_of_packed_attention_is_a_layer(tmp_path):
    made = helper.make_node("Attention", ["x", "w", "b"], ["y"], domain=DOMAIN, num_heads=2)
    given = {"w": PACKED[0], "b": PACKED[1]}
    path = write(tmp_path / "n.onnx", [made], {"x": [2, 4, 8]}, ["y"], given, domains=[DOMAIN])
    assert len(hwopt.import_model(path).nodes("linear")) == 1


@pytest.mark.parametrize("with_segments", [True, False])
def test_embeddings_with_their_norm(tmp_path, with_segments):
    given = {
        "words": numbers(20, 8, seed=1),
        "places": numbers(6, 8, seed=2),
        "parts": numbers(2, 8, seed=3),
        "g": ROW,
        "b": ROW,
        "mask": MASK,
        "segments": MASK,
    }
    names = ["ids", "segments", "words", "places", "parts", "g", "b", "mask"]
    if not with_segments:
        names[1] = names[4] = ""
        given = {name: value for name, value in given.items() if name in names}
    made = helper.make_node("EmbedLayerNormalization", names, ["y", "counts"], domain=DOMAIN)
    ids = {"ids": ("int32", [2, 4])}
    path = write(tmp_path / "n.onnx", [made], ids, ["y"], given, domains=[DOMAIN])
    x = np.random.default_rng(0).integers(0, 20, (2, 4)).astype("int32")
    compare(path, x, 1e-5, name="ids")


@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize("place", [np.array([2]), np.array([[0, 3, 1, 2], [5, 4, 3, 2]])])
def test_turned_by_positions(tmp_path, interleaved, place):
    angles = np.outer(np.arange(8), 0.1 ** np.arange(2)).astype("float32")
    given = {"p": place.astype("int64"), "c": np.cos(angles), "s": np.sin(angles)}
    made = helper.make_node(
        "RotaryEmbedding", ["x", "p", "c", "s"], ["y"], domain=DOMAIN, interleaved=interleaved
    )
    path = write(tmp_path / "n.onnx", [made], {"x": [2, 4, 8]}, ["y"], given, domains=[DOMAIN])
    compare(path, numbers(2, 4, 8), 1e-5)


def compare(path, x, tolerance, name="x"):
    (expected, *_) = onnxruntime.InferenceSession(path).run(None, {name: x})
    with torch.no_grad():
        found = hwopt.import_model(path).to_torch().eval()(torch.from_numpy(x))
    found = found[0] if isinstance(found, tuple) else found
    np.testing.assert_allclose(found.numpy(), expected, atol=tolerance)
