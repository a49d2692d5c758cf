"""Kernels as C99: plain functions of pointers, for devices without TVM's runtime.

TVM's C back end writes functions that its runtime calls, with tensors whose shapes they check, and
asks the runtime for memory. Here the functions take pointers, and know where their memory is: what
is small becomes an array of the function, what is large a part of a scratch area, whose size is
known before anything runs.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import tvm
from tvm import s_tir, tirx

from hwopt.errors import HwoptError
from hwopt.targets import templates, tvm_build
from hwopt.targets.target import Target

#: Arrays of a kernel up to this size are on the stack.
STACK_BYTES = 512
#: Tensors in the scratch area start at multiples of this many bytes.
ALIGNMENT = 8
#: What the kernels of a file are given before them.
SCRATCH = "scratch"
_CONFIG = {
    "s_tir.LoopPartition": {"partition_const_loop": True},
    "tirx.disable_vectorize": True,  # C has no vectors; a compiler of C finds them again
}
_ALLOCATION = re.compile(
    r"^ *(?P<type>\w+)\* (?P<name>\w+) = .*TVMBackendAllocWorkspace\(1, 0, "
    r"\(uint64_t\)(?P<bytes>\d+)ULL, \d+, \d+\)+;\n"
    r" *if \((?P=name) == NULL\) \{\n *return -1;\n *\}\n",
    re.MULTILINE,
)
_RELEASE = re.compile(r"^ *if \(TVMBackendFreeWorkspace\(.*\n *return -1;\n *\}\n", re.MULTILINE)
_DEFINITION = re.compile(
    r"^TVM_DLL void (?P<name>\w+)\((?P<parameters>[^)]*)\) \{\n(?P<body>.*?)^\}\n",
    re.MULTILINE | re.DOTALL,
)
#: What counts the bits of a word; whoever uses kernels defines it.
POPCOUNT = "hwopt_popcount"
_POINTER = re.compile(r"(\w+)\* (\w+)")


@functools.cache
def _register_popcount() -> None:
    """Tell TVM's C back end how to count bits."""

    def call(counted: Any) -> Any:
        word = counted.args[0].astype("uint32")
        return tirx.call_pure_extern("uint32", POPCOUNT, word).astype(str(counted.ty.dtype))

    tirx.op.register_intrin_lowering("tirx.popcount", target="c", f=call)


@dataclasses.dataclass(frozen=True)
class CKernel:
    """A kernel.

    Attributes:
        text: a ``static void`` function of pointers, C99; it may use ``scratch`` and math.h.
        scratch_bytes: the size of the area that the pointer ``scratch`` must point to.
    """

    text: str
    scratch_bytes: int


def c_kernels(functions: Mapping[str, tirx.PrimFunc], target: Target) -> dict[str, CKernel]:
    """Return scheduled kernels as C, by name.

    Args:
        functions: of one thread.
        target: of TVM's kind ``c``.

    Raises:
        HwoptError: if a kernel does what C has no words for.
    """
    try:
        source = _source(functions, target)
    except tvm.error.InternalError as error:
        reason = str(error).strip().splitlines()[-1]
        raise HwoptError(f"the model cannot be written as C: {reason}") from error
    found = {match["name"]: _kernel(match) for match in _DEFINITION.finditer(source)}
    for name, kernel in found.items():
        unknown = re.search(r"\bTVM\w+", kernel.text)
        if unknown:
            raise HwoptError(f"the kernel {name} calls TVM's runtime, {unknown[0]}: not in C")
    return {name: found[name] for name in functions}


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
        HwoptError: as :func:`c_kernels`.
    """
    template = templates.find(func, target)
    if template is None:
        return c_kernels({name: templates.default_schedule(func, target)}, target)[name]
    least: CKernel | None = None
    for config in template.space(func, target):
        try:
            scheduled = template.schedule(func, config, target)
        except s_tir.ScheduleError:
            continue
        kernel = c_kernels({name: scheduled}, target)[name]
        if kernel.scratch_bytes <= scratch_bytes:
            return kernel
        if least is None or kernel.scratch_bytes < least.scratch_bytes:
            least = kernel
    if least is None:
        return c_kernels({name: templates.default_schedule(func, target)}, target)[name]
    return least


def _source(functions: Mapping[str, tirx.PrimFunc], target: Target) -> str:
    """Return what TVM's C back end writes for functions of pointers."""
    _register_popcount()
    build = importlib.import_module("tvm.tirx.build")
    wanted = tvm_build.tvm_target(target)
    module = tvm.IRModule(
        {name: func.with_attr("global_symbol", name) for name, func in functions.items()}
    )
    with wanted, tvm.transform.PassContext(opt_level=3, config=_CONFIG), _pointers():
        lower, finalize, _ = s_tir.pipeline.default_s_tir_pipeline()
        module = finalize()(lower(tirx.transform.BindTarget(wanted)(module)))
        return str(build.codegen_build(module, wanted).inspect_source())


@contextlib.contextmanager
def _pointers() -> Iterator[None]:
    """Let TVM's pipeline make functions of pointers where it would make those of its runtime."""
    packed = tirx.transform.MakePackedAPI
    tirx.transform.MakePackedAPI = lambda: _of_pointers
    try:
        yield
    finally:
        tirx.transform.MakePackedAPI = packed


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
        attributes = dict(func.attrs.items())
        functions[name] = tirx.PrimFunc(pointers, body).with_attr(attributes)
    return tvm.IRModule(functions)


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
    return CKernel(f"static void {match['name']}({parameters}) {{\n{body}}}\n", used)
