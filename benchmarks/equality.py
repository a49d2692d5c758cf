"""Models of the zoo after passes: the artefact against torch on 1,000 test images.

    python -m benchmarks equality

Weights are random; batch norms first see some images, so that their statistics are not 0 and 1.
Images are Fashion-MNIST's, scaled to the model's input. Kernels take their first choice
(``kernel_trials=0``): correctness does not depend on tuning, see ``tests/targets`` for all
candidates.
"""

from __future__ import annotations

import tempfile
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

import hwopt
from benchmarks import nets
from benchmarks.experiment import Experiment, Key
from benchmarks.records import measured_on
from hwopt import data, models
from hwopt.passes import Context
from hwopt.report import markdown

PASSES = ("", "eliminate-dead-code", "fold-batch-norm", "prune-channels")
SAMPLES = 1000


def images(shape: tuple[int, ...], count: int) -> torch.Tensor:
    """Return test images, scaled to the shape; for a vector, their first rows."""
    inputs, _ = data.batch(data.load("fashion-mnist").test, torch.arange(count))
    if len(shape) == 1:
        return inputs.flatten(1)[:, : shape[0]]
    resized = functional.interpolate(inputs, shape[1:], mode="bilinear")
    return resized.expand(-1, shape[0], -1, -1).contiguous()


def compare(model: str, passes: str) -> dict:
    """Compile one model after one pass and compare all outputs."""
    shape = models.info(model).input_shape
    context = Context(debug=True)
    graph = hwopt.apply(nets.graph(model, images(shape, nets.BATCH)), passes, context)
    module = graph.to_torch().eval()
    worst, same = 0.0, 0
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        artifact = hwopt.compile(graph, kernel_trials=0, output=Path(folder) / "a")
        for batch in images(shape, SAMPLES).split(50):
            expected = module(batch).numpy()
            got = np.concatenate([artifact(x[None].numpy()) for x in batch])
            worst = max(worst, float(np.abs(expected - got).max()))
            same += int((expected.argmax(1) == got.argmax(1)).sum())
    changed = sum(note.changed for _, note in context.notes)
    return {"samples": SAMPLES, "max_difference": worst, "same_label": same, "changes": changed}


def section(runs: list[dict[str, Any]]) -> Iterator[str]:
    """Every model and pass against torch."""
    yield "## Compiled equals torch\n\n`python -m benchmarks equality`"
    yield (
        "Models of the zoo after the passes below, on 1,000 test images of Fashion-MNIST scaled to "
        "the model's input: largest absolute difference of any output (goal ≤ 1e-4), and images "
        "with the same label (goal: all)."
    )
    rows = [
        [
            run["model"],
            run["passes"] or "none",
            f"{run['max_difference']:.1e}",
            f"{run['same_label']} of {run['samples']}",
        ]
        for run in runs
    ]
    yield markdown(["model", "pass", "largest difference", "same label"], rows)
    yield measured_on(runs)


def keys(_: Namespace) -> Iterator[Key]:
    """Yield every model after every pass."""
    for name in models.names():
        for passes in PASSES:
            yield {"model": name, "passes": passes}


EXPERIMENTS = (
    Experiment(
        name="equality",
        about="models of the zoo after passes against torch",
        chapter="compiler",
        keys=keys,
        run=compare,
        section=section,
    ),
)
