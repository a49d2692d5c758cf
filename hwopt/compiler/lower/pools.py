"""Pooling of one to three dimensions."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from tvm import relax, te, tirx

from hwopt.compiler.loops import compute
from hwopt.compiler.lower.call import Call, Converter, Spec, Tensor
from hwopt.compiler.lower.reductions import extreme_place, least_of

op = relax.op


def _listed(given: Any, count: int, default: Sequence[int] = ()) -> list[int]:
    numbers = [given] if isinstance(given, int) else list(given)
    return list(default) if not numbers else numbers * count if len(numbers) == 1 else numbers


def _borders(
    call: Call,
    x: Tensor,
    window: list[int],
    stride: list[int],
    padding: list[int],
    dilation: list[int],
) -> list[int]:
    """Return how far windows reach behind the end of each dimension, padding included.

    Torch says how many windows there are; with ``ceil_mode`` the last may reach further.
    """
    count = len(window)
    behind = []
    for n in range(count):
        size, results = x.shape[n - count], call.shape[n - count]
        reach = (results - 1) * stride[n] + dilation[n] * (window[n] - 1) + 1
        behind.append(max(padding[n], reach - size - padding[n]))
    return behind


def max_pool(
    call: Call,
    x: Tensor,
    kernel_size: Any,
    stride: Any = (),
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> Tensor:
    """Convert ``max_pool1d``, ``2d`` and ``3d``."""
    count = int(call.name[8])
    window = _listed(kernel_size, count)
    steps, pads, gaps = (
        _listed(stride, count, window),
        _listed(padding, count),
        _listed(dilation, count),
    )
    behind = _borders(call, x, window, steps, pads, gaps)
    if len(x.shape) == count + 1:
        batched = call.reshaped(x, (1, *x.shape))
        found = _max_pooled(call, batched, (1, *call.shape), window, steps, pads, behind, gaps)
        return call.reshaped(found, call.shape)
    return _max_pooled(call, x, call.shape, window, steps, pads, behind, gaps)


def _max_pooled(
    call: Call,
    x: Tensor,
    shape: tuple[int, ...],
    window: list[int],
    stride: list[int],
    padding: list[int],
    behind: list[int],
    dilation: list[int],
) -> Tensor:
    count = len(window)
    function = {1: op.nn.max_pool1d, 2: op.nn.max_pool2d, 3: op.nn.max_pool3d}[count]
    first, last = {1: ("NCW", "NWC"), 2: ("NCHW", "NHWC"), 3: ("NCDHW", "NDHWC")}[count]
    channels_last = (0, *range(2, count + 2), 1)
    is_last = x.order == channels_last
    order = channels_last if is_last else tuple(range(count + 2))
    found = function(
        call.ordered(x, order),
        pool_size=window,
        strides=stride,
        padding=[*padding, *behind],
        dilation=dilation,
        layout=last if is_last else first,
    )
    return call.temporary(call.emit(found), Spec(shape, x.dtype), order)


def max_pool_with_indices(
    call: Call,
    x: Tensor,
    kernel_size: Any,
    stride: Any = (),
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> list[Tensor]:
    """Convert ``max_pool_with_indices``: an index counts within the rows of one channel."""
    count = int(call.name[8])
    window = _listed(kernel_size, count)
    steps, pads, gaps = (
        _listed(stride, count, window),
        _listed(padding, count),
        _listed(dilation, count),
    )
    sizes = x.shape[-count:]

    def describe(data: te.Tensor) -> list[te.Tensor]:
        taps = [te.reduce_axis((0, n), name="tap") for n in window]
        reducer = extreme_place(is_max=True)

        def at(*index: Any) -> Any:
            outer, last = index[:-count], index[-count:]
            places = [last[n] * steps[n] - pads[n] + taps[n] * gaps[n] for n in range(count)]
            inside = tirx.all(
                *itertools.chain.from_iterable(
                    (p >= 0, p < s) for p, s in zip(places, sizes, strict=True)
                )
            )
            flat = places[0]
            for place, size in zip(places[1:], sizes[1:], strict=True):
                flat = flat * size + place
            least = least_of(str(data.dtype))
            value = tirx.if_then_else(inside, data(*outer, *places), least)
            order = tirx.if_then_else(inside, tirx.Cast("int64", flat), tirx.const(2**62, "int64"))
            return reducer((order, value), axis=taps)

        places, values = compute(call.shape, at, name="pool")
        return [values, places]

    both = call.te(describe, call.plain(x))
    return [call.result(call.emit(relax.TupleGetItem(both, n)), index=n) for n in range(2)]


def avg_pool(
    call: Call,
    x: Tensor,
    kernel_size: Any,
    stride: Any = (),
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """Convert ``avg_pool1d``, ``2d`` and ``3d``: sums, and what each of them is divided by."""
    count = int(call.name[8])
    window = _listed(kernel_size, count)
    steps, pads = _listed(stride, count, window), _listed(padding, count)
    sizes = x.shape[-count:]
    shape = call.shape
    rank = len(x.shape)
    order = x.order

    def describe(data: te.Tensor) -> te.Tensor:
        taps = [te.reduce_axis((0, n), name="tap") for n in window]

        def at(*index: Any) -> Any:
            where, inside = list(index), []
            for n in range(count):
                axis = order.index(rank - count + n)
                place = index[axis] * steps[n] + taps[n] - pads[n]
                where[axis] = place
                last = (call.shape[n - count] - 1) * steps[n] + window[n] - 1 - pads[n]
                inside += [place >= 0] if pads[n] else []
                inside += [place < sizes[n]] if last >= sizes[n] else []
            value = data(*where)
            if inside:
                value = tirx.if_then_else(tirx.all(*inside), value, tirx.const(0, data.dtype))
            return te.sum(value, axis=taps)

        return compute([shape[dim] for dim in order], at, name="sums")

    sums = call.te(describe, call.ordered(x, order), name="avg_pool")
    divisors = _divisors(call, sizes, window, steps, pads, count_include_pad, divisor_override)
    if divisors.unique().numel() == 1:
        by = call.number(divisors.flatten()[0].item(), call.dtype)
    else:
        aligned = Tensor(Spec.of(divisors), constant=divisors)
        by = call.aligned(aligned, order, call.dtype)
    return call.result(call.emit(op.divide(sums, by)), order)


def _divisors(
    call: Call,
    sizes: Sequence[int],
    window: list[int],
    stride: list[int],
    padding: list[int],
    include_pad: bool,
    override: int | None,
) -> torch.Tensor:
    """Return what each sum is divided by, as torch counts: no window is longer than the padding."""
    count = len(window)
    found = torch.ones([1] * count, dtype=torch.float64)
    for n in range(count):
        starts = torch.arange(call.shape[n - count]) * stride[n] - padding[n]
        ends = (starts + window[n]).clamp(max=sizes[n] + padding[n])
        if not include_pad:
            starts, ends = starts.clamp(min=0), ends.clamp(max=sizes[n])
        shape = [1] * count
        shape[n] = -1
        found = found * (ends - starts).double().reshape(shape)
    if override:
        found = torch.full_like(found, override)
    return found.to(getattr(torch, call.dtype))


def adaptive_avg_pool(call: Call, x: Tensor, output_size: Any) -> Tensor:
    """Convert ``adaptive_avg_pool``: windows that share the dimension as evenly as can be."""
    count = int(call.name.partition("pool")[2][0])
    rank = len(x.shape)
    batched = x if rank == count + 2 else call.reshaped(x, (1, *x.shape))
    sizes = list(call.shape[-count:])
    function = {
        1: op.nn.adaptive_avg_pool1d,
        2: op.nn.adaptive_avg_pool2d,
        3: op.nn.adaptive_avg_pool3d,
    }[count]
    first, last = {1: ("NCW", "NWC"), 2: ("NCHW", "NHWC"), 3: ("NCDHW", "NDHWC")}[count]
    channels_last = (0, *range(2, count + 2), 1)
    is_last = batched.order == channels_last
    order = channels_last if is_last else tuple(range(count + 2))
    found = function(call.ordered(batched, order), sizes, layout=last if is_last else first)
    spec = Spec((*batched.shape[:2], *sizes), x.dtype)
    return call.reshaped(call.temporary(call.emit(found), spec, order), call.shape)


def adaptive_max_pool(call: Call, x: Tensor, output_size: Any) -> list[Tensor]:
    """Convert ``adaptive_max_pool`` with its indices."""
    count = int(call.name.partition("pool")[2][0])
    sizes, results = x.shape[-count:], call.shape[-count:]
    widest = [
        max((-(-(i + 1) * n // r)) - i * n // r for i in range(r))
        for n, r in zip(sizes, results, strict=True)
    ]

    def describe(data: te.Tensor) -> list[te.Tensor]:
        taps = [te.reduce_axis((0, n), name="tap") for n in widest]
        reducer = extreme_place(is_max=True)

        def at(*index: Any) -> Any:
            outer, last = index[:-count], index[-count:]
            places, inside = [], []
            for i, tap, n, r in zip(last, taps, sizes, results, strict=True):
                places.append(i * n // r + tap)
                inside.append(places[-1] < ((i + 1) * n + r - 1) // r)
            flat = places[0]
            for place, size in zip(places[1:], sizes[1:], strict=True):
                flat = flat * size + place
            value = tirx.if_then_else(
                tirx.all(*inside), data(*outer, *places), least_of(str(data.dtype))
            )
            far = tirx.const(2**62, "int64")
            where = tirx.if_then_else(tirx.all(*inside), tirx.Cast("int64", flat), far)
            return reducer((where, value), axis=taps)

        places, values = compute(call.shape, at, name="pool")
        return [values, places]

    both = call.te(describe, call.plain(x))
    return [call.result(call.emit(relax.TupleGetItem(both, n)), index=n) for n in range(2)]


CONVERTERS: dict[str, Converter] = {
    **{f"max_pool{n}d.default": max_pool for n in (1, 2, 3)},
    **{f"max_pool{n}d_with_indices.default": max_pool_with_indices for n in (1, 2, 3)},
    **{f"avg_pool{n}d.default": avg_pool for n in (1, 2, 3)},
    **{f"adaptive_avg_pool{n}d.default": adaptive_avg_pool for n in (1, 2, 3)},
    "_adaptive_avg_pool2d.default": adaptive_avg_pool,
    "_adaptive_avg_pool3d.default": adaptive_avg_pool,
    **{f"adaptive_max_pool{n}d.default": adaptive_max_pool for n in (1, 2, 3)},
}
