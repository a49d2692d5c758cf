"""Files of models of which bytes are others than they were."""

from __future__ import annotations

import atexit
import dataclasses
import functools
import json
import random
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import nn

import hwopt
from benchmarks.stations import OK, WRONG, Finding, found
from hwopt.graph import Graph

#: Of models that others write any content may be meant; of ours no byte may be another one.
OTHERS, OURS = ("pt2", "onnx"), ("graph", "artifact")


@dataclasses.dataclass(frozen=True)
class DamagedFile:
    """A file that was damaged.

    Attributes:
        format: of the model, one of :data:`OTHERS` and :data:`OURS`.
        file: its name in the folder of the intact model.
        damages: what was done to the content, in turn: (name, place in [0, 1), a number).
    """

    format: str
    file: str
    damages: tuple[tuple[str, float, int], ...]

    @classmethod
    def draw(cls, number: int) -> DamagedFile:
        """Return a random one; the same number gives the same one."""
        r = random.Random(number)
        kind = r.choice([*OTHERS, *OURS])
        name = r.choice(sorted(path.name for path in (_intact() / kind).iterdir()))
        damages = [
            (r.choice(sorted(DAMAGES)), r.random(), r.randrange(1, 256))
            for _ in range(r.choice([1, 1, 1, 2, 5]))
        ]
        return cls(kind, name, tuple(damages))

    def to_json(self) -> str:
        """Return it as JSON, from which :meth:`from_json` makes it again."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> DamagedFile:
        """Read what :meth:`to_json` wrote."""
        read = json.loads(text)
        return cls(read["format"], read["file"], tuple(map(tuple, read["damages"])))

    def smaller(self) -> Iterator[DamagedFile]:
        """Yield files with one damage less."""
        for gone in range(len(self.damages)):
            left = self.damages[:gone] + self.damages[gone + 1 :]
            if left:
                yield dataclasses.replace(self, damages=left)

    def check(self, *, compiled: bool) -> Iterator[Finding]:
        """Yield what comes of reading it."""
        intact = (_intact() / self.format / self.file).read_bytes()
        content = bytearray(intact)
        for name, place, number in self.damages:
            DAMAGES[name](content, int(place * len(content)), number)
        if content == intact:
            return
        with tempfile.TemporaryDirectory() as scratch:
            folder = shutil.copytree(_intact() / self.format, Path(scratch) / "damaged")
            (folder / self.file).write_bytes(content)
            read = found(self.format, functools.partial(_read, self.format, folder))
        if self.format in OURS and read[1] == OK:
            read = (self.format, WRONG, f"{self.file} was changed and accepted")
        yield read


def _read(kind: str, folder: Path) -> str:
    if kind == "artifact":
        hwopt.load(folder)
    elif kind == "graph":
        Graph.load(folder)
    else:
        graph = hwopt.import_model(folder / f"model.{kind}")
        graph.to_torch()
    return ""


def _another_byte(content: bytearray, place: int, number: int) -> None:
    if content:
        content[place] ^= number


def _cut(content: bytearray, place: int, number: int) -> None:
    del content[place:]


def _gone(content: bytearray, place: int, number: int) -> None:
    del content[place : place + number]


def _more(content: bytearray, place: int, number: int) -> None:
    content[place:place] = bytes([number]) * (1 + number % 9)


def _zeros(content: bytearray, place: int, number: int) -> None:
    content[place : place + number] = bytes(len(content[place : place + number]))


def _another_digit(content: bytearray, place: int, number: int) -> None:
    """Change the next digit of a text, which leaves it one that can be read."""
    for at in range(place, len(content)):
        if chr(content[at]).isdigit():
            content[at] = ord("0") + (content[at] - ord("0") + 1 + number % 9) % 10
            return


DAMAGES: dict[str, Callable[[bytearray, int, int], None]] = {
    "another byte": _another_byte,
    "another digit": _another_digit,
    "cut": _cut,
    "gone": _gone,
    "more": _more,
    "zeros": _zeros,
}


@functools.cache
def _intact() -> Path:
    """Return a folder with a folder for each format, made once for all processes."""
    whole = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, whole, ignore_errors=True)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())
    model = model.append(nn.Linear(144, 3)).eval()
    example = torch.zeros(1, 3, 8, 8)
    for kind in (*OTHERS, *OURS):
        (whole / kind).mkdir()
    program = torch.export.export(model, (example,))
    torch.export.save(program, whole / "pt2" / "model.pt2")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own
        torch.onnx.export(model, (example,), whole / "onnx" / "model.onnx", dynamo=False)
    hwopt.import_model(model, example).save(whole / "graph")
    hwopt.compile(model, example, kernel_trials=0, output=whole / "artifact")
    return whole
