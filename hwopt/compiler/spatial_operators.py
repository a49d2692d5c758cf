"""The Global layer's time step and the interpolation of anchors: one loop nest each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tvm import te, tirx

from hwopt.compiler.loops import compute
from hwopt.compiler.lower.call import Call, Tensor
from hwopt.graph.advection_diffusion import OPERATOR
from hwopt.targets.templates.register_tile_space import OUT_ELEMENTWISE_FUSABLE

Axes = tuple[int, int, int]
#: Fewer channels than these would leave most of a vector empty.
FEWEST_CHANNELS = 4
_FIRST, _LAST = (0, 1, 2, 3), (0, 2, 3, 1)


def convert_step(call: Call, state: Tensor, previous: Tensor, *others: Any, **named: Any) -> Tensor:
    """Emit the Global layer's time step."""
    names = [argument.name for argument in OPERATOR._opoverload._schema.arguments]
    given = dict(zip(names, (state, previous, *others), strict=False)) | named
    fields = {n: value for n, value in given.items() if isinstance(value, Tensor)}
    numbers = {n: v for n, v in given.items() if n not in fields and v is not None}
    return _emitted(call, _step, fields, numbers)


def convert_anchors(
    call: Call, anchors: Tensor, cheap: Tensor, weight: Tensor, stride: int
) -> Tensor:
    """Emit the interpolation of anchors."""
    shares = call.reshaped(weight, (1, weight.shape[0], 1, 1))
    # The cheap pixels come first: the kernel that makes them can be merged with this one.
    images = {"cheap": cheap, "anchors": anchors, "weight": shares}
    return _emitted(call, _anchors, images, {"stride": stride})


def _emitted(
    call: Call,
    loops: Callable[..., te.Tensor],
    images: Mapping[str, Tensor],
    numbers: Mapping[str, Any],
) -> Tensor:
    """Emit loops over images, channels last where there are enough of them."""
    order = _LAST if call.shape[1] >= FEWEST_CHANNELS else _FIRST
    axes = (order.index(1), order.index(2), order.index(3))

    def describe(*tensors: te.Tensor) -> te.Tensor:
        return loops(dict(zip(images, tensors, strict=True)), numbers, axes)

    operands = [call.ordered(image, order) for image in images.values()]
    # What makes its input stays apart: it would be computed anew for every neighbour.
    attrs = {"op_pattern": OUT_ELEMENTWISE_FUSABLE}
    return call.result(call.te(describe, *operands, attrs=attrs), order)


def _step(fields: Mapping[str, te.Tensor], numbers: Mapping[str, Any], axes: Axes) -> te.Tensor:
    """See ``hwopt.graph.advection_diffusion``; neighbours are read where they are.

    All is divided by the same number, which is known now where the diffusivity is constant.
    """
    time_step, spacing = float(numbers["time_step"]), int(numbers["spacing"])
    state, previous = fields["state"], fields["previous"]
    scale = 2 * time_step / spacing**2

    def at_place(*place: Any) -> Any:
        def spread(direction: str) -> Any:
            field = fields.get(f"diffusivity_{direction}")
            return scale * (float(numbers["diffusivity"]) if field is None else field(*place))

        spread_h, spread_w = spread("h"), spread("w")
        share = 1 / (1 + spread_h + spread_w)
        result = previous(*place) * ((1 - spread_h - spread_w) * share)
        flow = divergence = None
        for axis, direction, spread_here in zip(axes[1:], "hw", (spread_h, spread_w), strict=True):
            after = _shifted(place, axis, spacing, state.shape[axis])
            before = _shifted(place, axis, -spacing, state.shape[axis])
            velocity = fields[f"velocity_{direction}"]
            result += (state(*after) + state(*before)) * (spread_here * share)
            along = velocity(*place) * (state(*after) - state(*before))
            growth = velocity(*after) - velocity(*before)
            flow = along if flow is None else flow + along
            divergence = growth if divergence is None else divergence + growth
        result += (flow + divergence * state(*place)) * (time_step / spacing * share)
        if "source" in fields:
            result += fields["source"](*place) * (2 * time_step * share)
        return result

    return compute(state.shape, at_place, name="advection_diffusion")


def _shifted(place: tuple[Any, ...], axis: int, by: int, size: Any) -> list[Any]:
    """Return the place that is so many pixels further, on the other side if need be."""
    by = by % int(size)
    moved = place[axis] + by
    around = tirx.if_then_else(moved < size, moved, moved - size) if by else moved
    return [around if number == axis else index for number, index in enumerate(place)]


def _anchors(images: Mapping[str, te.Tensor], numbers: Mapping[str, Any], axes: Axes) -> te.Tensor:
    """See ``hwopt.graph.anchors``."""
    anchors, cheap, weight = (images[name] for name in ("anchors", "cheap", "weight"))
    stride = int(numbers["stride"])
    channel, *directions = axes

    def at(place: tuple[Any, ...], further: tuple[int, int]) -> Any:
        where = list(place)
        for axis, by in zip(directions, further, strict=True):
            last = anchors.shape[axis] - 1
            where[axis] = tirx.min(place[axis] // stride + by, last)
        return anchors(*where)

    def at_place(*place: Any) -> Any:
        down, right = (
            tirx.Cast(cheap.dtype, place[axis] % stride) * (1 / stride) for axis in directions
        )
        left_side = at(place, (0, 0)) + down * (at(place, (1, 0)) - at(place, (0, 0)))
        right_side = at(place, (0, 1)) + down * (at(place, (1, 1)) - at(place, (0, 1)))
        between = left_side + right * (right_side - left_side)
        share = weight(*(place[axis] if axis == channel else 0 for axis in range(4)))
        mixed = (1 - share) * between + share * cheap(*place)
        is_anchor = tirx.all(*(place[axis] % stride == 0 for axis in directions))
        return tirx.if_then_else(is_anchor, at(place, (0, 0)), mixed)

    return compute(cheap.shape, at_place, name="interpolate_anchors")
