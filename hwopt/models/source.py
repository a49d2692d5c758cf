"""From what a user names as a model to its graph."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hwopt import references
from hwopt.errors import HwoptError
from hwopt.models import libraries, registry
from hwopt.models.weights import load_weights

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from torch import Tensor, nn

    from hwopt.graph import Graph


def load_graph(
    source: str,
    *,
    input_shape: tuple[int, ...] | None = None,
    num_classes: int | None = None,
    options: dict[str, Any] | None = None,
    seed: int = 0,
    inputs: Mapping[str, Tensor] | None = None,
    constants: Mapping[str, Any] | None = None,
    dims: Mapping[str, int] | None = None,
    weights: str | Path | None = None,
) -> Graph:
    """Return the graph of a model.

    Args:
        source: a name of the zoo, ``torchvision:NAME`` or ``timm:NAME``,
            ``package.module:callable`` (which returns a torch module), the path of a ``.pt2`` or
            ``.onnx`` file, or of a folder that holds a saved graph or an artefact. What is a name
            of the zoo is never a folder: ``./resnet8`` is.
        input_shape: shape of one input without the batch; optional for a model of the zoo or of a
            library, refused for ``.pt2`` files and folders. A callable needs it, or ``inputs``.
        num_classes: for a model of the zoo or of a library.
        options: keyword arguments of the model's function.
        seed: of random weights.
        inputs: examples of several inputs by their names, which are those of the module's
            ``forward`` or of the ``.onnx`` file; other names are taken for the arguments in order.
        constants, dims: see ``import_model``; of an ``.onnx`` file only.
        weights: a file of weights for a model that a function makes; see
            :func:`hwopt.models.weights.load_weights`.

    Raises:
        HwoptError: if there is no such model, or it cannot be imported.

    >>> load_graph("resnet8", input_shape=(1, 28, 28), num_classes=10).inputs
    {'input': TensorSpec(shape=(N, 1, 28, 28), dtype='float32')}
    """
    import torch

    kind = source_kind(source)
    if weights and kind == "file":
        raise HwoptError(f"{source} is a file that has its weights: give none")
    if input_shape and inputs:
        raise HwoptError("give --input for each input, or --input-shape for the only one")
    if kind == "file" and Path(source).suffix == ".onnx":
        if options or num_classes:
            raise HwoptError(f"{source} is a file: its options are fixed, give none")
        return _from_onnx(Path(source), input_shape, inputs, constants, dims)
    if constants or dims:
        raise HwoptError(f"{source} is no .onnx file: it has no dimensions or inputs to bind")
    if kind == "library":
        model, usual = _of_library(source, num_classes, options or {}, seed)
        examples = _examples(model, inputs) or [torch.zeros(1, *(input_shape or usual))]
        return _imported(model, examples, source, weights)
    if kind == "callable":
        if num_classes:
            raise HwoptError(f"{source} knows its classes itself: give them as options, or none")
        if input_shape is None and not inputs:
            raise HwoptError(f"model {source}: give the shape of one input, such as 3x224x224")
        model = _of_callable(source, options or {}, seed)
        examples = [torch.zeros(1, *input_shape)] if input_shape else _examples(model, inputs)
        return _imported(model, examples, source, weights)
    if inputs:
        raise HwoptError(f"the inputs of {source} are known: give none")
    if kind == "file":
        if input_shape or options or num_classes:
            raise HwoptError(f"{source} is a file: its shape and options are fixed, give none")
        return _from_path(Path(source))
    arguments = {"num_classes": num_classes, "input_shape": input_shape, **(options or {})}
    shape = registry.info(source, **arguments).input_shape
    torch.manual_seed(seed)
    model = registry.create(source, **arguments)
    return _imported(model, torch.zeros(1, *shape), source, weights)


def _imported(model: nn.Module, examples: Any, source: str, weights: str | Path | None) -> Graph:
    """Return the graph of a model that was made, with the weights of a file."""
    from hwopt.graph import import_model

    if weights:
        load_weights(model, weights)
    return import_model(model, examples, name=source.rpartition(":")[2])


def source_kind(source: str) -> Literal["zoo", "library", "callable", "file"]:
    """Return what a user's name for a model means; a name of the zoo is never a folder.

    >>> source_kind("resnet8"), source_kind("my.nets:make"), source_kind("net.onnx")
    ('zoo', 'callable', 'file')
    """
    path = Path(source)
    if source in registry.names():
        return "zoo"
    if path.is_dir() or path.suffix in (".pt2", ".onnx", ".pt", ".pth", ".torchscript"):
        return "file"
    if libraries.is_library(source):
        return "library"
    return "callable" if ":" in source else "zoo"


def are_random(
    source: str, weights: str | Path | None, options: Mapping[str, Any] | None = None
) -> bool:
    """Return whether a model surely has random weights: those of callables are their own affair.

    >>> are_random("resnet8", None), are_random("timm:resnet18", "w.safetensors")
    (True, False)
    """
    asked = any((options or {}).get(name) for name in ("weights", "pretrained"))
    return not weights and not asked and source_kind(source) in ("zoo", "library")


def _from_path(path: Path) -> Graph:
    from hwopt.graph import Graph, import_model

    return Graph.load(path) if path.is_dir() else import_model(path)


def _from_onnx(
    path: Path,
    input_shape: tuple[int, ...] | None,
    inputs: Mapping[str, Tensor] | None,
    constants: Mapping[str, Any] | None,
    dims: Mapping[str, int] | None,
) -> Graph:
    import torch

    from hwopt.graph import import_model

    examples = [torch.zeros(1, *input_shape)] if input_shape else inputs
    return import_model(path, examples, constants=constants, dims=dims)


def _of_library(
    source: str, num_classes: int | None, options: dict[str, Any], seed: int
) -> tuple[nn.Module, tuple[int, ...]]:
    """Return a model of a library, and the shape of its usual input."""
    import torch

    torch.manual_seed(seed)
    classes = {"num_classes": num_classes} if num_classes else {}
    return libraries.create(source, **classes, **options)


def _examples(
    model: torch.nn.Module, inputs: Mapping[str, Tensor] | None
) -> Mapping[str, Tensor] | list[Tensor]:
    """Return inputs by name where these are the module's, otherwise in their order."""
    given = inputs or {}
    known = inspect.signature(model.forward).parameters
    return given if given.keys() <= known.keys() else [*given.values()]


def _of_callable(source: str, options: dict[str, Any], seed: int) -> nn.Module:
    """Return the model that a user's callable makes."""
    import torch

    torch.manual_seed(seed)
    model = references.call(source, "model", **options)
    if not isinstance(model, torch.nn.Module):
        raise HwoptError(f"model {source} returned a {type(model).__name__}, not a torch module")
    return model
