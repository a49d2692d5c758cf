"""ONNX files, converted to a torch module by onnx2torch."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import nn

from hwopt.errors import HwoptError


def load_onnx(path: Path) -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    """Return the module of an ONNX file and example inputs for it; a free dimension is 1.

    Raises:
        HwoptError: if the file is damaged or holds an operator that onnx2torch does not know.
    """
    import onnx

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
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
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
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
