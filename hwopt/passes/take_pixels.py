"""``take-pixels``: a network that takes images as cameras and files give them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from hwopt.errors import HwoptError
from hwopt.graph import Graph, TensorSpec
from hwopt.graph.importer import import_model
from hwopt.passes.base import Context, Note, Pass, PassResult
from hwopt.passes.insertion import behind_input, unique_prefix


@dataclass(frozen=True)
class TakePixels(Pass):
    """Let a network take bytes, and do itself what was done to images before.

    Its input becomes uint8 of the same name: (N, height, width, channels), or (N, channels, height,
    width). It is resized (bilinear, as torch's ``interpolate`` without antialiasing) where it is of
    another size, and becomes ``(pixel / 255 - mean) / std`` in the network's order.

    Options:
        mean, std: as of the data that the network was trained on, in the network's order of
            channels; a number a channel, or one for all.
        size: (height, width) of what is taken; that of the network if empty.
        layout: ``channels-last``, as cameras and files have it, or ``channels-first``.
        swap: red and blue are the other way round in what is taken.

    Raises:
        HwoptError: if an option is out of range, or the network does not take one batch of images
            in float32.

    >>> str(TakePixels(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)))
    'take-pixels{mean=[0.485,0.456,0.406],std=[0.229,0.224,0.225]}'
    """

    name = "take-pixels"
    changes_interface = True

    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.5,)
    size: tuple[int, ...] = ()
    layout: Literal["channels-last", "channels-first"] = "channels-last"
    swap: bool = False

    def __post_init__(self) -> None:
        """Check the numbers."""
        super().__post_init__()
        if min(self.std, default=0.0) <= 0 or not self.mean:
            raise HwoptError(f"pass {self.name}: std must be positive, and mean a number or more")
        if self.size and (len(self.size) != 2 or min(self.size) < 1):
            raise HwoptError(f"pass {self.name}: size is [height,width], not {list(self.size)}")

    def requires(self, graph: Graph) -> str | None:
        """Return what is no batch of images."""
        shapes = [(spec.shape, spec.dtype) for spec in graph.inputs.values()]
        if len(shapes) != 1 or len(shapes[0][0]) != 4 or shapes[0][1] != "float32":
            found = ", ".join(str(spec) for spec in graph.inputs.values())
            return f"{graph.name} takes {found}, not one batch of images in float32"
        channels = shapes[0][0][1]
        for what, numbers in (("mean", self.mean), ("std", self.std)):
            if len(numbers) not in (1, channels):
                return f"images have {channels} channels, and {what} has {len(numbers)} numbers"
        return "there are no red and blue to swap" if self.swap and channels != 3 else None

    def apply(self, graph: Graph, context: Context) -> PassResult:
        """Return the graph behind what makes its input from bytes."""
        ((name, spec),) = graph.inputs.items()
        batch, channels, height, width = spec.at(2)
        taken = self.size or (height, width)
        is_last = self.layout == "channels-last"
        shape = (batch, *taken, channels) if is_last else (batch, channels, *taken)
        module = _FromPixels(self, (height, width), channels)
        part = import_model(module.eval(), torch.zeros(shape, dtype=torch.uint8))
        taken_spec = TensorSpec((spec.shape[0], *shape[1:]), "uint8")
        prefix = unique_prefix(graph, self.name.replace("-", "_"))
        result = behind_input(graph, prefix, part, taken_spec)
        message = f"takes uint8 {list(shape[1:])} in place of float32 {[channels, height, width]}"
        return PassResult(result, modified=True, notes=(Note(name, message, changed=True),))


class _FromPixels(nn.Module):
    def __init__(self, options: TakePixels, size: tuple[int, int], channels: int) -> None:
        super().__init__()
        self.is_last = options.layout == "channels-last"
        self.swap = options.swap
        self.size = None if options.size in ((), size) else size
        mean, std = (
            torch.tensor(one).expand(channels).reshape(1, -1, 1, 1)
            for one in (options.mean, options.std)
        )
        self.register_buffer("scale", 1 / (255 * std))
        self.register_buffer("shift", -mean / std)
        self.scale: Tensor
        self.shift: Tensor

    def forward(self, pixels: Tensor) -> Tensor:
        images = pixels.permute(0, 3, 1, 2) if self.is_last else pixels
        images = images.flip(1) if self.swap else images
        values = images.float()
        if self.size is not None:
            values = nn.functional.interpolate(values, self.size, mode="bilinear")
        return values * self.scale + self.shift
