"""The graph: nodes and named parameters on a networkx multigraph."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import networkx
import torch

from hwopt.errors import HwoptError, unknown_name
from hwopt.graph import operators
from hwopt.graph.parameters import ParameterStore
from hwopt.graph.types import Batch, Node, Operand, Operands, Parameter, TensorSpec, Value

if TYPE_CHECKING:
    from hwopt.graph.module import GraphModule

INPUT = "input"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


class Graph:
    """A network as a graph of operators.

    Nodes and specifications are immutable; a change puts another node in the old one's place.
    Tensors are shared between copies and must never be written to: set another one instead.

    >>> from hwopt.graph import Batch, Parameter, TensorSpec
    >>> graph = Graph("tiny")
    >>> x = graph.add_input("x", TensorSpec((Batch(), 4)))
    >>> graph.set_parameter("fc.weight", torch.ones(2, 4))
    >>> fc = graph.add_node("fc", "linear", {"input": x, "weight": Parameter("fc.weight")})
    >>> graph.outputs["output"] = fc
    >>> graph.infer_shapes()
    >>> print(graph.to_text())
    graph tiny {
      input x: f32[N, 4]
      parameter fc.weight: f32[2, 4]
      fc: f32[N, 2] = linear(%x, weight=@fc.weight)
      return output=%fc
    }
    <BLANKLINE>
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

    def copy(self) -> Graph:
        """Return an independent graph that shares the (never written) tensors."""
        other = Graph(self.name)
        other._nodes = dict(self._nodes)
        other._network = self._network.copy()
        other._parameters = self._parameters.copy()
        other.outputs = dict(self.outputs)
        other.states = dict(self.states)
        other.history = self.history
        return other

    def infer_shapes(self) -> None:
        """Compute the specification of every value from the inputs and the parameters.

        Raises:
            HwoptError: if a node does not fit its operands; the node is named.
        """
        from hwopt.graph.shapes import infer_shapes

        infer_shapes(self)

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

    def to_torch(self) -> GraphModule:
        """Return a trainable module with its own copy of the parameters, in training mode."""
        from hwopt.graph.module import GraphModule

        return GraphModule(self)

    def with_weights_of(self, module: torch.nn.Module) -> Graph:
        """Return a graph like this one with the tensors of a (trained) ``to_torch`` module.

        Raises:
            HwoptError: if the module lacks a parameter of the graph.
        """
        state = module.state_dict()
        missing = sorted(self._parameters.keys() - state.keys())
        if missing:
            raise HwoptError(f"the module has no parameter {missing[0]!r}: is it of another graph?")
        other = self.copy()
        for name in self._parameters:
            other.set_parameter(name, state[name].detach().clone())
        return other

    def to_text(self) -> str:
        """Return the text form: every node with its shapes, no tensor contents."""
        from hwopt.graph.text import to_text

        return to_text(self)

    @classmethod
    def from_text(cls, text: str, parameters: Mapping[str, torch.Tensor] | None = None) -> Graph:
        """Parse the text form; parameters that are not given are zeros.

        Raises:
            HwoptError: if the text is not a graph; the line is named.
        """
        from hwopt.graph.parser import parse

        return parse(text, parameters or {})

    def save(self, folder: str | Path) -> None:
        """Write ``graph.json`` and ``weights.safetensors`` into a folder.

        What a process that is killed in between leaves is refused by :meth:`load`.
        """
        from hwopt.graph.storage import save

        save(self, Path(folder))

    @classmethod
    def load(cls, folder: str | Path) -> Graph:
        """Read what ``save`` wrote.

        Raises:
            HwoptError: if a file is missing, damaged or of a newer version.
        """
        from hwopt.graph.storage import load

        return load(Path(folder))

    def example_inputs(self, batch: int = 1) -> tuple[torch.Tensor, ...]:
        """Return zeros of the inputs' shapes and dtypes, with this batch size where it is free.

        Raises:
            HwoptError: if the graph has another, fixed batch size.
        """
        examples = []
        for name, spec in self.inputs.items():
            if batch > 1 and not any(isinstance(size, Batch) for size in spec.shape):
                message = f"input {name!r} of graph {self.name} has the fixed shape {spec}"
                raise HwoptError(f"{message}: the batch size cannot be {batch}")
            examples.append(torch.zeros(spec.at(batch), dtype=getattr(torch, spec.dtype)))
        return tuple(examples)

    def macs(self) -> int:
        """Return the multiply-accumulates of one forward pass for a batch of one."""
        return sum(operators.get(n.op).macs(self, n) for n in self.nodes())

    def num_parameters(self) -> int:
        """Return the number of trainable and frozen values; a shared parameter counts once.

        Those with a codebook that are trained no more, such as binary weights, count as well.
        """
        return sum(t.numel() for t in self._trained())

    def num_nonzeros(self) -> int:
        """Return how many of these values are not zero."""
        return sum(int(t.count_nonzero()) for t in self._trained())

    def bytes_moved(self, node: Node) -> int:
        """Return the bytes that a node reads and writes for a batch of one."""
        read = sum(self.spec(operand).bytes() for _, operand in node.flat_operands())
        return read + sum(spec.bytes() for spec in node.outputs)

    # -- private ---------------------------------------------------------------------------

    def _trained(self) -> Iterator[torch.Tensor]:
        for name, tensor in self._parameters.items():
            if self.is_trainable(name) or self.is_frozen(name) or name in self.codebooks:
                yield tensor

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
