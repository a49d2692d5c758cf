"""The latency table of a device: kernels and whole networks, as measured there."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hwopt.errors import HwoptError
from hwopt.files import append_line, read_json, write_json
from hwopt.targets.database import code_version, own_folder
from hwopt.targets.kernel_shape import SHAPE_VERSION, KernelShape
from hwopt.targets.target import Target

log = logging.getLogger("hwopt.targets")

#: With the version of shapes: those of another one cannot be compared.
LOG = f"latencies-{SHAPE_VERSION}.jsonl"
#: A table that is older says nothing of a driver, a kernel or a firmware that came since.
OLD_DAYS = 365


Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class KernelCalls(NamedTuple):
    """A kernel of a network, and how often one inference calls it."""

    shape: KernelShape
    calls: int


class NetworkLatency(NamedTuple):
    """The measured latency of a whole network, and the kernels that it calls."""

    kernels: tuple[KernelCalls, ...]
    ms: Positive


class Device(BaseModel):
    """What measured times belong to."""

    model_config = ConfigDict(extra="forbid")
    name: str
    cpu: str
    isa: str
    threads: int
    fingerprint: str

    @classmethod
    def of(cls, target: Target) -> Device:
        """Describe a target."""
        return cls(
            name=target.name,
            cpu=target.cpu,
            isa=target.isa,
            threads=target.threads,
            fingerprint=target.fingerprint(),
        )

    def __str__(self) -> str:
        return f"{self.name} ({self.cpu}, {self.isa}, {self.threads} threads)"


class TableFile(BaseModel):
    """A table as it ships: a JSON file."""

    model_config = ConfigDict(extra="forbid")
    schema_version: Literal[1] = 1
    shapes: Literal[1] = SHAPE_VERSION
    device: Device
    date: datetime.date
    hwopt: str
    kernel_code: str
    kernels: tuple[tuple[KernelShape, Positive], ...]
    networks: tuple[NetworkLatency, ...]

    @model_validator(mode="after")
    def _kinds_have_sizes(self) -> TableFile:
        lengths: dict[str, int] = {}
        for (kind, sizes), _ in self.kernels:
            if not sizes or lengths.setdefault(kind, len(sizes)) != len(sizes):
                raise ValueError(f"kernels of the kind {kind} have different numbers of sizes")
        return self


class LatencyTable:
    """All that was measured on a target, kept in a file that later measurements are appended to.

    Attributes:
        kernels: median microseconds of one call, by shape.
        networks: latency in milliseconds of an inference, by what the network calls.

    >>> from hwopt import targets
    >>> table = LatencyTable(targets.get("x86-avx2", threads=1))
    >>> table.add_kernels({KernelShape("register-tile:sums", (8, 8, 64)): 12.5})
    >>> table.kernels[KernelShape("register-tile:sums", (8, 8, 64))]
    12.5
    """

    def __init__(self, target: Target, folder: Path | None = None) -> None:
        """Open the table of a target in the user's folder (or in ``folder``)."""
        self.target = target
        self._path = (folder or own_folder(target)) / LOG
        self.kernels: dict[KernelShape, float] = {}
        self.networks: dict[tuple[KernelCalls, ...], float] = {}
        self._load()

    def add_kernels(self, us: dict[KernelShape, float]) -> None:
        """Keep the times of kernels; one that is known is measured anew."""
        for shape, time in us.items():
            if self.kernels.get(shape) != time:
                self.kernels[shape] = time
                self._append({"kernel": shape, "us": time})

    def add_network(self, kernels: Iterable[KernelCalls], ms: float) -> None:
        """Keep the latency of a network."""
        key = tuple(sorted(kernels))
        if self.networks.get(key) != ms:
            self.networks[key] = ms
            self._append({"network": key, "ms": ms})

    def save(self, path: Path) -> None:
        """Write the table to a file that can be given to others.

        Raises:
            HwoptError: if there is nothing in it, or the file cannot be written.
        """
        if not self.kernels:
            raise HwoptError(
                f"nothing was measured on {self.target.name} yet: see `hwopt targets measure`"
            )
        file = TableFile(
            device=Device.of(self.target),
            date=datetime.datetime.now(datetime.UTC).date(),
            hwopt=importlib.metadata.version("hwopt"),
            kernel_code=code_version(),
            kernels=tuple(self.kernels.items()),
            networks=tuple(NetworkLatency(*one) for one in self.networks.items()),
        )
        write_json(path, file.model_dump(mode="json"))

    def merge(self, path: Path) -> list[str]:
        """Take over the table of a file; what was measured here already stays.

        Returns:
            What makes its times less sure, in sentences: another version, an old date.

        Raises:
            HwoptError: if the file is no table, or one of another device.
        """
        file = _read(path)
        if file.device.fingerprint != Device.of(self.target).fingerprint:
            raise HwoptError(
                f"{path} is the table of {file.device}, not of {Device.of(self.target)}: its times "
                "say nothing here"
            )
        new = {shape: us for shape, us in file.kernels if shape not in self.kernels}
        self.add_kernels(new)
        for network in file.networks:
            if tuple(sorted(network.kernels)) not in self.networks:
                self.add_network(*network)
        return _doubts(file)

    def _append(self, line: dict[str, Any]) -> None:
        append_line(self._path, json.dumps(line))

    def _load(self) -> None:
        if not self._path.exists():
            return
        for line in self._path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                continue  # torn by a kill
            if "kernel" in entry:
                self.kernels[_shape(entry["kernel"])] = entry["us"]
            else:
                key = tuple(KernelCalls(_shape(shape), n) for shape, n in entry["network"])
                self.networks[key] = entry["ms"]


def _shape(entry: Sequence[Any]) -> KernelShape:
    kind, sizes = entry
    return KernelShape(kind, tuple(sizes))


def _read(path: Path) -> TableFile:
    try:
        return TableFile.model_validate(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise HwoptError(f"{path} is no latency table: {where}: {first['msg']}") from None


def _doubts(file: TableFile) -> list[str]:
    found = []
    if file.kernel_code != code_version():
        found.append(
            f"it was measured with the kernels of another version (hwopt {file.hwopt}), whose "
            "times may differ"
        )
    age = (datetime.datetime.now(datetime.UTC).date() - file.date).days
    if age > OLD_DAYS:
        found.append(f"it is of {file.date}, {age} days old")
    return found
