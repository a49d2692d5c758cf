"""Every operator that is lowered as it is; all others are decomposed into these first."""

from __future__ import annotations

from hwopt.compiler.lower import (
    elementwise,
    functions,
    indexing,
    layers,
    movement,
    normalization,
    own,
    pools,
    reductions,
    resize,
)
from hwopt.compiler.lower.call import Converter

#: From ``name.overload`` of a torch operator to how it is emitted.
CONVERTERS: dict[str, Converter] = {
    **elementwise.CONVERTERS,
    **functions.CONVERTERS,
    **movement.CONVERTERS,
    **reductions.CONVERTERS,
    **indexing.CONVERTERS,
    **layers.CONVERTERS,
    **normalization.CONVERTERS,
    **pools.CONVERTERS,
    **resize.CONVERTERS,
    **own.CONVERTERS,
}


def key(target: str) -> str:
    """Return the name in the table of a full name such as ``aten.add.Tensor``."""
    return target.partition(".")[2]
