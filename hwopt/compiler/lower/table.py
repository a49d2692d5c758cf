"""Every operator that is lowered as it is; all others are decomposed into these first."""

from __future__ import annotations

from hwopt.compiler.lower import (
    attention,
    batch_norms,
    comparisons,
    convolutions,
    elementwise,
    functions,
    indexing,
    movement,
    normalization,
    own,
    padding,
    pools,
    products,
    quotients,
    rearrangement,
    recurrent,
    reductions,
    resize,
    scatter,
    sorting,
    suppression,
)
from hwopt.compiler.lower.call import Converter

#: From ``name.overload`` of a torch operator to how it is emitted.
CONVERTERS: dict[str, Converter] = {
    **elementwise.CONVERTERS,
    **comparisons.CONVERTERS,
    **functions.CONVERTERS,
    **quotients.CONVERTERS,
    **movement.CONVERTERS,
    **rearrangement.CONVERTERS,
    **padding.CONVERTERS,
    **reductions.CONVERTERS,
    **sorting.CONVERTERS,
    **indexing.CONVERTERS,
    **scatter.CONVERTERS,
    **products.CONVERTERS,
    **convolutions.CONVERTERS,
    **normalization.CONVERTERS,
    **batch_norms.CONVERTERS,
    **attention.CONVERTERS,
    **pools.CONVERTERS,
    **resize.CONVERTERS,
    **recurrent.CONVERTERS,
    **suppression.CONVERTERS,
    **own.CONVERTERS,
}


#: What torch's own decompositions end in besides: what in ATen has the same name.
_PRIMITIVES = {
    "where": "where.self",
    "sum": "sum.dim_IntList",
    "convert_element_type": "_to_copy.default",
    **{name: f"{name}.Tensor" for name in ("add", "sub", "mul", "div", "eq", "ne")},
    **{name: f"{name}.Tensor" for name in ("lt", "le", "gt", "ge", "bitwise_and", "bitwise_or")},
    **{
        name: f"{name}.default"
        for name in ("abs", "ceil", "floor", "neg", "exp", "exp2", "log", "sqrt", "rsqrt")
    },
    **{
        name: f"{name}.default"
        for name in ("lgamma", "maximum", "minimum", "fmax", "fmin", "isnan", "signbit")
    },
}
CONVERTERS |= {f"prims.{name}.default": CONVERTERS[other] for name, other in _PRIMITIVES.items()}
CONVERTERS["prims.var.default"] = lambda call, x, dims, correction=1, **_: reductions.variance(
    call, x, dims, correction
)


def key(target: str) -> str:
    """Return the name in the table of a full name such as ``aten.add.Tensor``.

    >>> key("aten.add.Tensor"), key("prims.where.default")
    ('add.Tensor', 'prims.where.default')
    """
    return target if target.startswith("prims.") else target.partition(".")[2]
