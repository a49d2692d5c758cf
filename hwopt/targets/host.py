"""Detection of this machine: processor, vector instructions, caches, usable cores."""

from __future__ import annotations

import functools
import os
import platform
import re
from pathlib import Path
from typing import Any, NamedTuple

from hwopt.targets.target import Target


class Isa(NamedTuple):
    """A vector instruction set and what selects it in LLVM."""

    flags: frozenset[str]
    mcpu: str
    vector_bits: int
    vector_registers: int


# Widest first. LLVM's generic levels, not its processor names: a virtual machine may hide
# instructions that the processor's own name would promise.
X86_ISAS = {
    "avx512": Isa(
        frozenset({"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl", "fma", "avx2"}),
        "x86-64-v4",
        512,
        32,
    ),
    "avx2": Isa(frozenset({"avx2", "fma", "bmi1", "bmi2", "f16c"}), "x86-64-v3", 256, 16),
    "sse": Isa(frozenset(), "x86-64", 128, 16),
}
# What some processors have besides, by the names of the Linux kernel and of LLVM.
EXTENSIONS = {"avx512_vpopcntdq": "+avx512vpopcntdq"}
# Cores of Arm's, by the part number that the Linux kernel tells: their names, and LLVM's.
ARM_CORES = {
    "0xd03": ("Cortex-A53", "cortex-a53"),
    "0xd05": ("Cortex-A55", "cortex-a55"),
    "0xd07": ("Cortex-A57", "cortex-a57"),
    "0xd08": ("Cortex-A72", "cortex-a72"),
    "0xd09": ("Cortex-A73", "cortex-a73"),
    "0xd0a": ("Cortex-A75", "cortex-a75"),
    "0xd0b": ("Cortex-A76", "cortex-a76"),
    "0xd0c": ("Neoverse-N1", "neoverse-n1"),
    "0xd40": ("Neoverse-V1", "neoverse-v1"),
    "0xd41": ("Cortex-A78", "cortex-a78"),
    "0xd49": ("Neoverse-N2", "neoverse-n2"),
    "0xd4f": ("Neoverse-V2", "neoverse-v2"),
}
DEFAULT_L1_BYTES = 32 * 1024
DEFAULT_L2_BYTES = 512 * 1024


def detect() -> Target:
    """Return this machine as a target, for as many cores as this process may use."""
    facts = machine_facts()
    isa = host_isa()
    if isa == "neon":
        tvm = {"kind": "llvm", "mtriple": "aarch64-linux-gnu", "mattr": ["+neon"]}
        core = arm_core()
        tvm |= {"mcpu": core[1]} if core else {}
        bits, registers = 128, 32
    else:
        extensions = [name for flag, name in EXTENSIONS.items() if flag in cpu_flags()]
        tvm = {"kind": "llvm", "mcpu": X86_ISAS[isa].mcpu}
        tvm |= {"mattr": extensions} if isa == "avx512" and extensions else {}
        bits, registers = X86_ISAS[isa].vector_bits, X86_ISAS[isa].vector_registers
    return Target(
        name="host",
        description=f"this machine: {facts['cpu']}, {isa}, {facts['cores']} cores",
        tvm={**tvm, "num-cores": facts["cores"]},
        isa=isa,
        vector_bits=bits,
        vector_registers=registers,
        **facts,
    )


@functools.cache
def _known_facts() -> tuple[tuple[str, Any], ...]:
    facts = {
        "cpu": _cpu_name(),
        "cores": usable_cores(),
        "l1_bytes": _cache_bytes(1),
        "l2_bytes": _cache_bytes(2),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    }
    return tuple((key, value) for key, value in facts.items() if value)


def known_facts() -> dict[str, Any]:
    """Return what the system tells of this machine: cpu, cores, memory, and often caches."""
    return dict(_known_facts())


def machine_facts() -> dict[str, Any]:
    """Return what a target file may leave out: cpu, cores, threads, caches and memory."""
    known = known_facts()
    guessed = {"l1_bytes": DEFAULT_L1_BYTES, "l2_bytes": DEFAULT_L2_BYTES}
    return {**guessed, **known, "threads": known["cores"]}


@functools.cache
def host_isa() -> str:
    """Return the widest known vector instruction set of this machine."""
    if platform.machine() in ("aarch64", "arm64"):
        return "neon"
    flags = cpu_flags()
    return next(name for name, isa in X86_ISAS.items() if isa.flags <= flags)


def supports(isa: str) -> bool:
    """Return whether this machine can run code for the instruction set ``isa``."""
    if isa in X86_ISAS and platform.machine() in ("x86_64", "AMD64"):
        return X86_ISAS[isa].flags <= cpu_flags()
    return isa == host_isa()


@functools.cache
def cpu_flags() -> frozenset[str]:
    """Return the processor's feature flags as the Linux kernel names them."""
    match = re.search(r"^flags\s*:(.*)$", _read("/proc/cpuinfo"), re.MULTILINE)
    return frozenset(match.group(1).split()) if match else frozenset()


def usable_cores() -> int:
    """Count the physical cores that this process may use.

    Looks at the affinity mask, counts hyper-threads of one core once, and rounds a control
    group's processor quota down (but not below one).
    """
    cpus = (
        os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    )
    cores = set()
    for cpu in cpus:
        topology = f"/sys/devices/system/cpu/cpu{cpu}/topology"
        core = _read(f"{topology}/core_id"), _read(f"{topology}/physical_package_id")
        cores.add(core if core[0] else (str(cpu), ""))
    quota = _cgroup_quota()
    return max(1, min(len(cores), int(quota) if quota else len(cores)))


def _cgroup_quota() -> float | None:
    """Return the processors that the control group grants, or None without a limit."""
    limit = _read("/sys/fs/cgroup/cpu.max").split()
    if len(limit) == 2 and limit[0].isdigit():
        return int(limit[0]) / int(limit[1])
    quota = _read("/sys/fs/cgroup/cpu/cpu.cfs_quota_us")
    period = _read("/sys/fs/cgroup/cpu/cpu.cfs_period_us")
    if quota.isdigit() and period.isdigit() and int(period):
        return int(quota) / int(period)
    return None


def arm_core() -> tuple[str, str] | None:
    """Return the name of this machine's first core and LLVM's name for it, if it is a known one."""
    match = re.search(r"^CPU part\s*:\s*(\w+)", _read("/proc/cpuinfo"), re.MULTILINE)
    return ARM_CORES.get(match.group(1).lower()) if match else None


def _cpu_name() -> str:
    """Return vendor's name, family and model: the name alone hides generations on clouds."""
    text = _read("/proc/cpuinfo")

    def field(key: str) -> str:
        match = re.search(rf"^{key}\s*:\s*(.*)$", text, re.MULTILINE)
        return match.group(1).strip() if match else ""

    core = arm_core()
    name = core[0] if core else field("model name")
    name = name or platform.processor() or platform.machine()
    numbers = f"{field('cpu family')}/{field('model')}"
    return f"{name} ({numbers})" if numbers != "/" else name


def _cache_bytes(level: int) -> int | None:
    """Return the size of the data (or unified) cache of ``level`` of the first core."""
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        size = _read(folder / "size")
        if (
            _read(folder / "level") == str(level)
            and _read(folder / "type") != "Instruction"
            and size.endswith("K")
        ):
            return int(size[:-1]) * 1024
    return None


def _read(path: str | Path) -> str:
    """Return the text of a system file, or nothing where the system does not have it."""
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return ""
