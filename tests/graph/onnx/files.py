"""ONNX files of a few nodes, and what ONNX Runtime makes of them."""

from __future__ import annotations

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

import hwopt

TYPES = {
    "float32": TensorProto.FLOAT,
    "int64": TensorProto.INT64,
    "int32": TensorProto.INT32,
    "bool": TensorProto.BOOL,
}


def write(path, nodes, inputs, outputs, weights=None, opset=17, domains=()):
    """Write a file; inputs are shapes, or (dtype, shape), by name.

    Outputs are names, or dtypes by name.

    Returns:
        The path.
    """

    def declared(name, shape):
        dtype, shape = shape if isinstance(shape, tuple) else ("float32", shape)
        return helper.make_tensor_value_info(name, TYPES[dtype], shape)

    dtypes = outputs if isinstance(outputs, dict) else dict.fromkeys(outputs, "float32")
    graph = helper.make_graph(
        nodes,
        "net",
        [declared(*item) for item in inputs.items()],
        [helper.make_tensor_value_info(name, TYPES[dtypes[name]], None) for name in dtypes],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in (weights or {}).items()],
    )
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)
    return path


def numbers(*shape, seed=0):
    """Return random numbers, float32."""
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def outputs_of(graph, *arrays):
    """Run a graph in torch, and compiled; both must agree. Returns the compiled arrays."""
    inputs = tuple(torch.from_numpy(array) for array in arrays)
    with torch.no_grad():
        expected = graph.to_torch().eval()(*inputs)
    found = hwopt.compile(graph, inputs, kernel_trials=0)(*arrays)
    found = found if isinstance(found, tuple) else (found,)
    expected = expected if isinstance(expected, tuple) else (expected,)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other.numpy(), rtol=1e-4, atol=1e-5)
    return found
