"""``manifest.json``: what an artefact is, and the hashes that prove it is whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from hwopt.compiler.footprint import Footprint
from hwopt.compiler.plan import Plan
from hwopt.errors import HwoptError
from hwopt.files import MANIFEST_FILE, read_json, read_sealed_json, sha256, write_sealed_json

LIBRARY_FILE = "model.so"
CONSTANTS_FILE = "constants.bin"
#: What every artefact has besides its manifest.
FILES = frozenset({LIBRARY_FILE, CONSTANTS_FILE, "graph.json", "weights.safetensors"})


class TensorDescription(BaseModel):
    """An input or output: its name, fixed shape and dtype."""

    model_config = ConfigDict(extra="forbid")
    name: str
    shape: tuple[int, ...]
    dtype: str


class KernelDescription(BaseModel):
    """A compiled kernel.

    Attributes:
        name: The kernel's name in the compiled library.
        road: ``template:NAME``, ``search`` or ``fallback``.
        median_us: Time of one call by itself in microseconds; None if it was never measured.
        candidates_measured: Schedules measured for it when this artefact was compiled.
        failures: Why schedules failed when they were measured; none of these was taken.
        calls: How often one inference calls it.
        macs: Multiply-accumulates of one call.
        binary: Whether what it multiplies are signs, as bits.
        bytes: Size of its inputs, weights and outputs.
        kind, sizes: What its time depends on: see ``hwopt.targets.kernel_shape``.
    """

    model_config = ConfigDict(extra="forbid")
    name: str
    road: str
    median_us: float | None
    candidates_measured: int
    failures: tuple[str, ...] = ()
    calls: int
    macs: int
    binary: bool = False
    bytes: int
    kind: str = ""
    sizes: tuple[int, ...] = ()


class TargetDescription(BaseModel):
    """The target that an artefact was compiled for."""

    model_config = ConfigDict(extra="forbid")
    name: str
    machine: str
    isa: str
    threads: int
    cpu: str
    tvm: dict[str, Any]
    fingerprint: str
    emulated: bool = False


class Comparison(BaseModel):
    """What was found when the artefact ran beside torch, before it was written.

    Attributes:
        inputs: sets of inputs on which both ran.
        difference: the largest of any output, relative to the root of its sum of squares.
        reason: why nothing was compared, if nothing was.
    """

    model_config = ConfigDict(extra="forbid")
    inputs: int = 0
    difference: float | None = None
    reason: str = ""


class Manifest(BaseModel):
    """Everything about an artefact but its code and its weights."""

    model_config = ConfigDict(extra="forbid")
    schema_version: Literal[2] = 2
    model: str
    inputs: tuple[TensorDescription, ...]
    outputs: tuple[TensorDescription, ...]
    states: dict[str, str] = {}
    target: TargetDescription
    passes: tuple[str, ...]
    versions: dict[str, str]
    kernels: tuple[KernelDescription, ...]
    plan: Plan
    footprint: Footprint | None = None
    macs: int
    parameters: int
    compile_seconds: float
    compared: Comparison | None = None
    measured: dict[str, Any] = {}
    files: dict[str, str]


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of an artefact and check the hashes of all its files.

    Raises:
        HwoptError: if the folder is no artefact, of another version, damaged or tampered with.
    """
    path = folder / MANIFEST_FILE
    if not path.is_file():
        raise HwoptError(f"{folder} is not an artefact: it has no {MANIFEST_FILE}")
    version = read_json(path)
    if isinstance(version, dict) and version.get("schema_version") not in (2, None):
        raise HwoptError(
            f"{path} has schema version {version['schema_version']}; this hwopt reads version 2: "
            "compile again"
        )
    document = read_sealed_json(path)
    try:
        manifest = Manifest.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise HwoptError(f"{path} is damaged: {where}: {first['msg']}") from None
    if manifest.files.keys() < FILES:
        missing = ", ".join(sorted(FILES - manifest.files.keys()))
        raise HwoptError(f"{path} is damaged: it has no hash of {missing}")
    for name, expected in manifest.files.items():
        file = folder / name
        if not file.is_file():
            raise HwoptError(f"artefact {folder} is damaged: {name} is missing; compile again")
        if sha256(file) != expected:
            message = f"artefact {folder} is damaged or was changed: the hash of {name} is wrong"
            raise HwoptError(f"{message}; compile again")
    return manifest


def record_figures(folder: Path, figures: dict[str, Any]) -> None:
    """Keep figures measured with the artefact (accuracy, latency, ...) in its manifest.

    Figures of the same name are replaced; all else stays as it is.

    Raises:
        HwoptError: if the folder is no artefact, or damaged.
    """
    manifest = read_manifest(folder)
    updated = manifest.model_copy(update={"measured": manifest.measured | figures})
    write_manifest(folder, updated)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest of an artefact, sealed."""
    write_sealed_json(folder / MANIFEST_FILE, manifest.model_dump(mode="json"))
