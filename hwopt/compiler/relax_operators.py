"""Relax operators of our own, which TVM's layout conversion turns to channels last.

That conversion begins at convolutions and goes as far as it knows the operators. One that it does
not know is computed channels first, with transpositions before and behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import tvm
from tvm import relax
from tvm.ir.op import register_op_attr
from tvm.s_tir import slayout

from hwopt.targets.templates.register_tile_space import OUT_ELEMENTWISE_FUSABLE

Loops = Callable[..., Any]
"""From TE tensors by name, numbers by name and the axes of channels, rows and columns to one."""

_PREFIX = "relax.hwopt."
#: Layouts as TVM's conversion writes them: where N, C, H and W are, as the letters A, B, C and D.
_AXES = {"ABCD": (1, 2, 3), "ACDB": (3, 1, 2)}
_FIRST, _LAST = "ABCD", "ACDB"
#: Fewer channels than these would leave most of a vector empty.
FEWEST_CHANNELS = 4


def define(name: str, loops: Loops, like: str) -> None:
    """Define an operator of images with 4 dimensions, all in one layout.

    Args:
        name: such as ``advection_diffusion``.
        loops: how it is computed.
        like: the name of the tensor whose shape and dtype the result has.
    """

    def infer_type(call: relax.Call, _builder: Any) -> Any:
        return _named(call)[like].ty

    def infer_layout(call: relax.Call, _wanted: Any, _decided: Any) -> Any:
        channels = int(_named(call)[like].ty.shape[_AXES[_FIRST][0]])
        layout = _LAST if channels >= FEWEST_CHANNELS else _FIRST
        decision = tvm.ir.make_node(
            "relax.transform.LayoutDecision", layout=slayout(layout), is_unknown_dim=False
        )
        return tvm.ir.make_node(
            "relax.transform.InferLayoutOutput",
            input_layouts=[decision] * len(call.args),
            output_layouts=[decision],
            new_attrs=tvm.ir.make_node("ir.DictAttrs", **dict(call.attrs) | {"layout": layout}),
            new_args={},
        )

    def legalize(builder: relax.BlockBuilder, call: relax.Call) -> Any:
        attrs = dict(call.attrs)
        names, axes = attrs.pop("tensors"), _AXES[str(attrs.pop("layout"))]

        def compute(*tensors: Any) -> Any:
            return loops(dict(zip(names, tensors, strict=True)), attrs, axes)

        return builder.call_te(
            compute,
            *call.args,
            primfunc_name_hint=name,
            # What makes its input stays apart: it would be computed anew for every neighbour.
            primfunc_attrs={"op_pattern": OUT_ELEMENTWISE_FUSABLE},
        )

    full = _PREFIX + name
    tvm.ir.op._ffi_api.RegisterOp(full, name)
    for attribute, value in (
        ("FInferType", infer_type),
        ("FRelaxInferLayout", infer_layout),
        ("FLegalize", legalize),
        ("FPurity", True),
    ):
        register_op_attr(full, attribute, value)


def call(name: str, tensors: Mapping[str, relax.Expr], **numbers: float) -> relax.Call:
    """Return a call of a defined operator; tensors are images with 4 dimensions."""
    attrs = tvm.ir.make_node("ir.DictAttrs", tensors=list(tensors), layout=_FIRST, **numbers)
    return relax.Call(tvm.ir.Op.get(_PREFIX + name), list(tensors.values()), attrs)


def is_own(operator: str) -> bool:
    """Return whether a Relax operator, by its full name, was defined here."""
    return operator.startswith(_PREFIX)


def _named(call: relax.Call) -> dict[str, Any]:
    return dict(zip(map(str, call.attrs["tensors"]), call.args, strict=True))
