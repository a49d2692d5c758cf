"""The few calls of TVM's builder that everything else goes through."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tvm
from tvm import s_tir, tirx

from hwopt.errors import HwoptError, last_line
from hwopt.targets.target import Target

SCHEDULED = "tirx.is_scheduled"
PARTITION = "pragma_loop_partition_hint"
#: Of TVM's pipelines.
CONFIG = {
    "s_tir.LoopPartition": {"partition_const_loop": True},
    # Vectors have the length that the template chose, also where the device could vary it.
    "tirx.enable_buffer_level_predication": False,
}


def tvm_target(target: Target) -> tvm.target.Target:
    """Return TVM's own description of ``target``."""
    if target.tvm["kind"] == "c":
        return tvm.target.Target(target.tvm)
    if target.is_gpu:
        return tvm.target.Target(target.tvm, host={"kind": "llvm"})
    return tvm.target.Target({"num-cores": target.cores, **target.tvm})


def pass_context() -> Any:
    """Return the context that kernels are built in.

    A vectorised loop whose length the vector does not divide is cut into a vectorised part and
    a scalar rest, where a schedule asks for it with :data:`PARTITION`; without the option the
    whole loop would become scalar.
    """
    return tvm.transform.PassContext(opt_level=3, config=CONFIG)


def build_kernel(func: tirx.PrimFunc, target: Target) -> Any:
    """Compile one PrimFunc; returns a runtime module whose function is named ``main``."""
    return build({"main": func}, target)


def build(functions: Mapping[str, tirx.PrimFunc], target: Target) -> Any:
    """Compile PrimFuncs to a runtime module with functions of these names."""
    module = tvm.IRModule(
        {name: func.with_attr("global_symbol", name) for name, func in functions.items()}
    )
    with pass_context():
        return tvm.tirx.build(module, target=tvm_target(target), pipeline="s_tir")


def check_target(target: Target) -> None:
    """Build a trivial kernel.

    Raises:
        HwoptError: if TVM cannot generate code for the target.
    """
    x = tvm.te.placeholder((16,), "float32", name="x")
    y = tvm.te.compute((16,), lambda i: x[i] + tirx.const(1.0, "float32"), name="y")
    schedule = s_tir.Schedule(tvm.te.create_prim_func([x, y]))
    if target.is_gpu:
        schedule.bind(schedule.get_loops(schedule.get_sblock("y"))[0], "threadIdx.x")
    try:
        build_kernel(schedule.mod["main"], target)
    except Exception as error:  # TVM raises a different type in each of its layers
        reason = last_line(error)
        raise HwoptError(f"TVM cannot build for target {target.name!r}: {reason}") from error


def mark_scheduled(schedule: s_tir.Schedule) -> tirx.PrimFunc:
    """Return the schedule's function, marked so that no later pass schedules it again."""
    return schedule.mod["main"].with_attr(SCHEDULED, True)
