"""The graph: what it is made of, with shapes, torch modules, text, files and costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch

from hwopt.errors import HwoptError
from hwopt.graph import operators, parser, storage
from hwopt.graph.module import GraphModule
from hwopt.graph.shapes import infer_shapes
from hwopt.graph.structure import Structure
from hwopt.graph.text import to_text
from hwopt.graph.types import Batch


class Graph(Structure):
    """A network as a graph of operators.

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

    def infer_shapes(self) -> None:
        """Compute the specification of every value from the inputs and the parameters.

        Raises:
            HwoptError: if a node does not fit its operands; the node is named.
        """
        infer_shapes(self)

    def to_torch(self) -> GraphModule:
        """Return a trainable module with its own copy of the parameters, in training mode."""
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
        return to_text(self)

    @classmethod
    def from_text(cls, text: str, parameters: Mapping[str, torch.Tensor] | None = None) -> Graph:
        """Parse the text form; parameters that are not given are zeros.

        Raises:
            HwoptError: if the text is not a graph; the line is named.
        """
        graph = cls()
        parser.parse(graph, text, parameters or {})
        return graph

    def save(self, folder: str | Path) -> None:
        """Write ``graph.json`` and ``weights.safetensors`` into a folder.

        What a process that is killed in between leaves is refused by :meth:`load`.
        """
        storage.save(self, Path(folder))

    @classmethod
    def load(cls, folder: str | Path) -> Graph:
        """Read what ``save`` wrote.

        Raises:
            HwoptError: if a file is missing, damaged or of a newer version.
        """
        graph = cls()
        storage.load(graph, Path(folder))
        return graph

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
        return sum(operators.get(n.op).macs(self.spec, n) for n in self.nodes())

    def num_parameters(self) -> int:
        """Return the number of trainable and frozen values; a shared parameter counts once.

        Those with a codebook that are trained no more, such as binary weights, count as well.
        """
        return sum(t.numel() for t in self._trained())

    def num_nonzeros(self) -> int:
        """Return how many of these values are not zero."""
        return sum(int(t.count_nonzero()) for t in self._trained())

    def _trained(self) -> Iterator[torch.Tensor]:
        for name, tensor in self._parameters.items():
            if self.is_trainable(name) or self.is_frozen(name) or name in self.codebooks:
                yield tensor
