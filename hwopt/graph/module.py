"""A graph as a trainable torch module."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from hwopt.errors import check_same_names
from hwopt.graph import operators
from hwopt.graph.types import Batch, Node, Operand, Parameter, Value

if TYPE_CHECKING:
    from hwopt.graph.structure import Structure


class Operation(nn.Module):
    """One node of the graph; it may also hold the parameters whose names it begins."""

    def __init__(self, node: Node) -> None:
        super().__init__()
        self._node = node
        self._operator = operators.get(node.op)
        self._attributes = {k: to_torch_argument(v) for k, v in node.attributes.items()}
        self._symbolic = {k for k, v in node.attributes.items() if _is_symbolic(v)}

    def forward(self, operands: dict[str, Any], batch: int | None) -> Any:
        """Call the torch function with tensors in place of the operands."""
        attributes = dict(self._attributes)
        for name in self._symbolic:
            assert batch is not None
            attributes[name] = at_batch(attributes[name], batch)
        if self._operator.mode:
            attributes.setdefault(self._operator.mode, self.training)
        return call(self._operator, {**attributes, **operands})

    def set_attribute(self, name: str, value: float) -> None:
        """Change an attribute in this module only, such as the momentum of a batch norm."""
        self._attributes[name] = value

    @property
    def name(self) -> str:
        """The name of the node."""
        return self._node.name

    @property
    def op(self) -> str:
        """The operator's name."""
        return self._node.op

    def extra_repr(self) -> str:
        """Return the operator's name, so that printing the module shows what it does."""
        return self.op


class GraphModule(nn.Module):
    """Runs a graph: ``state_dict`` has the names of the graph's parameters.

    It takes the graph's inputs in order, also in tuples, or by their names, and returns one tensor,
    or a tuple for several outputs.
    """

    def __init__(self, graph: Structure) -> None:
        super().__init__()
        # All names are private: the model's own may be ``inputs`` or ``outputs``.
        self._inputs = graph.inputs
        self._outputs = tuple(graph.outputs.values())
        operations = {node.name: Operation(node) for node in graph.nodes()}
        for name in sorted(operations, key=lambda n: n.count(".")):
            parent, leaf = self._owner(name)
            parent.add_module(leaf, operations[name])
        self._operations = tuple(operations.values())
        self._owners: dict[str, tuple[nn.Module, str]] = {}
        self._masks: dict[str, tuple[nn.Module, str]] = {}
        self._codes: dict[str, tuple[nn.Module, str]] = {}
        for name, tensor in graph.parameters.items():
            self._place(name, tensor.clone(), graph)
        for name, mask in graph.masks.items():
            self._masks[name] = self._place_beside(name, "mask", mask)
        for name in graph.codebooks & {name for name, _ in self.named_parameters()}:
            self._codes[name] = self._place_beside(name, "codes", _codes(graph.parameter(name)))
        self._reads = Counter(v for n in graph.nodes() for _, v in n.values())
        self._reads.update(v for v in self._outputs if isinstance(v, Value))

    @property
    def operations(self) -> tuple[Operation, ...]:
        """One module a node, in the order of the graph."""
        return self._operations

    def forward(self, *inputs: Any, **by_name: torch.Tensor) -> Any:
        """Run the nodes in order; a value is dropped after its last reader."""
        given = self._in_order(inputs, by_name)
        values = {Value(name): tensor for name, tensor in zip(self._inputs, given, strict=True)}
        batch = self._batch(given)
        left = Counter(self._reads)

        def read(operand: Operand | None) -> torch.Tensor | None:
            if isinstance(operand, Parameter):
                return self.used_parameter(operand.name)
            if operand is None:
                return None
            left[operand] -= 1
            return values[operand] if left[operand] else values.pop(operand)

        for operation in self._operations:
            operands = {
                role: [read(o) for o in operand] if isinstance(operand, tuple) else read(operand)
                for role, operand in operation._node.operands.items()
            }
            result = operation(operands, batch)
            for index, output in enumerate(_as_list(result)):
                if left[Value(operation._node.name, index)]:
                    values[Value(operation._node.name, index)] = output
        results = tuple(read(operand) for operand in self._outputs)
        return results[0] if len(results) == 1 else results

    def _in_order(
        self, inputs: tuple[Any, ...], by_name: dict[str, torch.Tensor]
    ) -> tuple[torch.Tensor, ...]:
        if by_name and not inputs:
            check_same_names("input", by_name, self._inputs)
            return tuple(by_name[name] for name in self._inputs)
        if all(isinstance(one, torch.Tensor) for one in inputs):
            return inputs
        return tuple(pytree.tree_leaves(inputs))

    def _batch(self, inputs: tuple[torch.Tensor, ...]) -> int | None:
        for tensor, spec in zip(inputs, self._inputs.values(), strict=True):
            for axis, dimension in enumerate(spec.shape):
                if isinstance(dimension, Batch):
                    return tensor.shape[axis] // dimension.multiple
        return None

    def _owner(self, name: str) -> tuple[nn.Module, str]:
        """Return the module that holds ``name`` and the last part of it, making containers."""
        module: nn.Module = self
        *path, leaf = name.split(".")
        for part in path:
            if part not in module._modules:
                module.add_module(part, nn.Module())
            module = module.get_submodule(part)
        return module, leaf

    def _place(self, name: str, tensor: torch.Tensor, graph: Structure) -> None:
        owner, leaf = self._owner(name)
        if graph.is_buffer(name):
            owner.register_buffer(leaf, tensor)
        else:
            parameter = nn.Parameter(tensor, requires_grad=not graph.is_frozen(name))
            owner.register_parameter(leaf, parameter)
        self._owners[name] = (owner, leaf)

    def _place_beside(self, name: str, what: str, tensor: torch.Tensor) -> tuple[nn.Module, str]:
        """Keep a tensor where the module's copies and devices go, but out of the state dict."""
        owner, leaf = self._owners[name]
        owner.register_buffer(f"{leaf}:{what}", tensor, persistent=False)
        return owner, f"{leaf}:{what}"

    def used_parameter(self, name: str) -> torch.Tensor:
        """Return a parameter as it counts: masked, so that no step of an optimizer revives it.

        The entries of a codebook get one gradient each.
        """
        tensor: torch.Tensor = getattr(*self._owners[name])
        if name in self._codes and torch.is_grad_enabled() and not torch.compiler.is_exporting():
            tensor = _Tied.apply(tensor, getattr(*self._codes[name]))
        if name in self._masks:
            tensor = tensor * getattr(*self._masks[name])
        return tensor


