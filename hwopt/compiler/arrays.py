"""What goes into an artefact and comes out of it: numpy arrays, or torch tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hwopt.compiler.manifest import TensorDescription
from hwopt.errors import HwoptError


def misfit(spec: TensorDescription, given: np.ndarray) -> HwoptError:
    """Say what is wrong with an input."""
    if given.shape != spec.shape:
        message = f"input {spec.name!r} must have the shape {list(spec.shape)}"
        return HwoptError(f"{message}, not {list(given.shape)}")
    return HwoptError(f"input {spec.name!r} must be {spec.dtype}, not {given.dtype}: convert it")


def like(given: Any, arrays: list[Any]) -> Any:
    """Return one array, or a tuple of several, as torch tensors if a tensor was given."""
    if not isinstance(given, np.ndarray):
        import torch

        arrays = [torch.from_numpy(array) for array in arrays]
    return arrays[0] if len(arrays) == 1 else tuple(arrays)


def as_numpy(spec: TensorDescription, value: Any) -> np.ndarray:
    """Return a tensor as an array.

    Raises:
        HwoptError: if it is none.
    """
    try:
        return value.detach().cpu().numpy()
    except (AttributeError, TypeError, NotImplementedError, RuntimeError):
        kind = getattr(value, "dtype", type(value).__name__)
        if getattr(value, "is_meta", False):
            kind = "a tensor without numbers (device meta)"
        message = f"input {spec.name!r} must be a numpy array or a torch tensor, not {kind}"
        raise HwoptError(message) from None


def as_arrays(specs: Sequence[TensorDescription], inputs: Sequence[Any]) -> list[np.ndarray]:
    """Return inputs as numpy arrays.

    Raises:
        HwoptError: if their number is wrong, or one is neither array nor tensor.
    """
    if len(inputs) != len(specs):
        wanted = ", ".join(spec.name for spec in specs)
        raise HwoptError(f"the model takes {len(specs)} inputs ({wanted}), not {len(inputs)}")
    return [
        value if isinstance(value, np.ndarray) else as_numpy(spec, value)
        for spec, value in zip(specs, inputs, strict=True)
    ]


def random_arrays(specs: Sequence[TensorDescription], seed: int) -> tuple[np.ndarray, ...]:
    """Return arrays that fit: standard normal floats, zeros and ones for other dtypes."""
    generator = np.random.default_rng(seed)
    return tuple(
        generator.standard_normal(spec.shape).astype(spec.dtype)
        if np.issubdtype(np.dtype(spec.dtype), np.floating)
        else generator.integers(0, 2, spec.shape).astype(spec.dtype)
        for spec in specs
    )
