"""``cond`` in Relax: a kernel that chooses between two results, and is merged with no other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tvm
from torch import fx
from tvm import relax, te, tirx
from tvm.ir.op import register_op_attr

from hwopt.compiler.fx_arguments import arguments

_NAME = "relax.hwopt.cond"
#: TVM's pattern of kernels that are merged with no other.
_OPAQUE = 8
_CHOICE = "hwopt.cond"


def converters() -> dict[str, Callable[[Any, Any], relax.Var]]:
    """Return how TVM's importer emits the operator."""
    return {"cond.default": _convert}


def _convert(node: fx.Node, importer: Any) -> relax.Var:
    operands = [importer.env[operand] for operand in arguments(node).values()]
    return importer.block_builder.emit(relax.Call(tvm.ir.Op.get(_NAME), operands))


def _infer_type(call: relax.Call, _builder: Any) -> Any:
    return call.args[1].ty


def _legalize(builder: relax.BlockBuilder, call: relax.Call) -> Any:
    def choose(predicate: te.Tensor, then: te.Tensor, otherwise: te.Tensor) -> te.Tensor:
        def chosen(*place: Any) -> Any:
            return tirx.if_then_else(predicate[place[0]], then(*place), otherwise(*place))

        return te.compute(then.shape, chosen, name="cond")

    attrs = {"op_pattern": _OPAQUE, _CHOICE: True}
    return builder.call_te(choose, *call.args, primfunc_name_hint="cond", primfunc_attrs=attrs)


tvm.ir.op._ffi_api.RegisterOp(_NAME, "cond")
for _attribute, _value in (
    ("FInferType", _infer_type),
    ("FLegalize", _legalize),
    ("FPurity", True),
):
    register_op_attr(_NAME, _attribute, _value)


def choices(mod: tvm.IRModule) -> frozenset[str]:
    """Return the names of the kernels that choose."""
    return frozenset(
        var.name_hint
        for var, func in mod.functions.items()
        if func.attrs is not None and _CHOICE in func.attrs
    )
