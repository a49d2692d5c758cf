"""Channels sorted by the layers that make them."""

from __future__ import annotations

from dataclasses import dataclass

from hwopt.passes.channels.labels import ChannelLabels, Labels
from hwopt.passes.layers import begins_with


@dataclass(frozen=True)
class ChannelGroup:
    """Channels that come from the same layers.

    Attributes:
        layers: the layers that produce the channels, by the names of their weights.
        classes: what can be removed: all labels of one class go together.
        width: channels of the first layer that one class stands for (2 if two groups of a
            convolution are narrowed alike).
    """

    layers: tuple[str, ...]
    classes: tuple[int, ...]
    width: int = 1

    def __str__(self) -> str:
        """Return the names of the layers.

        >>> print(ChannelGroup(("stem.weight", "conv2.weight"), (0, 1)))
        stem + conv2
        """
        return " + ".join(layer.removesuffix(".weight") for layer in self.layers)

    def is_named(self, prefixes: tuple[str, ...]) -> bool:
        """Say whether a layer's name begins with one of these, at a whole part of the name."""
        return any(begins_with(layer, prefix) for layer in self.layers for prefix in prefixes)


def find_groups(labels: ChannelLabels, classes: Labels) -> list[ChannelGroup]:
    """Return the channels sorted by the layers that produce them, in the order of the graph."""
    layers_of: dict[int, list[str]] = {}
    channels: dict[str, int] = {}
    for entry in labels.slices:
        if entry.produces:
            channels[entry.parameter] = len(entry.labels)
            for index in dict.fromkeys(classes[entry.labels].tolist()):
                layers = layers_of.setdefault(index, [])
                if entry.parameter not in layers:
                    layers.append(entry.parameter)
    by_layers: dict[tuple[str, ...], list[int]] = {}
    for index, layers in layers_of.items():
        by_layers.setdefault(tuple(layers), []).append(index)
    return [
        ChannelGroup(layers, tuple(members), max(1, channels[layers[0]] // len(members)))
        for layers, members in by_layers.items()
    ]
