"""The Global layer's time step and the interpolation of anchors: one loop nest each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import fx
from tvm import relax, te, tirx

from hwopt.compiler import relax_operators
from hwopt.compiler.fx_arguments import arguments

Axes = tuple[int, int, int]
_STEP, _ANCHORS = "advection_diffusion", "interpolate_anchors"


def converters() -> dict[str, Callable[[Any, Any], relax.Var]]:
    """Return how TVM's importer emits the operators."""
    return {
        "advection_diffusion.default": _convert_step,
        "interpolate_anchors.default": _convert_anchors,
    }


def _convert_step(node: Any, importer: Any) -> relax.Var:
    given = {name: value for name, value in arguments(node).items() if value is not None}
    fields = {n: importer.env[value] for n, value in given.items() if isinstance(value, fx.Node)}
    numbers = {name: value for name, value in given.items() if name not in fields}
    return importer.block_builder.emit(relax_operators.call(_STEP, fields, **numbers))


def _convert_anchors(node: Any, importer: Any) -> relax.Var:
    given = arguments(node)
    # The cheap pixels come first: the kernel that makes them can be merged with this one.
    images = {name: importer.env[given[name]] for name in ("cheap", "anchors", "weight")}
    shares = relax.op.reshape(images["weight"], (1, -1, 1, 1))
    images["weight"] = importer.block_builder.emit(shares)
    call = relax_operators.call(_ANCHORS, images, stride=given["stride"])
    return importer.block_builder.emit(call)


def _step(fields: Mapping[str, te.Tensor], numbers: Mapping[str, Any], axes: Axes) -> te.Tensor:
    """See ``hwopt.graph.advection_diffusion``; neighbours are read where they are.

    All is divided by the same number, which is known now where the diffusivity is constant.
    """
    time_step, spacing = float(numbers["time_step"]), int(numbers["spacing"])
    state, previous = fields["state"], fields["previous"]
    scale = 2 * time_step / spacing**2

    def compute(*place: Any) -> Any:
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

    return te.compute(state.shape, compute, name="advection_diffusion")


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

    def compute(*place: Any) -> Any:
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

    return te.compute(cheap.shape, compute, name="interpolate_anchors")


relax_operators.define(_STEP, _step, like="state")
relax_operators.define(_ANCHORS, _anchors, like="cheap")
