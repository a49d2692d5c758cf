"""What passes call a layer: a node that multiplies its input by a weight."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from hwopt.errors import HwoptError
from hwopt.passes.base import Note

if TYPE_CHECKING:
    from hwopt.graph import Graph

#: Operators that mix their input's channels, with the axis of the output's channels in the weight.
TRANSPOSED = ("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
OUTPUT_AXIS = {"conv1d": 0, "conv2d": 0, "conv3d": 0, **dict.fromkeys(TRANSPOSED, 1), "linear": 0}

#: From a layer to what multiplies the signs of its input.
BINARY = {"conv2d": "binary_conv2d", "linear": "binary_linear"}


def weights(graph: Graph, *, biases: bool = False) -> list[str]:
    """Return the names of the layers' weights in the order of the graph, each once.

    Args:
        graph: whose layers.
        biases: return the layers' biases, too.
    """
    names = []
    for node in graph.nodes():
        if node.op in OUTPUT_AXIS:
            roles = ("weight", "bias") if biases else ("weight",)
            names += [node.parameter(role) for role in roles]
    # Fixed kernels, such as those of a blur, are no weights.
    return [n for n in dict.fromkeys(names) if n is not None and not graph.is_buffer(n)]


def binary_weights(graph: Graph) -> list[str]:
    """Return the names of the weights of binary layers in the order of the graph, each once."""
    names = [n.parameter("weight") for n in graph.nodes() if n.op in BINARY.values()]
    return [name for name in dict.fromkeys(names) if name is not None]


def notes_on_binary(graph: Graph) -> list[Note]:
    """Return a note on every binary weight, for passes that leave them as they are."""
    reason = "a binary layer, whose weights become signs"
    return [Note(name, reason, changed=False) for name in binary_weights(graph)]


def begins_with(name: str, prefix: str) -> bool:
    """Say whether a dotted name begins with whole parts.

    >>> begins_with("stage1.conv.weight", "stage1"), begins_with("stage10.conv.weight", "stage1")
    (True, False)
    """
    return name == prefix or name.startswith(prefix + ".")


def is_chosen(name: str, layers: tuple[str, ...], exclude: tuple[str, ...] = ()) -> bool:
    """Say whether a name begins with one of ``layers`` (all do if empty) and none of ``exclude``.

    >>> is_chosen("stem.weight", ()), is_chosen("stem.weight", ("stem",), ("stem.weight",))
    (True, False)
    """
    chosen = not layers or any(begins_with(name, prefix) for prefix in layers)
    return chosen and not any(begins_with(name, prefix) for prefix in exclude)


def notes_on_unknown(prefixes: Iterable[str], names: Iterable[str]) -> list[Note]:
    """Return a note on every prefix that no name begins with."""
    names = list(names)
    return [
        Note(prefix, "no layer has such a name", changed=False)
        for prefix in dict.fromkeys(prefixes)
        if not any(begins_with(name, prefix) for name in names)
    ]


def check_share(where: str, ratio: float) -> None:
    """Refuse a share that is not in [0, 1).

    Raises:
        HwoptError: with ``where`` in front.
    """
    if not 0 <= ratio < 1:
        raise HwoptError(f"{where} must be in [0, 1), not {ratio}")
