"""What a graph is made of: dimensions, tensor specifications, values and nodes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from hwopt.errors import HwoptError


@dataclass(frozen=True)
class Batch:
    """A dimension that is ``multiple`` times the batch size; it prints as ``N`` or ``4*N``.

    >>> Batch(4), Batch().at(8)
    (4*N, 8)
    """

    multiple: int = 1

    def at(self, batch: int) -> int:
        """Return the dimension for a batch size."""
        return self.multiple * batch

    def __repr__(self) -> str:
        return "N" if self.multiple == 1 else f"{self.multiple}*N"


Dimension = int | Batch

_SHORT_DTYPES = {
    "float32": "f32",
    "float64": "f64",
    "float16": "f16",
    "bfloat16": "bf16",
    "complex64": "c64",
    "complex128": "c128",
    "int64": "i64",
    "int32": "i32",
    "int16": "i16",
    "int8": "i8",
    "uint8": "u8",
    "uint16": "u16",
    "uint32": "u32",
    "uint64": "u64",
    "bool": "bool",
}
_LONG_DTYPES = {short: name for name, short in _SHORT_DTYPES.items()}
_ITEM_SIZES = {"28": 16, "64": 8, "32": 4, "16": 2, "t8": 1, "ol": 1}  # by how names end


@dataclass(frozen=True)
class TensorSpec:
    """Shape and dtype of a tensor; the dtype is torch's name without ``torch.``.

    Raises:
        HwoptError: if there is no short name for the dtype.

    >>> spec = TensorSpec((Batch(), 3, 32, 32), "float32")
    >>> print(spec, spec.at(8), spec.elements())
    f32[N, 3, 32, 32] (8, 3, 32, 32) 3072
    """

    shape: tuple[Dimension, ...]
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if self.dtype not in _SHORT_DTYPES:
            raise HwoptError(
                f"tensors of {self.dtype} have no place in a graph: convert them in the model to "
                f"one of {', '.join(_SHORT_DTYPES)}"
            )

    def at(self, batch: int = 1) -> tuple[int, ...]:
        """Return the shape for a batch size."""
        return tuple(d.at(batch) if isinstance(d, Batch) else d for d in self.shape)

    def elements(self, batch: int = 1) -> int:
        """Return the number of elements for a batch size."""
        return math.prod(self.at(batch))

    def bytes(self, batch: int = 1) -> int:
        """Return the size in bytes for a batch size."""
        return self.elements(batch) * _ITEM_SIZES[self.dtype[-2:]]

    @classmethod
    def from_short(cls, dtype: str, shape: tuple[Dimension, ...]) -> TensorSpec:
        """Return the specification for a short dtype as printed, such as ``f32``."""
        return cls(shape, _LONG_DTYPES[dtype])

    def __str__(self) -> str:
        return f"{_SHORT_DTYPES[self.dtype]}[{', '.join(map(repr, self.shape))}]"


@dataclass(frozen=True, order=True)
class Value:
    """One output of a node (or a graph input); prints as ``%name`` or ``%name#1``."""

    node: str
    output: int = 0

    def __str__(self) -> str:
        return f"%{self.node}#{self.output}" if self.output else f"%{self.node}"


@dataclass(frozen=True, order=True)
class Parameter:
    """A reference to a named tensor of the graph; prints as ``@name``."""

    name: str

    def __str__(self) -> str:
        return f"@{self.name}"


Operand = Value | Parameter
#: What one tensor argument of an operator takes: one operand, or a list with optional gaps.
Operands = Operand | tuple[Operand | None, ...]


@dataclass(frozen=True)
class Node:
    """One call of an operator.

    Attributes:
        name: unique in the graph, such as ``stages.1.conv``.
        op: the hwopt name (``conv2d``) or the full ATen name (``aten.roll.default``).
        operands: tensor arguments by the argument's name in the operator's schema.
        attributes: all other arguments, defaults included; lists are tuples.
        outputs: one specification an output, filled in by ``Graph.infer_shapes``.

    >>> node = Node("relu", "relu", {"self": Value("x")})
    >>> node.input
    Value(node='x', output=0)
    """

    name: str
    op: str
    operands: Mapping[str, Operands] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)
    outputs: tuple[TensorSpec, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "operands", MappingProxyType(dict(self.operands)))
        object.__setattr__(self, "attributes", MappingProxyType(dict(self.attributes)))

    def __deepcopy__(self, memo: object) -> Node:
        """Return the node itself: it never changes."""
        return self

    @property
    def input(self) -> Value:
        """The first value that the node reads."""
        return next(value for _, value in self.values())

    @property
    def output(self) -> TensorSpec:
        """The specification of the first output."""
        return self.outputs[0]

    def flat_operands(self) -> Iterator[tuple[str, Operand]]:
        """Yield every operand with its role; the elements of a list share one role."""
        for role, operands in self.operands.items():
            for operand in operands if isinstance(operands, tuple) else (operands,):
                if operand is not None:
                    yield role, operand

    def values(self) -> Iterator[tuple[str, Value]]:
        """Yield (role, value) for every value that the node reads."""
        for role, operand in self.flat_operands():
            if isinstance(operand, Value):
                yield role, operand

    def parameters(self) -> Iterator[tuple[str, str]]:
        """Yield (role, parameter name) for every parameter that the node refers to."""
        for role, operand in self.flat_operands():
            if isinstance(operand, Parameter):
                yield role, operand.name

    def parameter(self, role: str) -> str | None:
        """Return the name of the parameter in ``role``, or None."""
        operand = self.operands.get(role)
        return operand.name if isinstance(operand, Parameter) else None

    def mapped(self, function: Callable[[Operand], Operand]) -> Node:
        """Return a copy with another operand for each, those in lists too.

        >>> Node("sum", "add", {"self": Value("x"), "other": Parameter("b")}).mapped(
        ...     lambda operand: Value("y") if operand == Value("x") else operand
        ... ).input
        Value(node='y', output=0)
        """

        def other(operand: Operand | None) -> Operand | None:
            return None if operand is None else function(operand)

        operands = {
            role: tuple(map(other, given)) if isinstance(given, tuple) else other(given)
            for role, given in self.operands.items()
        }
        return self.replace(operands=operands)

    def replace(self, **changes: Any) -> Node:
        """Return a copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def with_attributes(self, /, **changes: Any) -> Node:
        """Return a copy with some attributes changed."""
        return self.replace(attributes={**self.attributes, **changes})

    def with_operands(self, /, **changes: Operands) -> Node:
        """Return a copy with some operands changed."""
        return self.replace(operands={**self.operands, **changes})
