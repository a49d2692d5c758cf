"""``cond`` in Relax: a kernel that chooses between two results, and is merged with no other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tvm
from tvm import te, tirx

from hwopt.compiler.loops import compute

if TYPE_CHECKING:
    from hwopt.compiler.lower.call import Call, Tensor

#: TVM's pattern of kernels that are merged with no other.
_OPAQUE = 8
_CHOICE = "hwopt.cond"


def convert(call: Call, predicate: Tensor, then: Tensor, otherwise: Tensor) -> Tensor:
    """Emit the choice, in the order of axes of its results."""
    order = call.common_order((then, otherwise))
    row = order.index(0)

    def choose(asked: te.Tensor, one: te.Tensor, other: te.Tensor) -> te.Tensor:
        def chosen(*place: Any) -> Any:
            return tirx.if_then_else(asked[place[row]], one(*place), other(*place))

        return compute(one.shape, chosen, name="cond")

    operands = (call.plain(predicate), call.ordered(then, order), call.ordered(otherwise, order))
    attrs = {"op_pattern": _OPAQUE, _CHOICE: True}
    return call.result(call.te(choose, *operands, name="cond", attrs=attrs), order)


def choices(mod: tvm.IRModule) -> frozenset[str]:
    """Return the names of the kernels that choose."""
    return frozenset(
        var.name_hint
        for var, func in mod.functions.items()
        if func.attrs is not None and _CHOICE in func.attrs
    )
