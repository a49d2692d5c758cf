"""What descriptions of loops share: scalars of TIR, and reading operands that are broadcast."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tvm import te, tirx


def compute(shape: Sequence[Any], function: Callable[..., Any], name: str = "compute") -> Any:
    """Describe loops over a shape; all indices are 64 bits wide, as Relax's are.

    Kernels of other indices are merged with nothing.
    """
    sizes = [tirx.IntImm("int64", int(size)) for size in shape]
    return te.compute(sizes, function, name=name)


def dtype_of(x: Any) -> str:
    """Return the dtype of a scalar."""
    return str(x.ty.dtype)


def is_float(x: Any) -> bool:
    """Return whether a scalar is a floating-point number."""
    return dtype_of(x).startswith("float")


def like(x: Any, value: float) -> Any:
    """Return a number with the dtype of a scalar."""
    return tirx.const(value, dtype_of(x))


def is_nan(x: Any) -> Any:
    """Return whether a number is NaN, by its bits: TVM takes every comparison for possible."""
    bits, without_sign, infinite = {
        "float32": ("int32", 0x7FFFFFFF, 0x7F800000),
        "float64": ("int64", 0x7FFFFFFFFFFFFFFF, 0x7FF0000000000000),
    }[dtype_of(x)]
    size = tirx.bitwise_and(tirx.reinterpret(bits, x), tirx.const(without_sign, bits))
    return size > tirx.const(infinite, bits)


def libm(name: str, *numbers: Any) -> Any:
    """Call a function of the C library, for which TVM has no code or less exact one."""
    dtype = dtype_of(numbers[0])
    return tirx.call_pure_extern(dtype, f"{name}f" if dtype == "float32" else name, *numbers)


def broadcasting(function: Callable[..., Any], shape: Sequence[int]) -> Callable[..., te.Tensor]:
    """Return a function of tensors that calls one of scalars for every element of the result."""

    def loops(*tensors: te.Tensor) -> te.Tensor:
        def at(*index: Any) -> Any:
            return function(*(_element(tensor, index, shape) for tensor in tensors))

        return compute(shape, at)

    return loops


def _element(tensor: te.Tensor, index: tuple[Any, ...], shape: Sequence[int]) -> Any:
    """Read a tensor where an element of the result that it is broadcast to stands."""
    missing = len(shape) - len(tensor.shape)
    places = [
        0 if int(size) == 1 != wanted else place
        for size, place, wanted in zip(tensor.shape, index[missing:], shape[missing:], strict=True)
    ]
    return tensor(*places)


def common_shape(*tensors: te.Tensor) -> list[int]:
    """Return the shape to which tensors are broadcast."""
    rank = max(len(t.shape) for t in tensors)
    aligned = [[1] * (rank - len(t.shape)) + [int(n) for n in t.shape] for t in tensors]
    return [next((n for n in sizes if n != 1), 1) for sizes in zip(*aligned, strict=True)]
