"""One call of a torch operator on its way to Relax: its operands, and what a converter emits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from tvm import relax

from hwopt.compiler.lower.orders import Order, order_after_reshape
from hwopt.errors import HwoptError


@dataclass(frozen=True)
class Spec:
    """Shape and dtype of a tensor; the dtype is torch's name without ``torch.``."""

    shape: tuple[int, ...]
    dtype: str

    @classmethod
    def of(cls, tensor: torch.Tensor) -> Spec:
        """Return those of a torch tensor."""
        return cls(tuple(map(int, tensor.shape)), str(tensor.dtype).removeprefix("torch."))

    def empty(self) -> torch.Tensor:
        """Return a torch tensor like this, without storage if a fake mode is on."""
        return torch.empty(self.shape, dtype=getattr(torch, self.dtype))

    def __str__(self) -> str:
        return f"{self.dtype}{list(self.shape)}"


@dataclass(frozen=True, eq=False)
class Tensor:
    """A tensor of torch's in Relax, whose axes may stand in another order there.

    Attributes:
        spec: shape and dtype as torch has them.
        expr: the tensor in Relax; None for a constant.
        order: which of torch's dimensions each axis of ``expr`` is, (0, 2, 3, 1) for channels last.
        constant: what it holds, if that is known now.
    """

    spec: Spec
    expr: Any = None
    order: Order = ()
    constant: torch.Tensor | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape as torch has it."""
        return self.spec.shape

    @property
    def dtype(self) -> str:
        """The dtype as torch calls it."""
        return self.spec.dtype

    @property
    def is_reordered(self) -> bool:
        """Whether the axes stand in another order than torch's."""
        return self.constant is None and self.order != tuple(range(len(self.shape)))


@dataclass(frozen=True)
class Check:
    """Something that inputs must fulfil, found out while the model runs.

    Attributes:
        fails: an int32 of shape (1,) in Relax, not zero where an input is wrong.
        sentence: what is wrong then.
    """

    fails: Any
    sentence: str


