"""Graphs on disk: ``graph.json`` for the structure, ``weights.safetensors`` for the tensors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from hwopt.errors import HwoptError
from hwopt.files import (
    MANIFEST_FILE,
    atomic_file,
    read_json,
    read_sealed_json,
    sha256,
    write_sealed_json,
)
from hwopt.graph.packing import pack, unpack
from hwopt.graph.shapes import infer_shapes
from hwopt.graph.types import Batch, Operands, Parameter, TensorSpec, Value

if TYPE_CHECKING:
    from hwopt.graph.structure import Structure

GRAPH_FILE = "graph.json"
WEIGHTS_FILE = "weights.safetensors"
_SCHEMA = 4


def save(graph: Structure, folder: Path) -> None:
    """Write both files, the weights first.

    The graph's file has the hash of its weights, and its own: what a process killed in between
    leaves, or what somebody changed, is seen to be no graph.

    Raises:
        HwoptError: if the folder is an artefact, or cannot be written.
    """
    from safetensors.torch import save_file

    if (folder / MANIFEST_FILE).exists():
        raise HwoptError(f"{folder} is an artefact: save the graph in another folder")
    packed = {
        n: pack(n, t, graph.masks.get(n), n in graph.codebooks) for n, t in graph.parameters.items()
    }
    tensors = {key: t for _, stored in packed.values() for key, t in stored.items()}
    with atomic_file(folder / WEIGHTS_FILE) as path:
        save_file(tensors, path)
        weights = sha256(path)
    document = _to_json(graph, {name: entry for name, (entry, _) in packed.items()})
    write_sealed_json(folder / GRAPH_FILE, {**document, "weights_sha256": weights})


def load(graph: Structure, folder: Path) -> None:
    """Read both files into an empty graph.

    Raises:
        HwoptError: if a file is missing, damaged, changed or of another version.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / GRAPH_FILE
    version = read_json(path)
    if not isinstance(version, dict):
        raise HwoptError(f"{path} is damaged: not a graph")
    if version.get("schema") != _SCHEMA:
        raise HwoptError(f"{path} has schema {version.get('schema')!r}, not {_SCHEMA}")
    document = read_sealed_json(path)
    weights = folder / WEIGHTS_FILE
    try:
        tensors = load_file(weights)
    except FileNotFoundError:
        raise HwoptError(f"{weights} does not exist") from None
    except SafetensorError as error:
        raise HwoptError(f"{weights} is damaged: {error}") from None
    if document.get("weights_sha256") != sha256(weights):
        raise HwoptError(
            f"{weights} does not belong to {GRAPH_FILE} beside it: save the graph again"
        )
    try:
        _from_json(graph, document, tensors)
    except (KeyError, TypeError, ValueError) as error:
        raise HwoptError(f"{folder / GRAPH_FILE} is damaged: {error!r}") from error


def _to_json(graph: Structure, packing: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {
        "schema": _SCHEMA,
        "name": graph.name,
        "history": list(graph.history),
        "inputs": [
            {"name": name, "dtype": s.dtype, "shape": _attribute_to_json(s.shape)}
            for name, s in graph.inputs.items()
        ],
        "parameters": [
            {
                "name": name,
                "trainable": not graph.is_buffer(name),
                "frozen": graph.is_frozen(name),
                **packing[name],
            }
            for name in graph.parameters
        ],
        "nodes": [
            {
                "name": node.name,
                "op": node.op,
                "operands": {role: _operands_to_json(o) for role, o in node.operands.items()},
                "attributes": {k: _attribute_to_json(v) for k, v in node.attributes.items()},
            }
            for node in graph.nodes()
        ],
        "outputs": [
            {"name": name, "operand": _operands_to_json(o)} for name, o in graph.outputs.items()
        ],
        "states": graph.states,
    }


def _from_json(
    graph: Structure, document: dict[str, Any], tensors: dict[str, torch.Tensor]
) -> None:
    graph.name = document["name"]
    graph.history = tuple(document["history"])
    for entry in document["inputs"]:
        shape = _attribute_from_json(entry["shape"])
        graph.add_input(entry["name"], TensorSpec(shape, entry["dtype"]))
    for entry in document["parameters"]:
        name = entry["name"]
        tensor, mask = unpack(name, entry, tensors)
        kind = {"trainable": entry["trainable"], "frozen": entry["frozen"]}
        graph.set_parameter(name, tensor, **kind, mask=mask)
        graph.set_codebook(name, entry.get("codebook", False))
    for entry in document["nodes"]:
        operands = {role: _operands_from_json(o) for role, o in entry["operands"].items()}
        attributes = {k: _attribute_from_json(v) for k, v in entry["attributes"].items()}
        graph.add_node(entry["name"], entry["op"], operands, attributes)
    for entry in document["outputs"]:
        graph.outputs[entry["name"]] = _operands_from_json(entry["operand"])
    graph.states.update(document["states"])
    infer_shapes(graph)
    graph.check_states()


def _operands_to_json(operands: Operands | None) -> Any:
    if isinstance(operands, tuple):
        return [_operands_to_json(operand) for operand in operands]
    if isinstance(operands, Value):
        return {"node": operands.node, "output": operands.output}
    return None if operands is None else {"parameter": operands.name}


def _operands_from_json(document: Any) -> Any:
    if isinstance(document, list):
        return tuple(_operands_from_json(entry) for entry in document)
    if document is None:
        return None
    if "parameter" in document:
        return Parameter(document["parameter"])
    return Value(document["node"], document["output"])


def _attribute_to_json(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_attribute_to_json(v) for v in value]
    if isinstance(value, Batch):
        return {"batch": value.multiple}
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return {"float": str(value)}  # JSON has no infinity
    return value


def _attribute_from_json(document: Any) -> Any:
    if isinstance(document, list):
        return tuple(_attribute_from_json(entry) for entry in document)
    if isinstance(document, dict):
        return Batch(document["batch"]) if "batch" in document else float(document["float"])
    return document
