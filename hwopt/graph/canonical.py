"""Operators that say in another way what one of the graph's own says."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from torch import fx

from hwopt.graph.symbols import batch_multiple
from hwopt.graph.types import Operands

if TYPE_CHECKING:
    from hwopt.graph.graph import Graph

#: ``conv2d(..., padding="same")``.
_PADDED_BY_NAME = re.compile(r"aten\.(conv[123]d)\.padding")
#: A graph knows no devices and no memory formats.
_CASTS = tuple(
    f"aten.{name}"
    for name in ("to.device", "to.dtype_layout", "to.other", "_to_copy.default", "type_as.default")
)
_SHAPED_LIKE_ANOTHER = ("aten.reshape_as.default", "aten.view_as.default")


def canonical(
    graph: Graph,
    name: str,
    op: str,
    operands: dict[str, Operands],
    attributes: dict[str, Any],
    node: fx.Node,
) -> tuple[str, dict[str, Operands], dict[str, Any]]:
    """Return operator, operands and attributes in the graph's own words.

    Args:
        graph: a node that pads is added to it where a convolution pads its sides unequally.
        name: of the node that is imported.
        op, operands, attributes: as torch has them.
        node: of the exported program, for shapes: the graph's are not known yet.
    """
    if op in _SHAPED_LIKE_ANOTHER:
        shape = tuple(batch_multiple(size) for size in node.meta["val"].shape)
        return "reshape", {"self": operands["self"]}, {"shape": shape}
    if op in _CASTS:
        dtype = str(node.meta["val"].dtype)
        return "to", {"self": operands["self"]}, {"dtype": dtype}
    convolution = _PADDED_BY_NAME.fullmatch(op)
    if convolution is None:
        return op, operands, attributes
    attributes = dict(attributes)
    if attributes.pop("padding", "valid") == "same":
        weight: Any = node.args[1]
        window = tuple(map(int, weight.meta["val"].shape[2:]))
        dilation = tuple(attributes.get("dilation", ())) or (1,) * len(window)
        added = [d * (size - 1) for d, size in zip(_all(dilation, window), window, strict=True)]
        attributes["padding"] = tuple(n // 2 for n in added)
        if any(n % 2 for n in added):
            # torch adds one more at the end than at the beginning.
            sides = [side for n in reversed(added) for side in (n // 2, n - n // 2)]
            padded = graph.add_node(
                graph.unique_name(f"{name}.pad"),
                "pad",
                {"self": operands["input"]},
                {"pad": tuple(sides), "mode": "constant", "value": 0.0},
            )
            operands = operands | {"input": padded}
            attributes["padding"] = (0,) * len(window)
    return convolution[1], operands, attributes


def _all(sizes: tuple[int, ...], window: tuple[int, ...]) -> tuple[int, ...]:
    """Return a size for every dimension of the window; torch takes one for all."""
    return sizes * len(window) if len(sizes) == 1 else sizes
