"""Artefacts from many threads, in forked processes, and with damaged files.

    python -m benchmarks robustness

Eight threads call one artefact 10,000 times each; a hundred processes are forked after kernels ran
in two threads; and 10,000 times one byte of a file of an artefact is another one. Every answer is
compared, every damaged file must be refused in one sentence.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import tempfile
import threading
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import hwopt
from benchmarks.experiment import Experiment, Key
from benchmarks.records import measured_on
from hwopt.errors import HwoptError
from hwopt.graph import Graph
from hwopt.report import markdown

THREADS, CALLS, FORKS, FILES = 8, 10_000, 100, 10_000
_TOLERANCE = 1e-4


def threads() -> dict[str, Any]:
    """Call an artefact from threads, each with inputs of its own."""
    artifact = hwopt.compile(nn.Linear(64, 64), torch.zeros(1, 64), kernel_trials=0)
    weight, bias = (artifact.graph().parameter(name).numpy() for name in ("weight", "bias"))
    wrong: list[int] = []

    def work(seed: int) -> None:
        generator = np.random.default_rng(seed)
        for _ in range(CALLS):
            x = generator.standard_normal((1, 64), dtype=np.float32)
            if np.abs(artifact(x) - (x @ weight.T + bias)).max() > _TOLERANCE:
                wrong.append(seed)

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(THREADS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return {"tried": THREADS * CALLS, "wrong": len(wrong)}


def forks() -> dict[str, Any]:
    """Call an artefact in forked processes."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(16, 64, 3), nn.ReLU(), nn.Conv2d(64, 8, 3)).eval()
    artifact = hwopt.compile(model, torch.zeros(1, 16, 64, 64), kernel_trials=0)
    x = np.random.default_rng(0).standard_normal((1, 16, 64, 64), dtype=np.float32)
    expected = artifact(x)
    wrong = 0
    for _ in range(FORKS):
        child = os.fork()
        if child == 0:
            signal.alarm(60)
            os._exit(int(not np.array_equal(artifact(x), expected)))
        wrong += os.waitpid(child, 0)[1] != 0
    return {"tried": FORKS, "wrong": wrong}


def files() -> dict[str, Any]:
    """Change one byte of a file, again and again."""
    draw = random.Random(0)
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
        whole = Path(folder) / "whole"
        hwopt.compile(model, torch.zeros(1, 3, 8, 8), kernel_trials=0, output=whole)
        damaged = shutil.copytree(whole, Path(folder) / "damaged")
        names = sorted(path.name for path in whole.iterdir())
        for _ in range(FILES):
            name = draw.choice(names)
            content = bytearray((whole / name).read_bytes())
            place = draw.randrange(len(content))
            content[place] ^= draw.randrange(1, 256)
            (damaged / name).write_bytes(content)
            counts[_read(damaged, name)] += 1
            shutil.copyfile(whole / name, damaged / name)
    return {"tried": FILES, "wrong": FILES - counts["refused"], "outcomes": dict(counts)}


def _read(folder: Path, name: str) -> str:
    """Say what becomes of an artefact, and of its graph where that is damaged."""
    readers = [hwopt.load] + [Graph.load] * name.startswith(("graph", "weights"))
    for read in readers:
        try:
            read(folder)
        except HwoptError as error:
            if "\n" in str(error):
                return "more than one sentence"
        except Exception as error:  # a traceback is what this looks for
            return type(error).__name__
        else:
            return "accepted"
    return "refused"


PARTS = {"threads": threads, "forks": forks, "files": files}


def run(part: str) -> dict[str, Any]:
    """Return what was tried in a part, and what was wrong."""
    return PARTS[part]()


def section(runs: list[dict[str, Any]]) -> Iterator[str]:
    """Return what was tried, and what was wrong."""
    yield "## Threads, forks, damaged files\n\n`python -m benchmarks robustness`"
    rows = [[run["part"], f"{run['tried']:,}", str(run["wrong"])] for run in runs]
    yield markdown(["part", "tried", "wrong"], rows)
    yield measured_on(runs)


def keys(_: Namespace) -> Iterator[Key]:
    """Yield all parts."""
    for part in PARTS:
        yield {"part": part}


EXPERIMENTS = (
    Experiment(
        name="robustness",
        about="artefacts from many threads, in forks, with damaged files",
        chapter="robustness",
        keys=keys,
        run=run,
        section=section,
    ),
)
