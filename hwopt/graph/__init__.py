"""The graph: import from torch and ONNX, change, print, save, cost, and export to torch."""

from hwopt.graph.graph import Graph
from hwopt.graph.importer import import_model
from hwopt.graph.types import (
    Batch,
    Dimension,
    Node,
    Operand,
    Operands,
    Parameter,
    TensorSpec,
    Value,
)

__all__ = [
    "Batch",
    "Dimension",
    "Graph",
    "Node",
    "Operand",
    "Operands",
    "Parameter",
    "TensorSpec",
    "Value",
    "import_model",
]
