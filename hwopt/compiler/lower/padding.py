"""Padding: with a number, or with elements of the tensor itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm import te, tirx

from hwopt.compiler.loops import compute
from hwopt.compiler.lower.call import Call, Converter, Order, Spec, Tensor
from hwopt.compiler.lower.movement import sliced


def pad(call: Call, x: Tensor, widths: Sequence[int], value: Any = 0.0) -> Tensor:
    """Convert ``constant_pad_nd``: from the last dimension on; a width below 0 cuts."""
    return padded(call, x, _by_dimension(x, widths), value or 0)


def _by_dimension(x: Tensor, widths: Sequence[int]) -> dict[int, tuple[int, int]]:
    last = len(x.shape) - 1
    pairs = zip(widths[::2], widths[1::2], strict=True)
    return {last - i: pair for i, pair in enumerate(pairs) if any(pair)}


def padded(call: Call, x: Tensor, widths: dict[int, tuple[int, int]], value: Any) -> Tensor:
    """Return a tensor with a value around it, or less of it where a width is below 0."""
    for dim, (before, behind) in widths.items():
        end = x.shape[dim] - max(0, -behind)
        x = sliced(call, x, dim, max(0, -before), end)
    added = {dim: tuple(max(0, n) for n in pair) for dim, pair in widths.items()}
    if not any(map(any, added.values())):
        return x
    shape = tuple(n + sum(added.get(dim, (0, 0))) for dim, n in enumerate(x.shape))
    if x.constant is not None:
        x = Tensor(x.spec, call.constant(x.constant), tuple(range(len(x.shape))))
    pairs = [added.get(dim, (0, 0)) for dim in x.order]

    def describe(data: te.Tensor) -> te.Tensor:
        def at(*index: Any) -> Any:
            inside, places = [], []
            for i, n, (before, behind) in zip(index, data.shape, pairs, strict=True):
                places.append(i - before if before else i)
                inside += [i >= before] if before else []
                inside += [i < n + before] if behind else []
            other = tirx.const(bool(value) if x.dtype == "bool" else value, x.dtype)
            return tirx.if_then_else(tirx.all(*inside), data(*places), other)

        return compute([shape[dim] for dim in x.order], at, name="pad")

    found = call.te(describe, x.expr, name="pad")
    return Tensor(Spec(shape, x.dtype), found, x.order)


def _mirrored(place: Any, size: int) -> Any:
    place = tirx.abs(place)
    return tirx.if_then_else(place < size, place, 2 * size - 2 - place)


def _nearest(place: Any, size: int) -> Any:
    return tirx.max(0, tirx.min(place, size - 1))


def _around(place: Any, size: int) -> Any:
    return tirx.floormod(place, size)


def padding_from(rule: Any) -> Converter:
    """Return a converter for padding by elements of the tensor itself."""

    def convert(call: Call, x: Tensor, widths: Sequence[int]) -> Tensor:
        order: Order = x.order
        pairs = {order.index(dim): pair for dim, pair in _by_dimension(x, widths).items()}

        def describe(data: te.Tensor) -> te.Tensor:
            def at(*index: Any) -> Any:
                places = list(index)
                for axis, (before, _) in pairs.items():
                    places[axis] = rule(index[axis] - before, int(data.shape[axis]))
                return data(*places)

            return compute([call.shape[dim] for dim in order], at, name="pad")

        return call.result(call.te(describe, call.ordered(x, order)), order)

    return convert


def pad_by_mode(
    call: Call, x: Tensor, widths: Sequence[int], mode: str = "constant", value: Any = None
) -> Tensor:
    """Convert ``pad``, which names its way of padding."""
    if mode == "constant":
        return pad(call, x, widths, value)
    if mode == "circular":  # what is cut off is not wrapped around
        x = padded(call, x, _by_dimension(x, [min(0, width) for width in widths]), 0)
        return padding_from(_around)(call, x, [max(0, width) for width in widths])
    return padding_from({"reflect": _mirrored, "replicate": _nearest}[mode])(call, x, widths)


CONVERTERS: dict[str, Converter] = {
    "pad.default": pad_by_mode,
    "constant_pad_nd.default": pad,
    **{f"reflection_pad{n}d.default": padding_from(_mirrored) for n in (1, 2, 3)},
    **{f"replication_pad{n}d.default": padding_from(_nearest) for n in (1, 2, 3)},
}
