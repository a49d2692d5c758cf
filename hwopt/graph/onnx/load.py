"""Files become modules: constants are computed, weights become parameters of named steps."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from hwopt.errors import HwoptError
from hwopt.graph.onnx.interpreter import Body, Named, OnnxModule, Step, Weight, execute
from hwopt.graph.onnx.node import OnnxGraph, OnnxNode
from hwopt.graph.onnx.operator import OnnxOperator
from hwopt.graph.onnx.table import OPERATORS
from hwopt.graph.onnx.values import OnnxValue, array, tensor

#: A known number of float is no weight, but part of the operator.
_SMALLEST_WEIGHT = 2


def to_module(graph: OnnxGraph, given: Mapping[str, np.ndarray]) -> OnnxModule:
    """Return a graph as a module whose inputs are those of the graph that have no value.

    Args:
        graph: of a file.
        given: values for some of the inputs.

    Raises:
        HwoptError: if an operator is not known, or not understood.
    """
    names = [name for name in graph.inputs if name not in given]
    module = OnnxModule(unique_names(names))
    loader = _Loader(module)
    graph = dataclasses.replace(graph, inputs=tuple(names))
    module.entry = loader.body(graph, dict(given))
    return module


def unique_names(names: Sequence[str]) -> list[str]:
    """Return names as Python allows them, each once.

    >>> unique_names(["input.1", "input:1", "2"])
    ['input_1', 'input_1_1', '_2']
    """
    found: list[str] = []
    for name in names:
        plain = re.sub(r"\W", "_", name, flags=re.ASCII)
        plain = plain if plain.isidentifier() else f"_{plain}"
        number, candidate = 0, plain
        while candidate in found:
            number += 1
            candidate = f"{plain}_{number}"
        found.append(candidate)
    return found


class _Loader:
    """Makes the steps of a graph, and of those that lie in its nodes."""

    def __init__(self, module: OnnxModule) -> None:
        self.module = module
        #: Arrays are kept beside their tensors: an array that is gone would give its id to another.
        self.shared: dict[tuple[int, bool], tuple[np.ndarray, torch.Tensor]] = {}

    def body(
        self,
        graph: OnnxGraph,
        outer: Mapping[str, OnnxValue],
        visible: frozenset[str] = frozenset(),
    ) -> Body:
        """Return a graph with its steps.

        Args:
            graph: to be loaded.
            outer: what is known around it, by name.
            visible: names of what is made around it.
        """
        known: dict[str, OnnxValue] = {**outer, **graph.constants}
        for name in graph.inputs:
            known.pop(name, None)
        visible |= {*known, *graph.inputs}
        _check_names(graph, visible)
        uses = Counter(_reads(graph))
        body = Body(graph.inputs, graph.outputs, known)
        makers: dict[str, Step] = {}
        for node in graph.nodes:
            operator = OPERATORS.get(node.op)
            if operator is None:
                raise HwoptError(
                    f"{node}: this operator of version {node.version} is not supported"
                )
            node = self.with_bodies(node, known, visible)
            visible |= set(node.outputs)
            values = [None if not n else known[n] if n in known else Named(n) for n in node.inputs]
            if not any(isinstance(value, Named) for value in values) and not _captures(node, known):
                results = [array(v) for v in execute(node, operator, values, dict(known))]
                known |= {n: v for n, v in zip(node.outputs, results, strict=False) if n}
                continue
            if self.becomes_bias(node, values, makers, uses):
                continue
            step = self.step(node, operator, values)
            body.steps.append(step)
            makers |= {name: step for name in node.outputs if name}
        return body

    def with_bodies(
        self, node: OnnxNode, known: Mapping[str, OnnxValue], visible: frozenset[str]
    ) -> OnnxNode:
        """Return a node whose graphs are loaded; of an ``if`` that is decided one only."""
        graphs = {k: v for k, v in node.attributes.items() if isinstance(v, OnnxGraph)}
        if node.op == "If" and isinstance(known.get(node.inputs[0]), np.ndarray):
            taken = "then_branch" if known[node.inputs[0]].reshape(-1)[0] else "else_branch"
            graphs = {taken: graphs[taken]}
        if not graphs:
            return node
        loaded = {name: self.body(graph, known, visible) for name, graph in graphs.items()}
        return dataclasses.replace(node, attributes={**node.attributes, **loaded})

    def step(self, node: OnnxNode, operator: OnnxOperator, values: list[Any]) -> Step:
        """Return the call of a node, its known operands as weights where they are some."""
        roles, buffers = operator.weights, operator.buffers
        origins = {id(v): n for v, n in zip(values, node.inputs, strict=False) if v is not None}
        if operator.prepare is not None:
            prepared = operator.prepare(node, values)
            if prepared is not None:
                node, values, roles = prepared
                operator = OPERATORS[node.op]
        step = Step(node, operator, values)
        reads = step.called[2]
        for position, value in enumerate(values):
            if position in operator.plain and position not in roles:
                continue
            if not isinstance(value, np.ndarray) or value.dtype == object:
                continue
            is_float = np.issubdtype(value.dtype, np.floating) or value.dtype.name == "bfloat16"
            if (operator.is_elementwise or position not in roles) and (
                value.size < _SMALLEST_WEIGHT or not is_float
            ):
                continue  # a number, or part of a shape
            role = roles.get(position, f"operand_{position}")
            reads[position] = Weight(role)
            trained = is_float and position in roles and position not in buffers
            self.register(step, role, value, trained)
        self.add(step, _path(node, [origins.get(id(v), "") for v in values], roles))
        return step

    def register(self, step: Step, role: str, value: np.ndarray, trained: bool) -> None:
        """Let a step hold a tensor; steps that read one array hold one tensor."""
        key = (id(value), trained)
        if key not in self.shared:
            found = tensor(value).clone()
            self.shared[key] = value, nn.Parameter(found) if trained else found
        _, shared = self.shared[key]
        if isinstance(shared, nn.Parameter):
            step.register_parameter(role, shared)
        else:
            step.register_buffer(role, shared)

    def becomes_bias(
        self, node: OnnxNode, values: list[Any], makers: dict[str, Step], uses: Counter[str]
    ) -> bool:
        """Let the product before a sum have its other operand as a bias, where that is one."""
        if node.op != "Add" or not any(isinstance(v, np.ndarray) for v in values):
            return False
        source = next(v for v in values if isinstance(v, Named))
        other = next(v for v in values if isinstance(v, np.ndarray))
        step = makers.get(source)
        if step is None or uses[source] != 1:
            return False
        made, operator, reads = step.called
        if made.op != "Linear" or len(reads) > 2:
            return False
        if other.shape != step.get_parameter("weight").shape[:1]:
            return False
        self.register(step, "bias", other, trained=True)
        named = dataclasses.replace(made, outputs=node.outputs)
        step.called = (named, operator, [*reads, Weight("bias")])
        makers[node.outputs[0]] = step
        return True

    def add(self, step: Step, path: str) -> None:
        """Put a step into the module, at a place of its own."""
        parent: nn.Module = self.module
        *outer, last = path.split(".")
        for part in outer:
            name = _free(parent, part)
            if name not in parent._modules:
                parent.add_module(name, nn.Module())
            parent = parent.get_submodule(name)
        name, number = _free(parent, last), 0
        while name in parent._modules:
            container = parent.get_submodule(name)
            if type(container) is nn.Module:  # the step takes over what it holds
                for child, inner in container.named_children():
                    step.add_module(_free(step, child), inner)
                break
            number += 1
            name = f"{_free(parent, last)}_{number}"
        parent._modules[name] = step


def _check_names(graph: OnnxGraph, visible: frozenset[str]) -> None:
    """Refuse a node that reads what is made behind it, or nowhere."""
    made = set(visible)
    for node in graph.nodes:
        for name in node.inputs:
            if name and name not in made:
                raise HwoptError(f"{node} reads {name!r}, which nothing before it makes")
        made |= set(node.outputs)
    for name in graph.outputs:
        if name not in made:
            raise HwoptError(f"output {name!r} is made by no node")


def _free(parent: nn.Module, name: str) -> str:
    """Return a name for a module that its parent has no other attribute of."""
    while hasattr(parent, name) and name not in parent._modules:
        name += "_"
    return name


def _reads(graph: OnnxGraph) -> list[str]:
    found = list(graph.outputs)
    for node in graph.nodes:
        found += node.inputs
        for value in node.attributes.values():
            if isinstance(value, OnnxGraph):
                found += _reads(value)
    return found


def _captures(node: OnnxNode, known: Mapping[str, OnnxValue]) -> bool:
    """Return whether a graph in a node reads what is not known."""
    bodies = [v for v in node.attributes.values() if isinstance(v, Body)]
    return any(
        isinstance(read, Named) and read not in _own(body)
        for body in bodies
        for step in body.steps
        for read in step.called[2]
    )


def _own(body: Body) -> set[str]:
    made = {name for step in body.steps for name in step.called[0].outputs}
    return made | set(body.inputs)


def _path(node: OnnxNode, origins: Sequence[str], roles: Mapping[int, str]) -> str:
    """Name a step as the module that it was, by its weights, its name, or its operator."""
    for position in roles:
        origin = origins[position] if position < len(origins) else ""
        owner, dot, _ = origin.rpartition(".")
        if dot and not owner.startswith("onnx::"):
            return _writable(owner)
    parts = [part for part in node.name.split("/") if part]
    if len(parts) > 1:
        parts = parts[:-1]  # the operator
    kept = [
        part
        for part, after in itertools.zip_longest(parts, parts[1:], fillvalue="")
        if not after.startswith(f"{part}.")
    ]
    return _writable(".".join(kept)) or _writable(node.op.rpartition(".")[2].lower())


def _writable(path: str) -> str:
    parts = [re.sub(r"[^A-Za-z0-9_-]", "_", part) for part in path.split(".")]
    return ".".join(part for part in parts if part)
