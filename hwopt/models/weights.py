"""Weights of a user's own: safetensors, or torch's files read without running code."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwopt.errors import HwoptError, first_line

if TYPE_CHECKING:
    from torch import Tensor, nn

#: Where trainings keep the weights in a file with other things.
_PLACES = ("state_dict", "model_state_dict", "model")
#: What torch's own parallel training writes before all names.
_PREFIX = "module."


def load_weights(model: nn.Module, file: str | Path) -> None:
    """Give a model the weights of a file, by their names.

    Args:
        model: gets them in place.
        file: ``.safetensors``, or what ``torch.save`` wrote of a state dict, or of a dictionary
            with one as ``state_dict``, ``model_state_dict`` or ``model``. It is read by torch with
            ``weights_only``, which runs nothing of it.

    Raises:
        HwoptError: if it cannot be read, or is of another model: the first difference is named.
    """
    state = _read(Path(file))
    if all(name.startswith(_PREFIX) for name in state):
        state = {name.removeprefix(_PREFIX): tensor for name, tensor in state.items()}
    own = model.state_dict()
    for name in own.keys() - state.keys():
        if not name.endswith("num_batches_tracked"):
            raise HwoptError(
                f"weights {file} are of another model: there is no {name!r} in them, but "
                f"{_nearest(name, state)}"
            )
    for name in state.keys() - own.keys():
        raise HwoptError(f"weights {file} are of another model: it has no {name!r}")
    for name, tensor in state.items():
        if tensor.shape != own[name].shape:
            raise HwoptError(
                f"weights {file} are of another model: {name} has the shape "
                f"{list(tensor.shape)} in them, and {list(own[name].shape)} in the model"
            )
    model.load_state_dict(state, strict=False)


def _nearest(name: str, state: dict[str, Tensor]) -> str:
    import difflib

    found = difflib.get_close_matches(name, state, 1, 0) or ["nothing at all"]
    return repr(found[0])


def _read(file: Path) -> dict[str, Tensor]:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        content: Any = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, SafetensorError, pickle.UnpicklingError) as error:
        raise HwoptError(f"weights {file} cannot be read: {first_line(error)}") from None
    for place in _PLACES:
        if isinstance(content, dict) and isinstance(content.get(place), dict):
            content = content[place]
            break
    if not isinstance(content, dict) or not all(
        isinstance(tensor, torch.Tensor) for tensor in content.values()
    ):
        raise HwoptError(
            f"weights {file} hold no state dict: save `model.state_dict()` with torch.save or "
            "safetensors"
        )
    return dict(content)
