"""Nodes and graphs of an ONNX file, with their attributes as plain Python and NumPy values."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from hwopt.errors import HwoptError


@dataclasses.dataclass(frozen=True, eq=False)
class OnnxNode:
    """A call of an operator.

    Attributes:
        op: the operator's name, with the domain before it where that is not ONNX's own.
        version: of the operator set that it comes from.
        name: in the file; may be empty.
        inputs: names of values; empty for one that is left out.
        outputs: names of values; empty for one that nobody reads.
        attributes: numbers, texts, arrays, graphs, and lists of them.
    """

    op: str
    version: int
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.op} {self.name!r}" if self.name else f"{self.op} of {self.outputs[0]!r}"

    def get(self, name: str, default: Any = None) -> Any:
        """Return an attribute, or what it is where the node does not say."""
        return self.attributes.get(name, default)

    def refuse(self, what: str) -> HwoptError:
        """Return the error that says what of this node is not understood."""
        return HwoptError(f"{self}: {what} is not supported")


@dataclasses.dataclass(frozen=True, eq=False)
class OnnxGraph:
    """A graph, which may lie in an attribute of a node.

    Attributes:
        inputs: names, without those that have a value in the file.
        outputs: names.
        constants: arrays that the file holds, by name.
        nodes: in an order in which they can be called.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    constants: Mapping[str, np.ndarray]
    nodes: tuple[OnnxNode, ...]


def read_graph(graph: onnx.GraphProto, versions: Mapping[str, int], folder: str) -> OnnxGraph:
    """Return a graph of a file.

    Args:
        graph: as it stands in the file.
        versions: of the operator sets, by domain.
        folder: where arrays lie that are in files of their own.
    """
    constants = {one.name: to_array(one, folder) for one in graph.initializer}
    for one in graph.sparse_initializer:
        constants[one.values.name] = _dense(one, folder)
    return OnnxGraph(
        tuple(value.name for value in graph.input if value.name not in constants),
        tuple(value.name for value in graph.output),
        constants,
        tuple(read_node(node, versions, folder) for node in graph.node),
    )


def read_node(node: onnx.NodeProto, versions: Mapping[str, int], folder: str) -> OnnxNode:
    """Return a node of a file; see :func:`read_graph`."""
    domain = "" if node.domain == "ai.onnx" else node.domain
    attributes = {one.name: _attribute(one, versions, folder) for one in node.attribute}
    return OnnxNode(
        f"{domain}.{node.op_type}" if domain else node.op_type,
        versions.get(domain, 1),
        node.name,
        tuple(node.input),
        tuple(node.output),
        attributes,
    )


def _attribute(attribute: onnx.AttributeProto, versions: Mapping[str, int], folder: str) -> Any:
    value = onnx.helper.get_attribute_value(attribute)
    kinds = onnx.AttributeProto
    if attribute.type == kinds.STRING:
        return value.decode(errors="replace")
    if attribute.type == kinds.STRINGS:
        return [one.decode(errors="replace") for one in value]
    if attribute.type == kinds.TENSOR:
        return to_array(value, folder)
    if attribute.type == kinds.SPARSE_TENSOR:
        return _dense(value, folder)
    if attribute.type == kinds.GRAPH:
        return read_graph(value, versions, folder)
    if attribute.type == kinds.GRAPHS:
        return [read_graph(one, versions, folder) for one in value]
    return list(value) if attribute.type in (kinds.FLOATS, kinds.INTS) else value


def to_array(tensor: onnx.TensorProto, folder: str) -> np.ndarray:
    """Return the array of a tensor, which may lie in a file of its own."""
    return numpy_helper.to_array(tensor, base_dir=folder)


def _dense(sparse: onnx.SparseTensorProto, folder: str) -> np.ndarray:
    values, indices = to_array(sparse.values, folder), to_array(sparse.indices, folder)
    found = np.zeros(tuple(sparse.dims), values.dtype)
    places = tuple(indices.T) if indices.ndim == 2 else np.unravel_index(indices, found.shape)
    found[places] = values
    return found
