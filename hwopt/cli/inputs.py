"""Inputs of a model as texts: shapes, files of numbers, values, sizes."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwopt.errors import HwoptError

if TYPE_CHECKING:
    import numpy as np
    import torch


def examples(texts: Sequence[str]) -> dict[str, torch.Tensor]:
    """Return example inputs by name.

    >>> {k: (v.shape, v.dtype) for k, v in examples(["x=f32[1,3]", "ids=i64[1,8]"]).items()}
    {'x': (torch.Size([1, 3]), torch.float32), 'ids': (torch.Size([1, 8]), torch.int64)}
    """
    found = {}
    for text in texts:
        name, value = _split("--input", text, "x=f32[1,3,224,224], or x=numbers.npy")
        if value.endswith(".npy"):
            found[name] = _tensor(_read(Path(value)))
        else:
            found[name] = _zeros(text, value)
    return found


def constants(texts: Sequence[str]) -> dict[str, Any]:
    """Return values of inputs by name.

    >>> constants(["rate=16000", "shape=[1, 2]"])
    {'rate': 16000, 'shape': [1, 2]}
    """
    found = {}
    for text in texts:
        name, value = _split("--constant", text, "rate=16000, shape=[1,2], or x=numbers.npy")
        if value.endswith(".npy"):
            found[name] = _read(Path(value))
            continue
        try:
            found[name] = json.loads(value)
        except json.JSONDecodeError:
            raise HwoptError(
                f"--constant {text}: {value!r} is no number, list such as [1, 2], or .npy file"
            ) from None
    return found


def dims(texts: Sequence[str]) -> dict[str, int]:
    """Return sizes of dimensions by name.

    >>> dims(["height=64"])
    {'height': 64}
    """
    found = {}
    for text in texts:
        name, value = _split("--dim", text, "height=64")
        if not re.fullmatch(r"[1-9]\d*", value):
            raise HwoptError(f"--dim {text}: {value!r} is no size: write a number, as in height=64")
        found[name] = int(value)
    return found


def _split(option: str, text: str, example: str) -> tuple[str, str]:
    name, equals, value = text.rpartition("=") if text.endswith(".npy") else text.partition("=")
    if not (name and equals and value):
        raise HwoptError(f"{option} {text!r} is not understood: write {example}")
    return name, value


def _zeros(text: str, value: str) -> torch.Tensor:
    import torch

    from hwopt.graph.types import TensorSpec

    found = re.fullmatch(r"([a-z]+\d*)\[(\d+(?:,\d+)*|)\]", value.replace(" ", ""))
    if found is None:
        raise HwoptError(f"--input {text!r} is not understood: write x=f32[1,3,224,224]")
    shape = tuple(int(size) for size in found[2].split(",") if size)
    try:
        spec = TensorSpec.from_short(found[1], shape)
    except KeyError:
        raise HwoptError(f"--input {text!r}: {found[1]!r} is no type such as f32 or i64") from None
    return torch.zeros(shape, dtype=getattr(torch, spec.dtype))


def _read(path: Path) -> np.ndarray:
    import numpy as np

    try:
        return np.asarray(np.load(path, allow_pickle=False))
    except (OSError, ValueError) as error:
        raise HwoptError(f"{path} cannot be read as a .npy file: {error}") from error


def _tensor(array: np.ndarray) -> torch.Tensor:
    import torch

    try:
        return torch.from_numpy(array.copy())
    except TypeError as error:
        raise HwoptError(f"numbers of {array.dtype} are not supported") from error
