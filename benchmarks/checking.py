"""What it costs that what was compiled is compared, and that indices are looked at.

    python -m benchmarks checking   # on a machine that does nothing else

ResNet-18 is compiled and compared with torch; of the seconds that takes the comparison is a part.
An encoder of token ids runs beside the same encoder compiled without its checks, in turns.
"""

from __future__ import annotations

import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

import hwopt
from benchmarks.experiment import Experiment, Key
from benchmarks.records import measured_on
from hwopt import models, targets
from hwopt.compiler import measure
from hwopt.compiler.compare import compare
from hwopt.compiler.lower.call import Call

TURNS = 5
ROUNDS, RUNS = 31, 300
TOKENS, LENGTH, WIDTH, LAYERS = 1000, 64, 128, 2


class Encoder(nn.Module):
    """A table of tokens and a few layers of a transformer."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(TOKENS, WIDTH)
        layer = nn.TransformerEncoderLayer(WIDTH, 4, 4 * WIDTH, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return (batch, length, width)."""
        return self.layers(self.table(tokens))


def comparison() -> dict[str, Any]:
    """Compile ResNet-18; return the seconds of comparing it, and of all of compiling."""
    torch.manual_seed(0)
    example = torch.zeros(1, *models.info("resnet18").input_shape)
    graph = hwopt.import_model(models.create("resnet18"), example)
    seconds, compared = [], []
    for _ in range(TURNS):
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            artifact = hwopt.compile(graph, kernel_trials=0, check=False, output=Path(folder) / "a")
            built = time.perf_counter()
            compare(artifact, graph, (example,))
            compared.append(time.perf_counter() - built)
            seconds.append(time.perf_counter() - start)
    return {"compared_seconds": median(compared), "seconds": median(seconds)}


def indices() -> dict[str, Any]:
    """Run an encoder with and without its checks; return the median of the rounds' ratios."""
    torch.manual_seed(0)
    tokens = torch.randint(0, TOKENS, (1, LENGTH))
    graph = hwopt.import_model(Encoder().eval(), tokens)
    artifacts = {"checked": hwopt.compile(graph, tokens, kernel_trials=0)}
    with patch.object(Call, "check", lambda *_: None):
        artifacts["unchecked"] = hwopt.compile(graph, tokens, kernel_trials=0)
    calls = {name: artifact.call(tokens) for name, artifact in artifacts.items()}
    threads = targets.get("host").threads
    rounds = [measure(calls, threads=threads, runs=RUNS) for _ in range(ROUNDS)]
    return {
        "encoder_us": median(1e3 * one["unchecked"].median_ms for one in rounds),
        "ratio": median(one["checked"].median_ms / one["unchecked"].median_ms for one in rounds),
    }


PARTS = {part.__name__: part for part in (comparison, indices)}


def run(part: str) -> dict[str, Any]:
    """Measure one of the two costs."""
    return PARTS[part]()


def section(runs: list[dict[str, Any]]) -> Iterator[str]:
    """Return both costs."""
    yield "## What checking costs\n\n`python -m benchmarks checking`"
    for run in runs:
        if run["part"] == "comparison":
            yield (
                f"ResNet-18 is compiled with kernel_trials=0 in {run['seconds']:.2f} s, of which "
                f"comparing it with torch takes {run['compared_seconds']:.2f}."
            )
        else:
            yield (
                f"An encoder of {LENGTH} token ids ({LAYERS} layers of width {WIDTH}, "
                f"{run['encoder_us']:.0f} µs) takes {run['ratio']:.3f} times as long with its "
                f"indices checked: median of {ROUNDS} rounds' ratios, in turns."
            )
    yield measured_on(runs)


def keys(_: Namespace) -> Iterator[Key]:
    """Yield both parts."""
    for part in PARTS:
        yield {"part": part}


EXPERIMENTS = (
    Experiment(
        name="checking",
        about="what comparing with torch and looking at indices cost",
        chapter="compiler",
        keys=keys,
        run=run,
        section=section,
    ),
)
