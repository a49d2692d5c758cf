"""Kernels as C99: functions of pointers that know where their memory is.

What a kernel makes inside, and TVM's C back end asks the runtime for, becomes an array of the
function if it is small, and a part of a scratch area, whose size is known before anything runs, if
it is large.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any

import tvm
from tvm import s_tir, tirx

from hwopt.errors import HwoptError, last_line
from hwopt.targets import pointers, templates
from hwopt.targets.c_code import SCRATCH, CCode, CKernel
from hwopt.targets.target import Target

#: Arrays of a kernel up to this size are on the stack.
STACK_BYTES = 512
#: Tensors in the scratch area start at multiples of this many bytes.
ALIGNMENT = 8
#: Of C source for a byte of Thumb code, about.
CHARACTERS_A_BYTE = 8
_ALLOCATION = re.compile(
    r"^ *(?P<type>\w+)\* (?P<name>\w+) = .*TVMBackendAllocWorkspace\(1, 0, "
    r"\(uint64_t\)(?P<bytes>\d+)ULL, \d+, \d+\)+;\n"
    r" *if \((?P=name) == NULL\) \{\n *return -1;\n *\}\n",
    re.MULTILINE,
)
_RELEASE = re.compile(r"^ *if \(TVMBackendFreeWorkspace\(.*\n *return -1;\n *\}\n", re.MULTILINE)
_DEFINITION = re.compile(
    r"^TVM_DLL int32_t (?P<name>\w+)\((?P<parameters>[^)]*)\) \{\n(?P<body>.*?)^\}\n",
    re.MULTILINE | re.DOTALL,
)
POPCOUNT = "hwopt_popcount"
#: Of the names of functions: kernels are called what operators are, and so are functions of C's.
PREFIX = "kernel_"
_PREAMBLE = f"""\
#if defined(__GNUC__)
#define {POPCOUNT}(word) __builtin_popcount(word)
#else
static inline uint32_t {POPCOUNT}(uint32_t word) {{
  word -= word >> 1 & 0x55555555u;
  word = (word & 0x33333333u) + (word >> 2 & 0x33333333u);
  return ((word + (word >> 4)) & 0x0F0F0F0Fu) * 0x01010101u >> 24;
}}
#endif
"""
_POINTER = re.compile(r"(\w+)\* (\w+)")


@functools.cache
def _register_popcount() -> None:
    """Tell TVM's C back end how to count bits."""

    def call(counted: Any) -> Any:
        word = counted.args[0].astype("uint32")
        return tirx.call_pure_extern("uint32", POPCOUNT, word).astype(str(counted.ty.dtype))

    tirx.op.register_intrin_lowering("tirx.popcount", target="c", f=call)


def c_source(functions: Mapping[str, tirx.PrimFunc], target: Target, scratch_bytes: int) -> CCode:
    """Write unscheduled kernels as C.

    Args:
        functions: by name.
        target: of TVM's kind ``c``, one thread.
        scratch_bytes: what a kernel may take for what it makes inside, if it can.

    Raises:
        HwoptError: if a kernel does what C has no words for.
    """
    kernels = {
        name: c_kernel(name, func, target, scratch_bytes) for name, func in functions.items()
    }
    characters = sum(len(kernel.text) for kernel in kernels.values())
    return CCode(kernels, ALIGNMENT, _PREAMBLE, {}, characters // CHARACTERS_A_BYTE)


def c_kernel(name: str, func: tirx.PrimFunc, target: Target, scratch_bytes: int) -> CKernel:
    """Return the C of an unscheduled kernel that does with little memory.

    Args:
        name: of the function.
        func: without a schedule.
        target: of TVM's kind ``c``, one thread.
        scratch_bytes: what it may take; of the schedules that take no more the first one of the
            template counts, which the model of costs likes best. If all take more, it is the one
            that takes least.

    Raises:
        HwoptError: if it does what C has no words for.
    """
    template = templates.find(func, target)
    if template is None:
        return _as_c(name, templates.default_schedule(func, target), target)
    least: CKernel | None = None
    for config in template.space(func, target):
        try:
            scheduled = template.schedule(func, config, target)
        except s_tir.ScheduleError:
            continue
        kernel = _as_c(name, scheduled, target)
        if kernel.scratch_bytes <= scratch_bytes:
            return kernel
        if least is None or kernel.scratch_bytes < least.scratch_bytes:
            least = kernel
    if least is None:
        return _as_c(name, templates.default_schedule(func, target), target)
    return least


def _as_c(name: str, func: tirx.PrimFunc, target: Target) -> CKernel:
    """Return the C of a scheduled kernel."""
    _register_popcount()
    function = f"{PREFIX}{name}"
    try:
        module, _ = pointers.build({function: func}, target, pointers.WITHOUT_VECTORS)
    except tvm.error.InternalError as error:
        reason = last_line(error)
        raise HwoptError(f"the kernel {name} cannot be written as C: {reason}") from error
    match = _DEFINITION.search(module.inspect_source())
    assert match is not None
    kernel = _kernel(match)
    unknown = re.search(r"\bTVM\w+", kernel.text)
    if unknown:
        raise HwoptError(f"the kernel {name} calls TVM's runtime, {unknown[0]}: not in C")
    return kernel


def _kernel(match: re.Match[str]) -> CKernel:
    """Return a definition with memory of its own in the place of the runtime's."""
    used = 0

    def memory(allocation: re.Match[str]) -> str:
        nonlocal used
        kind, name, size = allocation["type"], allocation["name"], int(allocation["bytes"])
        if size <= STACK_BYTES:
            return f"  {kind} {name}[{size} / sizeof({kind})];\n"
        start, used = used, used + -(-size // ALIGNMENT) * ALIGNMENT
        return f"  {kind}* restrict {name} = ({kind}*)({SCRATCH} + {start});\n"

    def parameter(pointer: re.Match[str]) -> str:
        written = re.search(rf"^ *{pointer[2]}\[[^;=]*\] = ", body, re.MULTILINE)
        return f"{'' if written else 'const '}{pointer[1]}* restrict {pointer[2]}"

    body = _RELEASE.sub("", _ALLOCATION.sub(memory, match["body"]))
    parameters = _POINTER.sub(parameter, match["parameters"])
    name = match["name"]
    return CKernel(name, f"static int32_t {name}({parameters}) {{\n{body}}}\n", used)
