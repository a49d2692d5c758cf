"""What is done to a model before it is lowered, whatever it becomes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from hwopt.compiler.manifest import TensorDescription
from hwopt.errors import HwoptError, check_same_names
from hwopt.graph import Graph, TensorSpec, import_model
from hwopt.graph.importer import example_tensors
from hwopt.passes import apply

if TYPE_CHECKING:
    import tvm

    from hwopt.compiler.dump import Dump

#: It changes no output.
PREPARATION = "fold-constants,fold-batch-norm,fold-affine,eliminate-dead-code{keep_dropout=false}"


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A graph to compile, and inputs to trace it with, of one batch size."""

    graph: Graph
    example: tuple[torch.Tensor, ...]
    batch: int

    def lowered(self) -> tvm.IRModule:
        """Return the graph as a Relax module."""
        from hwopt.compiler.lower import lower

        return lower(self.graph, self.batch)

    @property
    def inputs(self) -> tuple[TensorDescription, ...]:
        """The inputs, at this batch size."""
        return self._described(self.graph.inputs)

    @property
    def outputs(self) -> tuple[TensorDescription, ...]:
        """The outputs, at this batch size."""
        specs = {name: self.graph.spec(value) for name, value in self.graph.outputs.items()}
        return self._described(specs)

    def _described(self, specs: dict[str, TensorSpec]) -> tuple[TensorDescription, ...]:
        return tuple(
            TensorDescription(name=name, shape=spec.at(self.batch), dtype=spec.dtype)
            for name, spec in specs.items()
        )


def prepare(
    model_or_graph: torch.nn.Module | Graph,
    example_inputs: torch.Tensor | Sequence[Any] | Mapping[str, Any] | None,
    dump: Dump | None = None,
) -> Prepared:
    """Import a model and simplify it.

    Args:
        model_or_graph: a torch module or a graph.
        example_inputs: needed for a module, as ``import_model`` takes them. For a graph they set
            the batch size, which is 1 without them; in order, or by name.
        dump: gets the graph before and after every pass.

    Raises:
        HwoptError: if the model cannot be imported, or the inputs are not its.
    """
    examples: Sequence[torch.Tensor] | None
    if isinstance(model_or_graph, Graph):
        graph = model_or_graph
        examples = _of_graph(graph, example_inputs)
    else:
        graph = import_model(model_or_graph, example_inputs)
        examples = example_tensors(model_or_graph, example_inputs)
    if dump is not None:
        dump.graph("given", graph)
    graph = apply(graph, PREPARATION, on_pass=dump.passed if dump else None)
    inputs = _inputs(graph, examples)
    return Prepared(graph, inputs, _batch(graph, inputs))


def _of_graph(graph: Graph, given: Any) -> Sequence[torch.Tensor] | None:
    if isinstance(given, Mapping):
        check_same_names(
            "input", given, [name for name in graph.inputs if name not in graph.states]
        )
        return [given[name] for name in graph.inputs if name not in graph.states]
    return [given] if isinstance(given, torch.Tensor) else given


def _inputs(graph: Graph, examples: Sequence[torch.Tensor] | None) -> tuple[torch.Tensor, ...]:
    """Return inputs to trace with, checked against the graph if they were given."""
    if examples is None:
        return graph.example_inputs()
    if len(examples) == len(graph.inputs) - len(graph.states):
        # States begin as zeros; they are the last inputs.
        examples = [*examples, *graph.example_inputs()[len(examples) :]]
    if len(examples) != len(graph.inputs):
        raise HwoptError(f"the model takes {len(graph.inputs)} inputs, {len(examples)} were given")
    batch = _batch(graph, tuple(examples))
    for example, (name, spec) in zip(examples, graph.inputs.items(), strict=True):
        if tuple(example.shape) != spec.at(batch):
            shape = list(example.shape)
            raise HwoptError(f"example input {name!r} has the shape {shape}, the graph {spec}")
        dtype = str(example.dtype).removeprefix("torch.")
        if dtype != spec.dtype:
            raise HwoptError(f"example input {name!r} is {dtype}, the graph takes {spec.dtype}")
    return tuple(examples)


def _batch(graph: Graph, inputs: Sequence[torch.Tensor]) -> int:
    """Return the batch size of inputs for a graph; 1 if the graph has a fixed one."""
    for tensor, spec in zip(inputs, graph.inputs.values(), strict=True):
        for size, dimension in zip(tensor.shape, spec.shape, strict=False):
            if not isinstance(dimension, int):
                return size // dimension.multiple
    return 1