class _Tied(torch.autograd.Function):
    """Gives the entries of a codebook one gradient each, so that equal values stay equal.

    It is the mean over the weights that share the entry, where their sum would be the entry's own
    gradient: so a learning rate means the same with and without a codebook.
    """

    @staticmethod
    def forward(ctx: Any, weight: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        """Return the weight as it is."""
        ctx.save_for_backward(codes)
        return weight.view_as(weight)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        """Return the means; zeros have no entry."""
        (codes,) = ctx.saved_tensors
        counts = codes.reshape(-1).bincount()
        sums = gradient.new_zeros(len(counts))
        sums.index_add_(0, codes.reshape(-1), gradient.reshape(-1))
        means = sums / counts.clamp(min=1)
        means[0] = 0.0
        return means[codes], None


def _codes(tensor: torch.Tensor) -> torch.Tensor:
    """Return the number of every weight's entry, from 1 on; 0 where the weight is zero."""
    _, codes = tensor.detach().unique(return_inverse=True)
    return (codes + 1).masked_fill(tensor == 0, 0).int()


def call(operator: operators.Operator, arguments: dict[str, Any]) -> Any:
    """Call the torch function of an operator with arguments by name."""
    arguments = {**operator.fixed, **arguments}
    positional, keywords = [], {}
    for argument in operator.function._schema.arguments:
        value = arguments.get(argument.name, argument.default_value)
        if argument.kwarg_only:
            keywords[argument.name] = value
        else:
            positional.append(value)
    return operator.function(*positional, **keywords)


def at_batch(value: Any, batch: int) -> Any:
    """Replace every ``Batch`` in an attribute by the number for a batch size."""
    if isinstance(value, list | tuple):
        return [at_batch(v, batch) for v in value]
    return value.at(batch) if isinstance(value, Batch) else value


def _is_symbolic(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(map(_is_symbolic, value))
    return isinstance(value, Batch)


def to_torch_argument(value: Any) -> Any:
    """Turn an attribute into what torch takes: lists, dtypes, devices."""
    if isinstance(value, tuple):
        return [to_torch_argument(v) for v in value]
    if isinstance(value, str) and value.startswith("torch."):
        return getattr(torch, value.removeprefix("torch."))
    if isinstance(value, str) and value.startswith("device."):
        return torch.device(value.removeprefix("device."))
    return value


def _as_list(result: Any) -> Iterator[torch.Tensor]:
    return iter(result if isinstance(result, list | tuple) else (result,))
