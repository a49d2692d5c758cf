"""What a device is: its instruction set, caches and threads, and its TOML form."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tomllib
import typing
from pathlib import Path
from typing import Any

from hwopt.errors import HwoptError, unknown_name

FLOAT32_BITS = 32
RUNNERS = ("local",)


@dataclasses.dataclass(frozen=True)
class Target:
    """A device that models are compiled for and measured on.

    Attributes:
        name: Short name, as in ``--target NAME``.
        description: One line for ``hwopt targets list``.
        tvm: The target dictionary given to TVM (``kind``, ``mcpu``, ``num-cores``, ...).
        isa: Vector instruction set: ``avx512``, ``avx2``, ``sse``, ``neon``.
        vector_bits: Width of a vector register, in bits.
        vector_registers: Number of vector registers.
        cores: Physical cores that may be used.
        threads: Threads that kernels run with.
        l1_bytes: Level-1 data cache of a core, in bytes.
        l2_bytes: Level-2 cache of a core, in bytes.
        cpu: Name of the processor; kernels tuned on one processor are not used on another.
        runner: How the device is reached; ``local`` is this machine.
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
    cpu: str
    runner: str = "local"

    @property
    def float_lanes(self) -> int:
        """Number of float32 values in one vector register."""
        return self.vector_bits // FLOAT32_BITS

    def fingerprint(self) -> str:
        """Return 12 hex digits over everything that changes which kernel is best."""
        facts = json.dumps(
            [self.tvm, self.vector_bits, self.vector_registers, self.threads, self.cpu],
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

        Raises:
            HwoptError: if the file is missing or not TOML, or a key is unknown, missing or of
                the wrong type.
        """
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise HwoptError(f"target file {path} does not exist") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise HwoptError(f"target file {path} is not valid TOML: {error}") from None
        types = typing.get_type_hints(cls)
        for key in values:
            if key not in types:
                raise HwoptError(f"target file {path}: {unknown_name('key', key, types)}")
        values = {"name": path.stem, "description": "", **(defaults or {}), **values}
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
        for key in ("vector_bits", "vector_registers", "cores", "threads", "l1_bytes", "l2_bytes"):
            if getattr(self, key) < 1:
                raise HwoptError(f"target file {path}: {key!r} must be at least 1")
        if self.vector_bits % FLOAT32_BITS:
            raise HwoptError(f"target file {path}: 'vector_bits' must be a multiple of 32")
        if self.runner not in RUNNERS:
            raise HwoptError(f"target file {path}: {unknown_name('runner', self.runner, RUNNERS)}")
        if "kind" not in self.tvm:
            raise HwoptError(f"target file {path}: the table [tvm] needs the key 'kind'")
