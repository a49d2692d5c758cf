"""ONNX files, converted to a torch module by onnx2torch."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import nn

from hwopt.errors import HwoptError, first_line


def load_onnx(path: Path) -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    """Return the module of an ONNX file and example inputs for it; a free dimension is 1.

    Raises:
        HwoptError: if the file is damaged or holds an operator that onnx2torch does not know.
    """
    import onnx

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _make_torchvision_importable()
        from onnx2torch import convert

        try:
            model = onnx.load(str(path))
            onnx.checker.check_model(model)
            module = convert(model)
        except NotImplementedError as error:
            raise HwoptError(
                f"{path}: ONNX operator not supported by onnx2torch: {error}"
            ) from error
        except Exception as error:  # protobuf, checker and converter raise many types
            reason = first_line(error)
            raise HwoptError(f"{path} cannot be read as an ONNX model: {reason}") from error
    initializers = {tensor.name for tensor in model.graph.initializer}
    examples = []
    for value in model.graph.input:
        if value.name in initializers:
            continue
        kind = value.type.tensor_type
        shape = [d.dim_value or 1 for d in kind.shape.dim]
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
        examples.append(torch.zeros(shape, dtype=getattr(torch, str(dtype))))
    return module, tuple(examples)


def _make_torchvision_importable() -> None:
    """Declare the operators without which ``import torchvision`` fails beside a CPU torch.

    The compiled part of torchvision's wheels needs CUDA's libraries. onnx2torch imports the Python
    part for two operators, NonMaxSuppression and RoiAlign; a model that has neither needs no more.
    """
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        library = torch.library.Library("torchvision", "FRAGMENT")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _DECLARED.append(library)


#: A library takes its declarations along when it is collected.
_DECLARED: list[torch.library.Library] = []
