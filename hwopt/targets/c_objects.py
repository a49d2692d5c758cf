"""Kernels as an object file of LLVM's, with vectors, and what a program in C needs to call them."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from tvm import tirx

from hwopt.targets import pointers
from hwopt.targets.c_code import SCRATCH, CCode, CKernel, c_type
from hwopt.targets.pointers import ALIGNMENT
from hwopt.targets.target import Target

KERNELS = "kernels.o"
# The names are those that TVM's LLVM back end asks for memory by; what is asked for last is given
# back first.
_PREAMBLE = f"""\
static void *allocate(int kind, int device, uint64_t size, int code, int bits) {{
  void *found = {SCRATCH};
  (void)kind, (void)device, (void)code, (void)bits;
  {SCRATCH} += (size + {ALIGNMENT - 1}) / {ALIGNMENT} * {ALIGNMENT};
  return found;
}}

static int release(int kind, int device, void *memory) {{
  (void)kind, (void)device;
  {SCRATCH} = memory;
  return 0;
}}

void *(*__TVMBackendAllocWorkspace)(int, int, uint64_t, int, int) = allocate;
int (*__TVMBackendFreeWorkspace)(int, int, void *) = release;
"""


def c_objects(functions: Mapping[str, tirx.PrimFunc], target: Target, prefix: str) -> CCode:
    """Build scheduled kernels for a program in C.

    Args:
        functions: of one thread, by name.
        target: of TVM's kind ``llvm``.
        prefix: of the names that the object file defines.

    Raises:
        HwoptError: if a kernel has a dtype that C has not.
    """
    names = {name: f"{prefix}_{name}" for name in functions}
    named = {names[name]: func for name, func in functions.items()}
    module, inside = pointers.build(named, target)
    kernels = {}
    for name, func in functions.items():
        types = ", ".join(f"{c_type(str(buffer.dtype))} *" for buffer in func.params)
        text = f"int32_t {names[name]}({types});\n"
        kernels[name] = CKernel(names[name], text, inside[names[name]])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / KERNELS
        module.write_to_file(str(path), "o")
        content = path.read_bytes()
    return CCode(kernels, ALIGNMENT, _PREAMBLE, {KERNELS: content}, len(content))
