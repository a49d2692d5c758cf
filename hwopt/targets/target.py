"""What a device is: its instruction set, caches and threads, and its TOML form."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import platform
import tomllib
import typing
from pathlib import Path
from typing import Any

from hwopt.errors import HwoptError, unknown_name

FLOAT32_BITS = 32
#: ``local`` is this machine, ``rpc`` a board that a tracker knows; for ``none`` models are compiled
#: only.
RUNNERS = ("local", "rpc", "none")
DEFAULT_TRACKER = "127.0.0.1:9190"


@dataclasses.dataclass(frozen=True)
class Target:
    """A device that models are compiled for and measured on.

    Attributes:
        name: Short name, as in ``--target NAME``.
        description: One line for ``hwopt targets list``.
        tvm: The target dictionary given to TVM (``kind``, ``mcpu``, ``num-cores``, ...).
        isa: Vector instruction set: ``avx512``, ``avx2``, ``sse``, ``neon``, ``rvv``; ``cuda``.
        vector_bits: Width of a vector register, in bits.
        vector_registers: Number of vector registers.
        cores: Physical cores that may be used.
        threads: Threads that kernels run with.
        l1_bytes: Level-1 data cache of a core, in bytes.
        l2_bytes: Level-2 cache of a core, in bytes.
        memory_bytes: Main memory, in bytes.
        flash_bytes: Where code and weights are kept by themselves, in bytes; 0 where they share the
            main memory.
        cpu: Name of the processor; kernels tuned on one processor are not used on another.
        compiler: The program that links libraries for it; empty is this machine's C++ compiler.
        runner: How the device is reached: one of :data:`RUNNERS`.
        tracker: Address of the tracker that knows the board, ``HOST:PORT``.
        key: The tracker's key for boards of this kind; several of them are used side by side.
        emulated: Whether an emulator runs the code: its times are those of no device.
    """

    name: str
    description: str
    tvm: dict[str, Any]
    isa: str
    vector_bits: int
    vector_registers: int
    cores: int
    threads: int
    l1_bytes: int
    l2_bytes: int
    memory_bytes: int
    cpu: str
    compiler: str = ""
    runner: str = "local"
    tracker: str = DEFAULT_TRACKER
    key: str = ""
    emulated: bool = False
    flash_bytes: int = 0

    @property
    def float_lanes(self) -> int:
        """Number of float32 values in one vector register."""
        return self.vector_bits // FLOAT32_BITS

    @property
    def is_gpu(self) -> bool:
        """Whether kernels run on a GPU of the machine that calls them."""
        return self.tvm["kind"] == "cuda"

    @property
    def machine(self) -> str:
        """The kind of processor, as ``platform.machine()`` names it; ``c`` for any, or ``cuda``."""
        if self.tvm["kind"] != "llvm":
            return str(self.tvm["kind"])
        triple = str(self.tvm.get("mtriple", ""))
        return triple.partition("-")[0] or platform.machine()

    def fingerprint(self) -> str:
        """Return 12 hex digits over everything that changes which kernel is best."""
        facts = json.dumps(
            [self.tvm, self.vector_bits, self.vector_registers, self.threads, self.cpu]
            + [self.l2_bytes]
            + ["emulated"] * self.emulated,
            sort_keys=True,
        )
        return hashlib.sha256(facts.encode()).hexdigest()[:12]

    def to_toml(self) -> str:
        """Return the text of a target file that :meth:`from_file` reads back."""
        values = dataclasses.asdict(self)
        tvm = values.pop("tvm")
        lines = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
        lines += ["", "[tvm]"]
        lines += [f"{key} = {json.dumps(value)}" for key, value in tvm.items()]
        return "\n".join(lines) + "\n"

    @classmethod
    def from_file(cls, path: Path, defaults: dict[str, Any] | None = None) -> Target:
        """Read a target file; ``defaults`` stand in for the keys that it leaves out.

        They are facts of this machine, and no other one's: boards must give all.

        Raises:
            HwoptError: if the file is missing or not TOML, or a key is unknown, missing or of
                the wrong type.
        """
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise HwoptError(f"target file {path} does not exist") from None
        except OSError as error:
            raise HwoptError(f"target file {path} cannot be read: {error.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise HwoptError(f"target file {path} is not valid TOML: {error}") from None
        types = typing.get_type_hints(cls)
        for key in values:
            if key not in types:
                raise HwoptError(f"target file {path}: {unknown_name('key', key, types)}")
        is_here = values.get("runner", "local") == "local"
        values = {"name": path.stem, "description": "", **((is_here and defaults) or {}), **values}
        for field in dataclasses.fields(cls):
            if field.name not in values and field.default is dataclasses.MISSING:
                raise HwoptError(f"target file {path}: the key {field.name!r} is missing")
            value = values.get(field.name, field.default)
            expected = typing.get_origin(types[field.name]) or types[field.name]
            if type(value) is not expected:
                raise HwoptError(
                    f"target file {path}: {field.name!r} must be of type {expected.__name__}, "
                    f"not {type(value).__name__}"
                )
        target = cls(**values)
        target._check_values(path)
        return target

    def _check_values(self, path: Path) -> None:
        """Refuse numbers and names that no later step could make sense of."""
        for key, value in dataclasses.asdict(self).items():
            least = 0 if key == "flash_bytes" else 1
            if type(value) is int and value < least:
                raise HwoptError(f"target file {path}: {key!r} must be at least {least}")
        if self.vector_bits % FLOAT32_BITS:
            raise HwoptError(f"target file {path}: 'vector_bits' must be a multiple of 32")
        if self.runner not in RUNNERS:
            raise HwoptError(f"target file {path}: {unknown_name('runner', self.runner, RUNNERS)}")
        if self.runner == "rpc" and not self.key:
            raise HwoptError(
                f"target file {path}: a target with the runner 'rpc' needs the 'key' that its "
                "board has at the tracker"
            )
        if "kind" not in self.tvm:
            raise HwoptError(f"target file {path}: the table [tvm] needs the key 'kind'")
        if self.is_gpu and self.runner != "none":
            raise HwoptError(
                f"target file {path}: a GPU is used where it is found, so its 'runner' is 'none'"
            )
