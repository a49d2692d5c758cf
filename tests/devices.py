"""Programs of other devices that tests use; `make test` installs them on Debian."""

from __future__ import annotations

import shutil

import pytest

#: By the name of what is needed: the programs.
PROGRAMS = {
    "an emulated AArch64": ("qemu-aarch64", "aarch64-linux-gnu-g++", "apt-get", "dpkg"),
    "an emulated RISC-V": ("qemu-riscv64", "riscv64-linux-gnu-gcc"),
    "CUDA's compiler": ("nvcc",),
    "an emulated Cortex-M": ("qemu-system-arm", "arm-none-eabi-gcc"),
}


def needs(device: str) -> pytest.MarkDecorator:
    """Skip a test where a program that it runs is not installed."""
    missing = [name for name in PROGRAMS[device] if shutil.which(name) is None]
    reason = f"{device} needs {', '.join(missing)}: scripts/setup-system.sh devices"
    return pytest.mark.skipif(bool(missing), reason=reason)
