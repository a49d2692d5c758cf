"""Operators that move elements, and make tensors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from hwopt.graph.onnx.node import OnnxNode
from hwopt.graph.onnx.table import Operator
from hwopt.graph.onnx.values import (
    Value,
    dtype_of,
    ints,
    is_known,
    number,
    plain,
    sizes,
    tensor,
)


def axes_of(node: OnnxNode, given: Value, what: str = "axes") -> list[int] | None:
    """Return axes that are an input since some version, and were an attribute before."""
    if given is not None:
        return [int(one) for one in ints(node, given, what)]
    return node.get(what)


def _reshape(node: OnnxNode, x: Value, shape: Value) -> torch.Tensor:
    data = tensor(x)
    wanted = ints(node, shape, "the shape")
    if not node.get("allowzero", 0):
        wanted = [
            data.shape[i] if isinstance(n, int) and n == 0 else n for i, n in enumerate(wanted)
        ]
    return data.reshape(wanted)


def _reshape_sizes(node: OnnxNode, x: np.ndarray, shape: np.ndarray) -> np.ndarray:
    return x.reshape([int(n) for n in shape])


def _transpose(node: OnnxNode, x: Value) -> torch.Tensor:
    data = tensor(x)
    return data.permute(node.get("perm", list(range(data.dim()))[::-1]))


def _squeeze(node: OnnxNode, x: Value, axes: Value = None) -> torch.Tensor:
    data, dims = tensor(x), axes_of(node, axes)
    if dims is None:
        dims = [d for d, size in enumerate(data.shape) if isinstance(size, int) and size == 1]
    return data.squeeze(tuple(dims)) if dims else data


def _squeeze_sizes(node: OnnxNode, x: np.ndarray, axes: np.ndarray | None = None) -> np.ndarray:
    dims = axes_of(node, axes)
    return np.squeeze(x, None if dims is None else tuple(dims))


def _unsqueeze(node: OnnxNode, x: Value, axes: Value = None) -> torch.Tensor:
    data = tensor(x)
    dims = axes_of(node, axes) or []
    rank = data.dim() + len(dims)
    for dim in sorted(d % rank for d in dims):
        data = data.unsqueeze(dim)
    return data


def _unsqueeze_sizes(node: OnnxNode, x: np.ndarray, axes: np.ndarray | None = None) -> np.ndarray:
    return np.expand_dims(x, tuple(axes_of(node, axes) or ()))


def _flatten(node: OnnxNode, x: Value) -> torch.Tensor:
    data = tensor(x)
    axis = node.get("axis", 1)
    axis += data.dim() if axis < 0 else 0
    if axis == 1 and data.dim() > 1:
        return data.flatten(1)
    return data.reshape(math.prod(data.shape[:axis]), math.prod(data.shape[axis:]))


def _concat(node: OnnxNode, *values: Value) -> torch.Tensor:
    return torch.cat([tensor(value) for value in values], node.get("axis"))


def _concat_sizes(node: OnnxNode, *values: np.ndarray) -> np.ndarray:
    return np.concatenate([value.astype(object) for value in values], node.get("axis"))


def _split(node: OnnxNode, x: Value, split: Value = None) -> tuple[torch.Tensor, ...]:
    data, axis = tensor(x), node.get("axis", 0)
    lengths = node.get("split") if split is None else ints(node, split, "the lengths")
    if lengths is None:
        count = node.get("num_outputs", len(node.outputs))
        length = -(-data.shape[axis] // count)
        rest = data.shape[axis] - length * (count - 1)
        lengths = [length] * (count - 1) + [rest]
    return tuple(torch.split(data, lengths, axis))


def _split_sizes(node: OnnxNode, x: np.ndarray, split: Value = None) -> tuple[np.ndarray, ...]:
    lengths = node.get("split") if split is None else ints(node, split, "the lengths")
    parts = len(node.outputs) if lengths is None else np.cumsum(lengths)[:-1]
    return tuple(np.split(x, parts, node.get("axis", 0)))


def _places(node: OnnxNode, given: tuple[Value, ...]) -> list[tuple[int, Any, Any, int]]:
    """Return (axis, start, end, step) of a slice."""
    if node.version < 10:
        starts, ends = node.get("starts"), node.get("ends")
        axes, steps = node.get("axes"), None
    else:
        names = ("starts", "ends", "axes", "steps")
        read = [None if v is None else ints(node, v, n) for n, v in zip(names, given, strict=False)]
        starts, ends, axes, steps = [*read, None, None][:4]
    axes = list(range(len(starts))) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    return list(zip(axes, starts, ends, steps, strict=True))


def _slice(node: OnnxNode, x: Value, *given: Value) -> torch.Tensor:
    data = tensor(x)
    for axis, start, end, step in _places(node, given):
        size = data.shape[axis]
        if step > 0:
            first = start if isinstance(start, int) and start >= 0 else _within(start, size)
            last = None if isinstance(end, int) and end >= 2**31 - 1 else end
            index = [slice(None)] * (axis % data.dim()) + [slice(first, last, step)]
            data = data[tuple(index)]
        else:
            places = list(range(*slice(start, end if end >= -size else None, step).indices(size)))
            data = data.index_select(axis, torch.tensor(places, dtype=torch.int64))
    return data


def _within(start: Any, size: Any) -> Any:
    if isinstance(start, int) and isinstance(size, int):
        return max(start, -size)
    return start


def _slice_sizes(node: OnnxNode, x: np.ndarray, *given: Value) -> np.ndarray:
    index = [slice(None)] * x.ndim
    for axis, start, end, step in _places(node, given):
        index[axis] = slice(start, None if step < 0 and end < -x.shape[axis] else end, step)
    return x[tuple(index)]


def _gather(node: OnnxNode, x: Value, indices: Value) -> torch.Tensor:
    data, axis = tensor(x), node.get("axis", 0)
    if is_known(indices) and indices.ndim == 0:
        return data.select(axis, int(indices))
    where = tensor(indices).long()
    axis %= data.dim()
    if (
        not is_known(indices)
        and axis == 0
        and data.dim() == 2
        and isinstance(data, torch.nn.Parameter)
    ):
        return F.embedding(where, data)
    if (is_known(indices) and (indices < 0).any()) or not is_known(indices):
        where = torch.where(where < 0, where + data.shape[axis], where)
    if where.dim() == 1:
        return data.index_select(axis, where)
    found = data.index_select(axis, where.reshape(-1))
    return found.reshape(*data.shape[:axis], *where.shape, *data.shape[axis + 1 :])


def _gather_sizes(node: OnnxNode, x: np.ndarray, indices: np.ndarray) -> np.ndarray:
    return np.asarray(np.take(x, indices.astype(np.int64), node.get("axis", 0)), x.dtype)


def _from_front(index: torch.Tensor, size: int) -> torch.Tensor:
    return torch.where(index < 0, index + size, index)


def _gather_elements(node: OnnxNode, x: Value, indices: Value) -> torch.Tensor:
    data, axis = tensor(x), node.get("axis", 0)
    where = _from_front(tensor(indices).long(), data.shape[axis])
    return data.gather(axis, where)


def _gather_nd(node: OnnxNode, x: Value, indices: Value) -> torch.Tensor:
    data, where, batch = tensor(x), tensor(indices).long(), node.get("batch_dims", 0)
    shape = where.shape[:batch]
    flat, places = data.reshape(-1, *data.shape[batch:]), where.reshape(-1, *where.shape[batch:])
    rows = torch.arange(flat.shape[0]).reshape(-1, *[1] * (places.dim() - 2))
    found = flat[(rows, *places.unbind(-1))]
    return found.reshape(*shape, *found.shape[1:])


def _scatter_elements(node: OnnxNode, x: Value, indices: Value, updates: Value) -> torch.Tensor:
    data, axis, kind = tensor(x), node.get("axis", 0), node.get("reduction", "none")
    where, source = _from_front(tensor(indices).long(), data.shape[axis]), tensor(updates)
    if kind == "none":
        return data.scatter(axis, where, source)
    reduce = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}[kind]
    return data.scatter_reduce(axis, where, source, reduce)


def _scatter_nd(node: OnnxNode, x: Value, indices: Value, updates: Value) -> torch.Tensor:
    data, where, source = tensor(x), tensor(indices).long(), tensor(updates)
    kind = node.get("reduction", "none")
    places = where.unbind(-1)
    if kind == "none":
        return data.index_put(places, source)
    if kind == "add":
        return data.index_put(places, source, accumulate=True)
    depth = len(places)
    flat = torch.zeros_like(places[0])
    for place, size in zip(places, data.shape[:depth], strict=True):
        flat = flat * size + _from_front(place, size)
    rows, others = data.reshape(-1, *data.shape[depth:]), [1] * (data.dim() - depth)
    values = source.reshape(-1, *data.shape[depth:])
    index = flat.reshape(-1, *others).expand(values.shape)
    reduce = {"mul": "prod", "max": "amax", "min": "amin"}[kind]
    return rows.scatter_reduce(0, index, values, reduce).reshape(data.shape)


def _expand(node: OnnxNode, x: Value, shape: Value) -> torch.Tensor:
    data, wanted = tensor(x), ints(node, shape, "the shape")
    rank = max(data.dim(), len(wanted))
    ours, theirs = [1] * (rank - data.dim()) + list(data.shape), [1] * (rank - len(wanted)) + wanted
    both = [a if isinstance(b, int) and b == 1 else b for a, b in zip(ours, theirs, strict=True)]
    return data.expand(both)


def _tile(node: OnnxNode, x: Value, repeats: Value) -> torch.Tensor:
    return tensor(x).repeat(ints(node, repeats, "the repeats"))


def _pad(
    node: OnnxNode, x: Value, pads: Value = None, value: Value = None, axes: Value = None
) -> Any:
    data = tensor(x)
    widths = node.get("pads") if pads is None else ints(node, pads, "the widths")
    dims = list(range(data.dim())) if axes is None else ints(node, axes, "axes")
    filled = node.get("value", 0.0) if value is None else number(node, value, "the value")
    count = len(dims)
    by_dim = {int(d) % data.dim(): (widths[i], widths[i + count]) for i, d in enumerate(dims)}
    return padded(node, data, by_dim, node.get("mode", "constant"), filled)


def padded(node: OnnxNode, x: torch.Tensor, by_dim: dict[int, Any], mode: str, value: Any) -> Any:
    """Pad dimensions, all at once with a value, or one by one with elements of the tensor."""
    modes = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}
    if mode == "constant":
        last = max((d for d, pair in by_dim.items() if any(pair)), default=None)
        if last is None:
            return x
        first = min(d for d, pair in by_dim.items() if any(pair))
        pairs = [by_dim.get(d, (0, 0)) for d in range(x.dim() - 1, first - 1, -1)]
        if x.dtype == torch.bool:
            value = bool(value)
        elif not x.is_floating_point():
            value = int(value)
        return F.pad(x, [width for pair in pairs for width in pair], "constant", value)
    for dim, pair in by_dim.items():
        if any(pair):
            turned = x.movedim(dim, -1)
            rows = F.pad(turned.reshape(1, -1, turned.shape[-1]), list(pair), modes[mode])
            x = rows.reshape(*turned.shape[:-1], rows.shape[-1]).movedim(-1, dim)
    return x


def _shape(node: OnnxNode, x: Value) -> np.ndarray:
    shape = list(x.shape) if isinstance(x, np.ndarray) else list(tensor(x).shape)
    return sizes(shape[slice(node.get("start", 0), node.get("end"))])


def _size(node: OnnxNode, x: Value) -> np.ndarray:
    return sizes([math.prod(tensor(x).shape)]).reshape(())


def _constant_of_shape(node: OnnxNode, shape: Value) -> torch.Tensor:
    value = node.get("value", np.zeros(1, np.float32))
    dtype = tensor(value).dtype
    return torch.full(ints(node, shape, "the shape"), value.reshape(-1)[0].item(), dtype=dtype)


def _constant(node: OnnxNode) -> np.ndarray:
    for name, value in node.attributes.items():
        if name in ("value", "sparse_value"):
            return np.asarray(value)
        if name in ("value_float", "value_floats"):
            return np.array(value, np.float32)
        if name in ("value_int", "value_ints"):
            return np.array(value, np.int64)
    raise node.refuse("a constant of texts")


def _range(node: OnnxNode, start: Value, limit: Value, delta: Value) -> torch.Tensor:
    values = (start, limit, delta)
    found = [number(node, v, w) for v, w in zip(values, ("start", "limit", "delta"), strict=True)]
    return torch.arange(*found, dtype=tensor(start).dtype if start.dtype != object else torch.int64)


def _depth_to_space(node: OnnxNode, x: Value) -> torch.Tensor:
    data, block = tensor(x), node.get("blocksize")
    if node.get("mode", "DCR") == "CRD":
        return F.pixel_shuffle(data, block)
    n, c, h, w = data.shape
    parts = data.reshape(n, block, block, c // block**2, h, w).permute(0, 3, 4, 1, 5, 2)
    return parts.reshape(n, c // block**2, h * block, w * block)


def _space_to_depth(node: OnnxNode, x: Value) -> torch.Tensor:
    data, block = tensor(x), node.get("blocksize")
    n, c, h, w = data.shape
    parts = data.reshape(n, c, h // block, block, w // block, block)
    depth_first = node.get("mode", "DCR") == "DCR"
    parts = parts.permute((0, 3, 5, 1, 2, 4) if depth_first else (0, 1, 3, 5, 2, 4))
    return parts.reshape(n, c * block**2, h // block, w // block)


def _triangle(node: OnnxNode, x: Value, k: Value = None) -> torch.Tensor:
    function = torch.triu if node.get("upper", 1) else torch.tril
    return function(tensor(x), 0 if k is None else int(number(node, k, "k")))


def _eye_like(node: OnnxNode, x: Value) -> torch.Tensor:
    data = tensor(x)
    dtype = dtype_of(node, node.get("dtype")) if node.get("dtype") else data.dtype
    rows, columns = data.shape
    steps = torch.arange(columns)[None] - torch.arange(rows)[:, None]
    return (steps == node.get("k", 0)).to(dtype)


def _one_hot(node: OnnxNode, indices: Value, depth: Value, values: Value) -> torch.Tensor:
    count, where = int(number(node, depth, "the depth")), tensor(indices).long()
    axis = node.get("axis", -1) % (where.dim() + 1)
    off, on = tensor(values).unbind()
    places = torch.arange(count).reshape([-1 if d == axis else 1 for d in range(where.dim() + 1)])
    return torch.where(_from_front(where, count).unsqueeze(axis) == places, on, off)


def _compress(node: OnnxNode, x: Value, condition: Value) -> torch.Tensor:
    data, axis = tensor(x), node.get("axis")
    places = np.flatnonzero(plain(node, condition, "the condition"))
    data, axis = (data.reshape(-1), 0) if axis is None else (data, axis)
    return data.index_select(axis, torch.from_numpy(places))


def _reverse_sequence(node: OnnxNode, x: Value, lengths: Value) -> torch.Tensor:
    data, time, batch = tensor(x), node.get("time_axis", 0), node.get("batch_axis", 1)
    shape = [1] * data.dim()
    steps = torch.arange(data.shape[time]).reshape(
        [-1 if d == time else 1 for d in range(len(shape))]
    )
    ends = tensor(lengths).reshape([-1 if d == batch else 1 for d in range(len(shape))])
    where = torch.where(steps < ends, ends - 1 - steps, steps)
    return data.gather(time, where.expand(data.shape))


def _center_crop_pad(node: OnnxNode, x: Value, shape: Value) -> torch.Tensor:
    data = tensor(x)
    dims = node.get("axes", list(range(data.dim())))
    widths = {}
    for dim, wanted in zip(dims, ints(node, shape, "the shape"), strict=True):
        more = wanted - data.shape[dim]
        before = more // 2 if more > 0 else -((-more) // 2)
        widths[dim % data.dim()] = (before, more - before)
    return padded(node, data, widths, "constant", 0)


def _tensor_scatter(
    node: OnnxNode, past: Value, update: Value, start: Value = None
) -> torch.Tensor:
    data, source, axis = tensor(past), tensor(update), node.get("axis", -2) % tensor(past).dim()
    first = torch.zeros(data.shape[0], dtype=torch.int64) if start is None else tensor(start).long()
    steps = first[:, None] + torch.arange(source.shape[axis])
    if node.get("mode", "linear") == "circular":
        steps = steps % data.shape[axis]
    where = steps.reshape(
        [-1 if d in (0, axis) else 1 for d in range(data.dim())][:0]
        or [
            steps.shape[0] if d == 0 else steps.shape[1] if d == axis else 1
            for d in range(data.dim())
        ]
    )
    return data.scatter(axis, where.expand(source.shape), source)


OPERATORS: dict[str, Operator] = {
    "Reshape": Operator(_reshape, plain=(1,), on_sizes=_reshape_sizes),
    "Transpose": Operator(_transpose),
    "Squeeze": Operator(_squeeze, plain=(1,), on_sizes=_squeeze_sizes),
    "Unsqueeze": Operator(_unsqueeze, plain=(1,), on_sizes=_unsqueeze_sizes),
    "Flatten": Operator(_flatten),
    "Concat": Operator(_concat, on_sizes=_concat_sizes),
    "Split": Operator(_split, plain=(1,), on_sizes=_split_sizes),
    "Slice": Operator(_slice, plain=(1, 2, 3, 4), on_sizes=_slice_sizes),
    "Gather": Operator(_gather, weights={0: "weight"}, plain=(1,), on_sizes=_gather_sizes),
    "GatherElements": Operator(_gather_elements),
    "GatherND": Operator(_gather_nd),
    "ScatterElements": Operator(_scatter_elements),
    "Scatter": Operator(_scatter_elements),
    "ScatterND": Operator(_scatter_nd),
    "Expand": Operator(_expand, plain=(1,)),
    "Tile": Operator(_tile, plain=(1,)),
    "Pad": Operator(_pad, plain=(1, 2, 3)),
    "Shape": Operator(_shape, on_sizes=_shape),
    "Size": Operator(_size),
    "Constant": Operator(_constant),
    "ConstantOfShape": Operator(_constant_of_shape, plain=(0,)),
    "Range": Operator(_range, plain=(0, 1, 2)),
    "Identity": Operator(lambda node, x: x, on_sizes=lambda node, x: x),
    "DepthToSpace": Operator(_depth_to_space),
    "SpaceToDepth": Operator(_space_to_depth),
    "Trilu": Operator(_triangle, plain=(1,)),
    "EyeLike": Operator(_eye_like),
    "OneHot": Operator(_one_hot, plain=(1,)),
    "Compress": Operator(_compress, plain=(1,)),
    "ReverseSequence": Operator(_reverse_sequence),
    "CenterCropPad": Operator(_center_crop_pad, plain=(1,)),
    "TensorScatter": Operator(_tensor_scatter),
}
