"""Inputs, parameters, states and outputs of an exported program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind
from torch.utils import _pytree as pytree

from hwopt.errors import HwoptError
from hwopt.graph.fx_nodes import writable
from hwopt.graph.graph import Graph
from hwopt.graph.symbols import batch_multiple
from hwopt.graph.types import Operands, Parameter, TensorSpec, Value


class Signature:
    """Adds to a graph what a program takes and returns.

    Attributes:
        operands: what the program's placeholders have become.
        constants: the tensors of those that nothing changes.
    """

    def __init__(self, program: ExportedProgram, graph: Graph) -> None:
        self.program, self.graph = program, graph
        self.operands: dict[fx.Node, Operands] = {}
        self.constants: dict[fx.Node, torch.Tensor] = {}
        self.tensors: dict[str, Any] = {**program.constants, **program.state_dict}
        self.batch_symbols: set[Any] = set()
        signature = program.graph_signature
        self.changed = {
            spec.target
            for spec in signature.output_specs
            if spec.kind == OutputKind.BUFFER_MUTATION
        }
        self.states: dict[str, str] = {}

    def add_inputs(self) -> None:
        """Add the inputs in their order, then the states; and the parameters."""
        # By their sequence: a copy of the program may have other names.
        nodes = [node for node in self.program.graph.nodes if node.op == "placeholder"]
        specs = self.program.graph_signature.input_specs
        for node, spec in sorted(
            zip(nodes, specs, strict=True), key=lambda pair: pair[1].target in self.changed
        ):
            if spec.kind == InputKind.USER_INPUT:
                self._input(node, spec.arg.name)
            elif spec.target in self.changed:
                self._state(node, spec.target)
            else:
                self._parameter(node, spec)

    def _input(self, node: fx.Node, name: str) -> None:
        value = node.meta.get("val")
        if not isinstance(value, torch.Tensor):
            return  # a Python number that the program treats as a constant
        self._check_dynamic(name, value.shape)
        self.operands[node] = self.graph.add_input(name, _spec(value))

    def _check_dynamic(self, name: str, shape: torch.Size) -> None:
        """Refuse dynamic sizes other than one batch size, the first dimension of inputs."""
        for dimension, size in enumerate(shape):
            found: set[Any] = set() if isinstance(size, int) else size.node.expr.free_symbols
            self.batch_symbols |= found
            if found and (dimension > 0 or len(self.batch_symbols) > 1):
                raise HwoptError(
                    f"input {name!r}: dimension {dimension} is dynamic; only the batch size may "
                    "be, the first of all inputs: export the model with the other sizes fixed"
                )

    def _state(self, node: fx.Node, buffer: str) -> None:
        """Make a buffer that the model changes an input, and later an output."""
        if self.tensors[buffer].any():
            raise HwoptError(
                f"the model changes its buffer {buffer!r}, which is not zero at first: a stream "
                "begins with zeros, so set it to them before"
            )
        name = self.graph.unique_name(writable(buffer))
        self.operands[node] = self.graph.add_input(name, _spec(node.meta["val"]))
        self.states[buffer] = name

    def _parameter(self, node: fx.Node, spec: Any) -> None:
        tensor = self.tensors.get(spec.target)
        if not isinstance(tensor, torch.Tensor):
            raise HwoptError(
                f"the model keeps {spec.target!r}, which is not a tensor: not supported"
            )
        is_parameter = spec.kind == InputKind.PARAMETER and tensor.is_floating_point()
        if not is_parameter:
            self.constants[node] = tensor
        # Tensors that share their storage have one name.
        for known, other in self.graph.parameters.items():
            if _same_storage(tensor, other):
                self.operands[node] = Parameter(known)
                return
        name = self.graph.unique_name(writable(spec.target))
        self.graph.set_parameter(
            name,
            tensor,
            trainable=is_parameter,
            frozen=is_parameter and not tensor.requires_grad,
        )
        self.operands[node] = Parameter(name)

    def add_outputs(self, node: fx.Node, read: Mapping[fx.Node, Operands]) -> None:
        """Add what the program returns, then the next states."""
        returned: Any = node.args[0]
        results, places, place = [], [], 0
        for value, spec in zip(returned, self.program.graph_signature.output_specs, strict=True):
            # What else is written, such as the caller's input, is of no use to an artefact.
            if spec.kind == OutputKind.USER_OUTPUT:
                if isinstance(value, fx.Node):
                    results.append(value)
                    places.append(place)
                place += 1
        names = _output_names(self.program, places)
        for name, result in zip(names, results, strict=True):
            self._output(name, read[result])
        for value, spec in zip(returned, self.program.graph_signature.output_specs, strict=True):
            if spec.kind == OutputKind.BUFFER_MUTATION:
                state = self.states[str(spec.target)]
                self.graph.states[state] = self._output(f"{state}_next", read[value])

    def _output(self, wanted: str, operand: Operands) -> str:
        """Add an output; return its name, which is numbered if there is one of that name."""
        assert isinstance(operand, Value | Parameter)
        name, count = wanted, 0
        while name in self.graph.outputs:
            count += 1
            name = f"{wanted}_{count}"
        self.graph.outputs[name] = operand
        return name


def _spec(value: torch.Tensor) -> TensorSpec:
    shape = tuple(batch_multiple(size) for size in value.shape)
    return TensorSpec(shape, str(value.dtype).removeprefix("torch."))


def _same_storage(first: torch.Tensor, second: torch.Tensor) -> bool:
    return (
        first.numel() > 0
        and first.data_ptr() == second.data_ptr()
        and first.shape == second.shape
        and first.stride() == second.stride()
    )


def _output_names(program: ExportedProgram, places: Sequence[int]) -> list[str]:
    """Return names for results: as their keys, or ``output``, numbered if there are several.

    Args:
        program: what was exported; it says which structure the model returned.
        places: of the results among the leaves of that.
    """
    structure: Any = program.call_spec.out_spec
    numbered = pytree.tree_unflatten(range(structure.num_leaves), structure)
    paths = [path for path, _ in pytree.tree_flatten_with_path(numbered)[0]]
    named = (pytree.MappingKey, pytree.GetAttrKey)
    if any(isinstance(key, named) for place in places for key in paths[place]):
        return [writable("_".join(map(_key_text, paths[place]))) for place in places]
    return ["output"] if len(places) == 1 else [f"output_{n}" for n in range(len(places))]


def _key_text(key: Any) -> str:
    if isinstance(key, pytree.GetAttrKey):
        return key.name
    return str(key.key if isinstance(key, pytree.MappingKey) else key.idx)