@dataclass
class Module:
    """What all calls of one graph share.

    Attributes:
        builder: of the Relax function.
        checks: that the function makes besides its outputs.
        reordered: tensors that were emitted in another order, by variable and axes.
    """

    builder: relax.BlockBuilder
    checks: list[Check] = field(default_factory=list)
    reordered: dict[tuple[Any, Order], Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Call:
    """A call of an operator.

    Attributes:
        module: what it is emitted into.
        name: of the operator, such as ``avg_pool2d``: kernels are named after it.
        place: the node, for messages.
        results: what torch says of the results.
    """

    module: Module
    name: str
    place: str
    results: tuple[Spec, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the first result."""
        return self.results[0].shape

    @property
    def dtype(self) -> str:
        """The dtype of the first result."""
        return self.results[0].dtype

    def refuse(self, what: str) -> HwoptError:
        """Return the error that says what of this operator cannot be compiled."""
        return HwoptError(f"{self.place}: {self.name} with {what} cannot be compiled")

    # -- what converters read ----------------------------------------------------------------

    def plain(self, x: Tensor, dtype: str | None = None) -> Any:
        """Return a tensor in Relax with torch's order of axes."""
        return self.ordered(x, tuple(range(len(x.shape))), dtype)

    def ordered(self, x: Tensor, order: Order, dtype: str | None = None) -> Any:
        """Return a tensor in Relax with its axes in an order, of another dtype if one is given."""
        wanted = dtype or x.dtype
        if x.constant is not None:
            cast = x.constant.to(getattr(torch, wanted))
            return self.constant(cast.permute(order) if order else cast)
        found = x.expr
        if x.order != order:
            axes = tuple(x.order.index(axis) for axis in order)
            key = (x.expr, axes)
            if key not in self.module.reordered:
                self.module.reordered[key] = self.emit(relax.op.permute_dims(x.expr, axes))
            found = self.module.reordered[key]
        return found if wanted == x.dtype else self.cast(found, x.dtype, wanted)

    def cast(self, x: Any, dtype: str, wanted: str) -> Any:
        """Return a Relax tensor as another dtype, as torch converts it."""
        if wanted == "bool":
            return self.emit(relax.op.not_equal(x, self.number(0, dtype)))
        if dtype.startswith("float") and wanted.startswith("uint"):
            # Below zero machine code for the direct way may give anything; torch's wraps around.
            x = self.emit(relax.op.astype(x, "int64"))
        return self.emit(relax.op.astype(x, wanted))

    def common_order(self, operands: Iterable[Any]) -> Order:
        """Return the order in which an elementwise operator is computed: that of an operand."""
        for x in operands:
            if isinstance(x, Tensor) and x.is_reordered and len(x.shape) == len(self.shape):
                return x.order
        return tuple(range(len(self.shape)))

    def aligned(self, x: Any, order: Order, dtype: str) -> Any:
        """Return an operand, tensor or number, ready to be broadcast to the result's shape."""
        if not isinstance(x, Tensor):
            return self.number(x, dtype)
        rank, missing = len(x.shape), len(order) - len(x.shape)
        if rank == 0 or (missing and order == tuple(range(len(order)))):
            return self.plain(x, dtype)
        return self.ordered(self.with_rank(x, len(order)) if missing else x, order, dtype)

    def with_rank(self, x: Tensor, rank: int) -> Tensor:
        """Return a tensor with dimensions of one before its own."""
        shape = (1,) * (rank - len(x.shape)) + x.shape
        return self.reshaped(x, shape)

    def reshaped(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        """Return a tensor with another shape, of the same elements in torch's order."""
        spec = Spec(tuple(shape), x.dtype)
        if x.constant is not None:
            return Tensor(spec, constant=x.constant.reshape(spec.shape))
        if x.shape == spec.shape:
            return x
        order = order_after_reshape(x.shape, spec.shape, x.order)
        if order is None:
            order = tuple(range(len(shape)))
            x = Tensor(x.spec, self.plain(x), tuple(range(len(x.shape))))
        sizes = [shape[axis] for axis in order]
        return Tensor(spec, self.emit(relax.op.reshape(x.expr, sizes)), order)

    def promoted(self, *operands: Any) -> str:
        """Return the dtype that torch gives to what is computed of tensors and numbers."""
        with torch.no_grad():
            metas = [
                torch.empty(x.shape, dtype=getattr(torch, x.dtype), device="meta")
                if isinstance(x, Tensor)
                else x
                for x in operands
            ]
            found = metas[0].dtype if len(metas) == 1 else torch.result_type(*metas[:2])
            for other in metas[2:]:
                found = torch.result_type(torch.empty((1,), dtype=found, device="meta"), other)
        return str(found).removeprefix("torch.")

    # -- what converters emit ----------------------------------------------------------------

    def emit(self, expr: Any) -> Any:
        """Bind an expression to a variable; constants stay as they are."""
        return self.module.builder.emit(expr)

    def te(
        self,
        function: Callable[..., Any],
        *operands: Any,
        name: str = "",
        attrs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Emit a kernel that is described by loops: ``function`` of TE tensors."""
        called = self.module.builder.call_te(
            function, *operands, primfunc_name_hint=name or self.name, primfunc_attrs=attrs
        )
        return self.emit(called)

    def number(self, value: Any, dtype: str) -> Any:
        """Return a number as a Relax constant without dimensions."""
        return self.constant(torch.tensor(value, dtype=getattr(torch, dtype)))

    def constant(self, tensor: torch.Tensor) -> Any:
        """Return a torch tensor as a Relax constant."""
        array = tensor.detach().contiguous().numpy()
        return relax.const(array, str(tensor.dtype).removeprefix("torch."))

    def result(self, expr: Any, order: Order | None = None, index: int = 0) -> Tensor:
        """Return an expression as one of the results, with its axes in an order."""
        spec = self.results[index]
        return Tensor(spec, expr, tuple(range(len(spec.shape))) if order is None else order)

    def temporary(self, expr: Any, spec: Spec, order: Order | None = None) -> Tensor:
        """Return an expression as a tensor that is no result."""
        return Tensor(spec, expr, tuple(range(len(spec.shape))) if order is None else order)

    def check(self, fails: Any, sentence: str) -> None:
        """Let the model say a sentence where an int32 of shape (1,) is not zero."""
        self.module.checks.append(Check(fails, sentence))


Converter = Callable[..., Any]
"""From a call and its arguments, in the order of the operator's schema, to its results.

Arguments are :class:`Tensor`, numbers, lists of them, or None; keyword arguments of the schema are
given by name. One result is a :class:`Tensor`, several are a list.
"""
