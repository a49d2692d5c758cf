"""Kernels as plain functions of pointers, for devices without TVM's runtime.

TVM makes functions that its runtime calls, with tensors whose shapes they check. These take the
addresses of their buffers, in the order of the parameters, and return 0.
"""

from __future__ import annotations

import contextlib
import importlib
import math
from collections.abc import Iterator, Mapping
from typing import Any

import tvm
import tvm_ffi
from tvm import s_tir, tirx

from hwopt.targets import tvm_build
from hwopt.targets.target import Target

#: Kernels load and store whole vectors: tensors start at multiples of this many bytes.
ALIGNMENT = 64
#: For back ends that have no vectors: compilers of C find them again.
WITHOUT_VECTORS = {"tirx.disable_vectorize": True}


def build(
    functions: Mapping[str, tirx.PrimFunc], target: Target, config: Mapping[str, Any] | None = None
) -> tuple[Any, dict[str, int]]:
    """Build scheduled kernels as functions of pointers.

    Args:
        functions: by the names that they will have.
        target: the device.
        config: more options of TVM's pipeline.

    Returns:
        TVM's module, to be written as an object file or as source; and for each function the bytes
        of the tensors that it makes inside.
    """
    codegen = importlib.import_module("tvm.tirx.build").codegen_build
    wanted = tvm_build.tvm_target(target)
    module = tvm.IRModule(
        {name: func.with_attr("global_symbol", name) for name, func in functions.items()}
    )
    options = {**tvm_build.CONFIG, **(config or {})}
    with wanted, tvm.transform.PassContext(opt_level=3, config=options), _as_pointers():
        lower, finalize, _ = s_tir.pipeline.default_s_tir_pipeline()
        module = lower(tirx.transform.BindTarget(wanted)(module))
        inside = {name.name_hint: _inside(func) for name, func in module.functions.items()}
        return codegen(finalize()(module), wanted), inside


@contextlib.contextmanager
def _as_pointers() -> Iterator[None]:
    """Let TVM's pipeline make functions of pointers where it would make those of its runtime."""
    replaced = {
        "MakePackedAPI": _of_pointers,
        # These take values of 8 and 16 bits for floats, and kernels have none such.
        "FP8StorageLegalize": _unchanged,
        "BF16StorageLegalize": _unchanged,
    }
    own = {name: getattr(tirx.transform, name) for name in replaced}
    for name, replacement in replaced.items():
        setattr(tirx.transform, name, lambda replacement=replacement: replacement)
    try:
        yield
    finally:
        for name, original in own.items():
            setattr(tirx.transform, name, original)


@tvm.transform.module_pass(opt_level=0)
def _unchanged(module: tvm.IRModule, _: Any) -> tvm.IRModule:
    return module


@tvm.transform.module_pass(opt_level=0)
def _of_pointers(module: tvm.IRModule, _: Any) -> tvm.IRModule:
    functions = {}
    for name, func in module.functions.items():
        pointers = [tirx.Var(f"{buffer.name}_data", buffer.data.ty) for buffer in func.params]
        body = tirx.stmt_seq(
            *(tirx.DeclBuffer(b, data=p) for b, p in zip(func.params, pointers, strict=True)),
            func.body,
        )
        # Where memory is asked for: on the processor, which is device 0 of kind 1.
        for key, value in (("device_id", 0), ("device_type", 1)):
            body = tirx.AttrStmt(tirx.const(0, "int32"), key, tirx.const(value, "int32"), body)
        # Back ends return early, with a number, where there is no memory.
        body = tirx.stmt_seq(body, tirx.stmt.Return(tirx.const(0, "int32")))
        changed = tirx.PrimFunc(pointers, body, tvm.ir.PrimType("int32"))
        functions[name] = changed.with_attr(dict(func.attrs.items()))
    return tvm.IRModule(functions)


def _inside(func: tirx.PrimFunc) -> int:
    """Return the bytes of all tensors that a function makes, each rounded up to whole vectors."""
    found: list[Any] = []
    tvm_ffi.structural_walk(func.body, (tirx.AllocBuffer, found.append), order="pre")
    buffers = [statement.buffer for statement in found]
    sizes = [
        math.prod(int(size) for size in buffer.shape) * tvm.DataType(buffer.dtype).itemsize
        for buffer in buffers
    ]
    return sum(-(-size // ALIGNMENT) * ALIGNMENT for size in sizes)
