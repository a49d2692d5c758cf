"""Checkpoints: one safetensors file with tensors and, in its header, JSON. No pickle.

Nested dictionaries, lists and tuples are kept; every tensor in them becomes a tensor of the file,
and the JSON names it. The file is whole or absent, so a killed training leaves the last whole one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor

from hwopt import files
from hwopt.errors import HwoptError

_FORMAT = "hwopt-checkpoint-1"


def save(path: Path, content: dict[str, Any]) -> None:
    """Write ``content``: nested dicts, lists and tuples of tensors, numbers, text and None.

    Raises:
        HwoptError: if something else is in it, or the disk is full.
    """
    tensors: dict[str, Tensor] = {}
    structure = _flatten(content, "", tensors)
    with files.atomic_file(path) as temporary:
        save_file(tensors, temporary, {"format": _FORMAT, "structure": json.dumps(structure)})


def load(path: Path) -> dict[str, Any]:
    """Read what :func:`save` wrote.

    Raises:
        HwoptError: if the file is missing, damaged, or no checkpoint.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != _FORMAT:
                raise HwoptError(f"{path} is not a checkpoint of this version of hwopt; delete it")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        content = _restore(json.loads(metadata["structure"]), tensors)
    except FileNotFoundError:
        raise HwoptError(f"checkpoint {path} does not exist") from None
    except (safetensors.SafetensorError, KeyError, ValueError, TypeError) as error:
        raise HwoptError(
            f"checkpoint {path} is damaged ({error}); delete it to start anew"
        ) from None
    assert isinstance(content, dict)
    return content


def _flatten(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """Return the JSON for ``value`` and move its tensors to ``tensors`` under their paths.

    Containers and tensors become {"kind": ..., ...}; keys may be numbers, as in optimizers.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Tensor):
        # A copy of its own: safetensors refuses tensors that share memory or have gaps.
        tensors[name] = value.detach().clone(memory_format=torch.contiguous_format)
        return {"kind": "tensor", "name": name}
    if isinstance(value, dict):
        items = [[key, _flatten(item, f"{name}/{key}", tensors)] for key, item in value.items()]
        if all(isinstance(key, str | int) for key in value):
            return {"kind": "dict", "items": items}
    if isinstance(value, list | tuple):
        items = [_flatten(item, f"{name}/{i}", tensors) for i, item in enumerate(value)]
        return {"kind": "list" if isinstance(value, list) else "tuple", "items": items}
    raise HwoptError(
        f"{name.strip('/')} is a {type(value).__name__}, which a checkpoint cannot hold: "
        "use an optimizer whose state is tensors and numbers, or train without a checkpoint"
    )


def _restore(value: Any, tensors: dict[str, Tensor]) -> Any:
    """Undo :func:`_flatten`."""
    if not isinstance(value, dict):
        return value
    kind = value["kind"]
    if kind == "tensor":
        return tensors[value["name"]]
    if kind == "dict":
        return {key: _restore(item, tensors) for key, item in value["items"]}
    items = [_restore(item, tensors) for item in value["items"]]
    return items if kind == "list" else tuple(items)
