"""What a graph is made of: nodes and named parameters on a networkx multigraph."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

import networkx
import torch

from hwopt.errors import HwoptError, unknown_name
from hwopt.graph import operators
from hwopt.graph.parameters import ParameterStore
from hwopt.graph.types import Node, Operand, Operands, Parameter, TensorSpec, Value

INPUT = "input"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


class Structure:
    """Nodes, parameters and outputs, which know nothing of torch modules, text and files.

    Nodes and specifications are immutable; a change puts another node in the old one's place.
    Tensors are shared between copies and must never be written to: set another one instead.
    """

    def __init__(self, name: str = "graph") -> None:
        self.name = name
        self.outputs: dict[str, Operand] = {}
        #: From an input to the output that it is in the next call: what a model remembers.
        self.states: dict[str, str] = {}
        #: The text of every pass that made this graph, the first one first.
        self.history: tuple[str, ...] = ()
        self._nodes: dict[str, Node] = {}
        self._network = networkx.MultiDiGraph()
        self._parameters = ParameterStore()

    # -- nodes -----------------------------------------------------------------------------

    def add_input(self, name: str, spec: TensorSpec) -> Value:
        """Add a graph input and return its value."""
        self._insert(Node(name, INPUT, outputs=(spec,)))
        return Value(name)

    def add_node(
        self,
        name: str,
        op: str,
        operands: Mapping[str, Operands],
        attributes: Mapping[str, Any] | None = None,
    ) -> Value:
        """Add a node and return its first value; missing attributes take their defaults.

        Raises:
            HwoptError: if an argument is unknown, missing or of the wrong kind.
        """
        completed = operators.get(op).complete(name, operands, attributes or {})
        self._insert(Node(name, op, operands, completed))
        return Value(name)

    def replace_node(self, node: Node) -> None:
        """Put ``node`` in the place of the node that has its name."""
        self.node(node.name)
        self._network.remove_edges_from(list(self._network.in_edges(node.name, keys=True)))
        self._nodes[node.name] = node
        self._connect(node)

    def remove_node(self, name: str) -> None:
        """Remove a node whose outputs nobody reads.

        Raises:
            ValueError: if a node or an output of the graph still reads it.
        """
        readers = self.users(name)
        if readers or any(isinstance(v, Value) and v.node == name for v in self.outputs.values()):
            raise ValueError(
                f"node {name!r} is still read by {[n.name for n in readers] or 'output'}"
            )
        del self._nodes[name]
        self._network.remove_node(name)

    def replace_uses(self, old: Operand, new: Operand) -> None:
        """Let every reader of ``old``, the graph's outputs included, read ``new``."""
        if isinstance(old, Value):
            users = self.users(old.node)
        else:
            users = list({n.name: n for n, _ in self.parameter_users(old.name)}.values())

        def swap(operand: Operand) -> Operand:
            return new if operand == old else operand

        for user in users:
            self.replace_node(user.mapped(swap))
        self.outputs = {name: swap(operand) for name, operand in self.outputs.items()}

    def node(self, name: str) -> Node:
        """Return the node with this name.

        Raises:
            HwoptError: if there is none; the nearest name is given.
        """
        if name not in self._nodes:
            raise unknown_name("node", name, self._nodes)
        return self._nodes[name]

    def __contains__(self, name: str) -> bool:
        return name in self._nodes

    def nodes(self, op: str | None = None) -> list[Node]:
        """Return the nodes without the inputs, each after those it reads; optionally of one op."""
        position = {name: index for index, name in enumerate(self._nodes)}
        order = networkx.lexicographical_topological_sort(self._network, key=position.__getitem__)
        nodes = [self._nodes[name] for name in order]
        return [n for n in nodes if n.op != INPUT and op in (None, n.op)]

    @property
    def inputs(self) -> dict[str, TensorSpec]:
        """The graph's inputs in the order of the call."""
        return {n.name: n.output for n in self._nodes.values() if n.op == INPUT}

    def users(self, name: str) -> list[Node]:
        """Return the nodes that read an output of the node ``name``, each once."""
        return [self._nodes[user] for user in self._network.successors(name)]

    def producer(self, value: Value) -> Node:
        """Return the node (or input) that makes a value."""
        return self.node(value.node)

    def spec(self, operand: Operands) -> TensorSpec:
        """Return shape and dtype of a value or a parameter."""
        if isinstance(operand, Value):
            return self._nodes[operand.node].outputs[operand.output]
        if isinstance(operand, Parameter):
            tensor = self.parameter(operand.name)
            return TensorSpec(tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))
        raise TypeError("a list of operands has no single specification")

    def unique_name(self, wanted: str) -> str:
        """Return ``wanted``, or ``wanted_1``, ``wanted_2``, ... if it is taken."""
        name, count = wanted, 0
        while name in self._nodes or name in self._parameters or _is_reserved(name):
            count += 1
            name = f"{wanted}_{count}"
        return name

    def to_networkx(self) -> networkx.MultiDiGraph:
        """Return a copy of the network: nodes carry ``node``; edges ``output`` and ``role``."""
        return self._network.copy()

    # -- parameters ------------------------------------------------------------------------

    @property
    def parameters(self) -> Mapping[str, torch.Tensor]:
        """All named tensors, trainable or not, by name."""
        return self._parameters.copy()

    @property
    def masks(self) -> Mapping[str, torch.Tensor]:
        """What is used of parameters that are partly held at zero: bool tensors by name."""
        return self._parameters.masks

    def parameter(self, name: str) -> torch.Tensor:
        """Return a named tensor.

        Raises:
            HwoptError: if there is none; the nearest name is given.
        """
        return self._parameters[name]

    def is_trainable(self, name: str) -> bool:
        """Say whether training changes the parameter (running statistics are not trained)."""
        return self._parameters.is_trainable(name)

    def is_buffer(self, name: str) -> bool:
        """Say whether the parameter is no weight, such as running statistics."""
        return self._parameters.is_buffer(name)

    def is_frozen(self, name: str) -> bool:
        """Say whether the parameter is a weight that training does not change."""
        return self._parameters.is_frozen(name)

    def set_parameter(
        self,
        name: str,
        tensor: torch.Tensor,
        *,
        trainable: bool | None = None,
        frozen: bool | None = None,
        mask: torch.Tensor | None = None,
    ) -> None:
        """Set a named tensor; ``trainable`` stays as it was, or is True for a new one.

        A mask that is there already stays in force, and a frozen weight stays frozen.

        Raises:
            ValueError: if the parameter has a mask of another shape and no new one is given.
        """
        _check_name("parameter", name)
        self._parameters.set(name, tensor, trainable=trainable, frozen=frozen, mask=mask)

    def set_mask(self, name: str, mask: torch.Tensor | None) -> None:
        """Hold a parameter at zero where ``mask`` is false; None lets all of it be used.

        Raises:
            HwoptError: if there is no such parameter.
            ValueError: if the shapes differ.
        """
        self._parameters.set_mask(name, mask)

    @property
    def codebooks(self) -> frozenset[str]:
        """Parameters with few distinct values, which training changes but does not separate."""
        return self._parameters.codebooks

    def set_codebook(self, name: str, on: bool = True) -> None:
        """State that equal values of a parameter are one entry of a codebook, or not any more.

        Raises:
            HwoptError: if there is no such parameter.
            ValueError: if the parameter has more than 256 distinct values.
        """
        self._parameters.set_codebook(name, on)

    def remove_parameter(self, name: str) -> None:
        """Remove a named tensor."""
        self._parameters.remove(name)

    def parameter_users(self, name: str) -> list[tuple[Node, str]]:
        """Return (node, role) of every reference to a parameter."""
        return [(n, role) for n in self.nodes() for role, used in n.parameters() if used == name]

    # -- the whole -------------------------------------------------------------------------

    def copy(self) -> Self:
        """Return an independent graph that shares the (never written) tensors."""
        other = type(self)(self.name)
        other._nodes = dict(self._nodes)
        other._network = self._network.copy()
        other._parameters = self._parameters.copy()
        other.outputs = dict(self.outputs)
        other.states = dict(self.states)
        other.history = self.history
        return other

    def check_states(self) -> None:
        """Check that every state is an input, and its next value an output like it.

        Raises:
            HwoptError: if one is not.
        """
        for name, after in self.states.items():
            if name not in self.inputs:
                raise unknown_name("input", name, self.inputs)
            if after not in self.outputs:
                raise unknown_name("output", after, self.outputs)
            one, other = self.spec(Value(name)), self.spec(self.outputs[after])
            if one != other:
                raise HwoptError(
                    f"output {after!r} is {other}, input {name!r} {one}: it cannot be its next "
                    "state"
                )

    # -- private ---------------------------------------------------------------------------

    def _insert(self, node: Node) -> None:
        _check_name("node", node.name)
        if node.name in self._nodes:
            raise ValueError(f"the graph has a node {node.name!r} already")
        self._nodes[node.name] = node
        self._network.add_node(node.name, node=node)
        self._connect(node)

    def _connect(self, node: Node) -> None:
        self._network.nodes[node.name]["node"] = node
        for role, operands in node.operands.items():
            for position, value in _positions(operands):
                if value.node not in self._nodes:
                    raise ValueError(f"node {node.name!r} reads {value}, which is not in the graph")
                key = f"{role}.{position}"
                self._network.add_edge(value.node, node.name, key=key, output=value.output)


def _positions(operands: Operands) -> Iterator[tuple[int, Value]]:
    listed: Iterable[Operand | None] = operands if isinstance(operands, tuple) else (operands,)
    for position, operand in enumerate(listed):
        if isinstance(operand, Value):
            yield position, operand


def _is_reserved(name: str) -> bool:
    """Say whether a part of the name is an attribute that every torch module has."""
    return any(hasattr(torch.nn.Module, part) for part in name.split("."))


def _check_name(kind: str, name: str) -> None:
    if _is_reserved(name):
        raise ValueError(f"{kind} name {name!r} is an attribute of every torch module")
    if not _NAME.fullmatch(name):
        raise ValueError(f"{kind} name {name!r} may hold letters, digits, '_', '-' and '.' only")
