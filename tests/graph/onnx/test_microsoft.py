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


def compare(path, x, tolerance):
    (expected,) = onnxruntime.InferenceSession(path).run(None, {"x": x})
    with torch.no_grad():
        found = hwopt.import_model(path).to_torch().eval()(torch.from_numpy(x))
    found = found[0] if isinstance(found, tuple) else found
    np.testing.assert_allclose(found.numpy(), expected, atol=tolerance)
