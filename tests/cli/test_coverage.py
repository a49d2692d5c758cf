"""``hwopt coverage``."""

from __future__ import annotations

import json

import onnx
import pytest
from onnx import TensorProto, helper

from tests.cli.command import hwopt


def _file(folder, *ops: str):
    names = ["x", *(f"v{n}" for n in range(len(ops)))]
    nodes = [
        helper.make_node(op, [before], [after], domain="" if op[0].isupper() else "their.own")
        for op, before, after in zip(ops, names, names[1:], strict=False)
    ]
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4])
        for name in (names[0], names[-1])
    ]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:])
    versions = [helper.make_opsetid("", 17), helper.make_opsetid("their.own", 1)]
    path = folder / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=versions, ir_version=9), path)
    return path


@pytest.mark.slow
def test_the_table_of_a_model_of_the_zoo():
    done = hwopt("coverage", "resnet8")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[0].split() == [
        "operator",
        "nodes",
        "MACs",
        "prunes",
        "trains",
        "compiles",
        "kernels",
    ]
    assert lines[1].split()[:2] == ["conv2d", "9"]
    assert lines[-1].endswith("nodes can be compiled.")
    found = json.loads(hwopt("coverage", "resnet8", "--json").stdout)
    assert {row["op"] for row in found["operators"]} >= {"conv2d", "batch_norm", "relu", "add"}


def test_operators_that_are_not_known(tmp_path):
    path = _file(tmp_path, "Relu", "strange", "strange", "Neg")
    done = hwopt("coverage", str(path))
    assert done.returncode == 0
    assert done.stdout.splitlines()[1:] == ["  their.own.strange: 2"]
    known = json.loads(hwopt("coverage", str(_file(tmp_path, "Relu", "Neg")), "--json").stdout)
    assert known["imported"] and len(known["operators"]) == 2
