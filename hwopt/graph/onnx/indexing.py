"""Reading and writing where numbers say."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from hwopt.graph.onnx.node import OnnxNode
from hwopt.graph.onnx.operator import OnnxOperator
from hwopt.graph.onnx.values import (
    OnnxValue,
    ints,
    is_known,
    number,
    plain,
    tensor,
)


def _places(node: OnnxNode, given: tuple[OnnxValue, ...]) -> list[tuple[int, Any, Any, int]]:
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


def _slice(node: OnnxNode, x: OnnxValue, *given: OnnxValue) -> torch.Tensor:
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


def _slice_sizes(node: OnnxNode, x: np.ndarray, *given: OnnxValue) -> np.ndarray:
    index = [slice(None)] * x.ndim
    for axis, start, end, step in _places(node, given):
        index[axis] = slice(start, None if step < 0 and end < -x.shape[axis] else end, step)
    return x[tuple(index)]


def _gather(node: OnnxNode, x: OnnxValue, indices: OnnxValue) -> torch.Tensor:
    data, axis = tensor(x), node.get("axis", 0)
    if is_known(indices) and indices.ndim == 0:
        return data.select(axis, int(indices))
    axis %= data.dim()
    if is_known(indices) and isinstance(data.shape[axis], int):
        indices = np.where(indices < 0, indices + data.shape[axis], indices)
    where = tensor(indices).long()
    if (
        not is_known(indices)
        and axis == 0
        and data.dim() == 2
        and isinstance(data, torch.nn.Parameter)
    ):
        return F.embedding(where, data)
    if not is_known(indices):
        where = torch.where(where < 0, where + data.shape[axis], where)
    elif (indices < 0).any():  # of a batch whose size is free
        index: Any = (*[slice(None)] * axis, where)
        return data[index]
    if where.dim() == 1:
        return data.index_select(axis, where)
    found = data.index_select(axis, where.reshape(-1))
    return found.reshape(*data.shape[:axis], *where.shape, *data.shape[axis + 1 :])


def _gather_sizes(node: OnnxNode, x: np.ndarray, indices: np.ndarray) -> np.ndarray:
    return np.asarray(np.take(x, indices.astype(np.int64), node.get("axis", 0)), x.dtype)


def _from_front(index: torch.Tensor, size: int) -> torch.Tensor:
    return torch.where(index < 0, index + size, index)


def _gather_elements(node: OnnxNode, x: OnnxValue, indices: OnnxValue) -> torch.Tensor:
    data, axis = tensor(x), node.get("axis", 0)
    where = _from_front(tensor(indices).long(), data.shape[axis])
    return data.gather(axis, where)


def _gather_nd(node: OnnxNode, x: OnnxValue, indices: OnnxValue) -> torch.Tensor:
    data, where, batch = tensor(x), tensor(indices).long(), node.get("batch_dims", 0)
    shape = where.shape[:batch]
    flat, places = data.reshape(-1, *data.shape[batch:]), where.reshape(-1, *where.shape[batch:])
    rows = torch.arange(flat.shape[0]).reshape(-1, *[1] * (places.dim() - 2))
    found = flat[(rows, *places.unbind(-1))]
    return found.reshape(*shape, *found.shape[1:])


def _scatter_elements(
    node: OnnxNode, x: OnnxValue, indices: OnnxValue, updates: OnnxValue
) -> torch.Tensor:
    data, axis, kind = tensor(x), node.get("axis", 0), node.get("reduction", "none")
    where, source = _from_front(tensor(indices).long(), data.shape[axis]), tensor(updates)
    if kind == "none":
        return data.scatter(axis, where, source)
    reduce = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}[kind]
    return data.scatter_reduce(axis, where, source, reduce)


def _scatter_nd(
    node: OnnxNode, x: OnnxValue, indices: OnnxValue, updates: OnnxValue
) -> torch.Tensor:
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


def _one_hot(
    node: OnnxNode, indices: OnnxValue, depth: OnnxValue, values: OnnxValue
) -> torch.Tensor:
    count, where = int(number(node, depth, "the depth")), tensor(indices).long()
    axis = node.get("axis", -1) % (where.dim() + 1)
    off, on = tensor(values).unbind()
    places = torch.arange(count).reshape([-1 if d == axis else 1 for d in range(where.dim() + 1)])
    return torch.where(_from_front(where, count).unsqueeze(axis) == places, on, off)


def _compress(node: OnnxNode, x: OnnxValue, condition: OnnxValue) -> torch.Tensor:
    data, axis = tensor(x), node.get("axis")
    places = np.flatnonzero(plain(node, condition, "the condition"))
    data, axis = (data.reshape(-1), 0) if axis is None else (data, axis)
    return data.index_select(axis, torch.from_numpy(places))


def _reverse_sequence(node: OnnxNode, x: OnnxValue, lengths: OnnxValue) -> torch.Tensor:
    data, time, batch = tensor(x), node.get("time_axis", 0), node.get("batch_axis", 1)
    shape = [1] * data.dim()
    steps = torch.arange(data.shape[time]).reshape(
        [-1 if d == time else 1 for d in range(len(shape))]
    )
    ends = tensor(lengths).reshape([-1 if d == batch else 1 for d in range(len(shape))])
    where = torch.where(steps < ends, ends - 1 - steps, steps)
    return data.gather(time, where.expand(data.shape))


def _tensor_scatter(
    node: OnnxNode, past: OnnxValue, update: OnnxValue, start: OnnxValue = None
) -> torch.Tensor:
    data, source, axis = tensor(past), tensor(update), node.get("axis", -2) % tensor(past).dim()
    first = torch.zeros(data.shape[0], dtype=torch.int64) if start is None else tensor(start).long()
    steps = first[:, None] + torch.arange(source.shape[axis])
    if node.get("mode", "linear") == "circular":
        steps = steps % data.shape[axis]
    shape = [1] * data.dim()
    shape[0], shape[axis] = steps.shape
    where = steps.reshape(shape)
    return data.scatter(axis, where.expand(source.shape), source)


OPERATORS: dict[str, OnnxOperator] = {
    "Slice": OnnxOperator(_slice, plain=(1, 2, 3, 4), on_sizes=_slice_sizes),
    "Gather": OnnxOperator(_gather, weights={0: "weight"}, plain=(1,), on_sizes=_gather_sizes),
    "GatherElements": OnnxOperator(_gather_elements),
    "GatherND": OnnxOperator(_gather_nd),
    "ScatterElements": OnnxOperator(_scatter_elements),
    "Scatter": OnnxOperator(_scatter_elements),
    "ScatterND": OnnxOperator(_scatter_nd),
    "OneHot": OnnxOperator(_one_hot, plain=(1,)),
    "Compress": OnnxOperator(_compress, plain=(1,)),
    "ReverseSequence": OnnxOperator(_reverse_sequence),
    "TensorScatter": OnnxOperator(_tensor_scatter),
}
