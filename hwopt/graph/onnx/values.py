"""What flows between nodes: tensors, arrays that are known, lists of them, and nothing.

Shapes are arrays, too. Where a batch size is a symbol of ``torch.export``, an array of objects
holds it, and arithmetic on it stays arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import torch
from torch.utils._python_dispatch import _disable_current_modes

from hwopt.graph.onnx.node import OnnxNode

#: A tensor, an array, a list (a sequence), or None (what is left out).
OnnxValue = Any

_BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
_DTYPES = {
    onnx.TensorProto.FLOAT: torch.float32,
    onnx.TensorProto.DOUBLE: torch.float64,
    onnx.TensorProto.FLOAT16: torch.float16,
    onnx.TensorProto.BFLOAT16: torch.bfloat16,
    onnx.TensorProto.INT8: torch.int8,
    onnx.TensorProto.INT16: torch.int16,
    onnx.TensorProto.INT32: torch.int32,
    onnx.TensorProto.INT64: torch.int64,
    onnx.TensorProto.UINT8: torch.uint8,
    onnx.TensorProto.UINT16: torch.uint16,
    onnx.TensorProto.UINT32: torch.uint32,
    onnx.TensorProto.UINT64: torch.uint64,
    onnx.TensorProto.BOOL: torch.bool,
    onnx.TensorProto.COMPLEX64: torch.complex64,
    onnx.TensorProto.COMPLEX128: torch.complex128,
}


def dtype_of(node: OnnxNode, number: int) -> torch.dtype:
    """Return torch's dtype for ONNX's number of one."""
    if number not in _DTYPES:
        kind = onnx.TensorProto.DataType.Name(number)
        raise node.refuse(f"the type {kind}")
    return _DTYPES[number]


def is_known(value: OnnxValue) -> bool:
    """Return whether a value does not depend on the inputs of the model."""
    if isinstance(value, list):
        return all(map(is_known, value))
    return value is None or isinstance(value, np.ndarray)


def is_symbolic(value: OnnxValue) -> bool:
    """Return whether a known value holds a size that is a symbol."""
    return isinstance(value, np.ndarray) and value.dtype == object


def tensor(value: OnnxValue) -> torch.Tensor:
    """Return a value as a tensor."""
    if isinstance(value, torch.Tensor):
        return value
    if value.dtype == _BFLOAT16:
        return torch.from_numpy(value.astype(np.float32)).to(torch.bfloat16)
    array = np.ascontiguousarray(value)
    if not array.flags.writeable:
        array = array.copy()
    return torch.from_numpy(array.reshape(value.shape))


def array(value: OnnxValue) -> OnnxValue:
    """Return what was computed of known values as known values."""
    if isinstance(value, torch.Tensor):
        if value.dtype == torch.bfloat16:
            return value.float().numpy().astype(_BFLOAT16)
        return value.detach().numpy()
    if isinstance(value, list | tuple):
        return type(value)(map(array, value))
    return value


def computed(function: Callable[[], Any]) -> OnnxValue:
    """Return what is computed of known values, as known values; nothing of it is traced."""
    with _disable_current_modes():
        return array(function())


def plain(node: OnnxNode, value: OnnxValue, what: str) -> np.ndarray:
    """Return a value that must be known.

    Raises:
        HwoptError: if it depends on the inputs of the model.
    """
    if not isinstance(value, np.ndarray):
        raise node.refuse(
            f"{what} that depends on an input of the model (give it a value when importing)"
        )
    return value


def ints(node: OnnxNode, value: OnnxValue, what: str) -> list[Any]:
    """Return known whole numbers, sizes that are symbols among them, as a list."""
    found = plain(node, value, what).reshape(-1)
    return [
        one if is_symbolic(found) and not isinstance(one, np.integer) else int(one) for one in found
    ]


def number(node: OnnxNode, value: OnnxValue, what: str) -> Any:
    """Return a known number."""
    found = plain(node, value, what)
    if found.size != 1:
        raise node.refuse(f"{what} of {found.size} numbers")
    return found.reshape(-1)[0] if is_symbolic(found) else found.reshape(-1)[0].item()


def sizes(shape: Sequence[Any]) -> np.ndarray:
    """Return a shape as a known value."""
    if all(isinstance(size, int) for size in shape):
        return np.array(shape, np.int64).reshape(len(shape))
    found = np.empty(len(shape), object)
    found[:] = list(shape)
    return found


def operands(*values: OnnxValue) -> list[Any]:
    """Return what an operator computes of element by element: tensors, and numbers beside them.

    A known array of one element is a number, as long as it does not make the result's rank larger.
    """
    rank = max((v.dim() for v in values if isinstance(v, torch.Tensor)), default=-1)
    found: list[Any] = []
    for value in values:
        if isinstance(value, np.ndarray) and value.size == 1 and value.ndim <= rank:
            one = value.reshape(-1)[0]
            found.append(
                float(one)
                if value.dtype == _BFLOAT16
                else one
                if is_symbolic(value)
                else one.item()
            )
        else:
            found.append(tensor(value))
    return found
