"""Architectures of torchvision and timm, named as ``torchvision:NAME`` and ``timm:NAME``."""

from __future__ import annotations

import difflib
import importlib
import sys
from typing import TYPE_CHECKING, Any

from hwopt.errors import HwoptError, first_line

if TYPE_CHECKING:
    from types import ModuleType

    from torch import nn

LIBRARIES = ("torchvision", "timm")
_IMAGE = (3, 224, 224)
#: By the beginnings of names; the vision transformers of videos know their positions.
_VIDEOS = {
    **dict.fromkeys(("r3d", "mc3", "r2plus1d", "swin3d"), (3, 16, 112, 112)),
    **dict.fromkeys(("s3d", "mvit"), (3, 16, 224, 224)),
}
#: Of torchvision's compiled part, which may not fit the torch that is there; the import asks for
#: them.
_OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_declared: list[Any] = []


def is_library(source: str) -> bool:
    """Say whether a name of a model begins with that of a library.

    >>> is_library("timm:resnet18"), is_library("my.nets:make")
    (True, False)
    """
    return source.partition(":")[0] in LIBRARIES


def create(source: str, **options: Any) -> tuple[nn.Module, tuple[int, ...]]:
    """Return a model, and the shape of one input without the batch.

    Args:
        source: ``torchvision:NAME`` or ``timm:NAME``; weights are random unless options ask for
            others (``weights``, ``pretrained``).
        options: keyword arguments of the library's own function.

    Raises:
        HwoptError: if the library is not installed, has no such model, or raises.
    """
    library, _, name = source.partition(":")
    found = torchvision()  # which timm imports
    if library == "timm":
        found = _imported(library)
    names = found.list_models() if library == "timm" else found.models.list_models()
    if name.partition(".")[0] not in names:  # timm's names may have a tag of weights
        near = ", ".join(difflib.get_close_matches(name, names)) or "one of its list_models()"
        raise HwoptError(f"{library} has no model {name!r}; did you mean {near}?")
    make = found.models.get_model if library == "torchvision" else found.create_model
    try:
        model = make(name, **options)
    except Exception as error:  # whatever the library raises for options that do not fit
        raise HwoptError(f"model {source}: {first_line(error)}") from error
    if library == "timm":
        return model, tuple(model.default_cfg["input_size"])
    videos = [shape for start, shape in _VIDEOS.items() if name.startswith(start)]
    return model, videos[0] if videos else _IMAGE


def torchvision() -> ModuleType:
    """Return torchvision, also where its compiled operators do not fit the torch that is there.

    Raises:
        HwoptError: if it is not installed, or cannot be imported.
    """
    import torch

    try:
        return _imported("torchvision")
    except RuntimeError as error:  # operator torchvision::nms does not exist
        if "does not exist" not in str(error):
            raise HwoptError(f"torchvision cannot be imported: {first_line(error)}") from error
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in _OPERATORS:
        library.define(schema)
    _declared.append(library)  # what it declares goes when it goes
    return _imported("torchvision")


def _imported(library: str) -> ModuleType:
    try:
        return importlib.import_module(library)
    except ModuleNotFoundError as error:
        raise HwoptError(
            f"{error.name} is not installed, which {library} models need: pip install {library}"
        ) from error
