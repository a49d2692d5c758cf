"""Thirty torch models through both of torch's exporters to ONNX, and back.

    python -m benchmarks onnx_round_trip [NAME ...]

Each file is imported, its graph compared with the model, pruned by 0.3, compiled, compared again.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import hwopt
from benchmarks import architectures
from benchmarks.experiment import Experiment, Key
from benchmarks.records import latest, measured_on
from hwopt import models
from hwopt.errors import HwoptError
from hwopt.report import markdown

EXPORTERS = ("dynamo", "torchscript")
TOLERANCE = 1e-4
ZOO = ("autoencoder", "ds_cnn", "mobilenet_v1_025", "mobilenet_v2", "resnet8", "resnet18")


class Recurrent(nn.Module):
    """A recurrent layer and what reads its last step."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        layers = {"lstm": nn.LSTM, "gru": nn.GRU}
        self.layer = layers[kind](8, 12, 2, batch_first=True, bidirectional=kind == "gru")
        self.head = nn.Linear(24 if kind == "gru" else 12, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Return scores (N, 5) of (N, steps, 8)."""
        return self.head(self.layer(x)[0][:, -1])


def _others() -> dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]]:
    def encoder() -> nn.Module:
        layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, norm_first=True)
        return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    return {
        "lstm": (lambda: Recurrent("lstm"), (1, 7, 8)),
        "gru": (lambda: Recurrent("gru"), (1, 7, 8)),
        "encoder": (encoder, (1, 6, 16)),
        "temporal": (
            lambda: nn.Sequential(
                nn.Conv1d(4, 8, 3, dilation=2), nn.BatchNorm1d(8), nn.GELU(), nn.Conv1d(8, 6, 3)
            ),
            (1, 4, 20),
        ),
        "decoder": (
            lambda: nn.Sequential(
                nn.ConvTranspose2d(8, 6, 3, 2, 1, 1), nn.InstanceNorm2d(6, affine=True), nn.SiLU()
            ),
            (1, 8, 5, 5),
        ),
        "volume": (
            lambda: nn.Sequential(nn.Conv3d(2, 4, 3), nn.ReLU(), nn.AvgPool3d(2), nn.Flatten()),
            (1, 2, 8, 8, 8),
        ),
    }


def cases() -> dict[str, tuple[Callable[[], nn.Module], tuple[Tensor, ...]]]:
    """Return how each model is made, and inputs."""
    found: dict[str, Any] = {}
    for name, make in architectures.ARCHITECTURES.items():
        found[name] = (make, (architectures.example(name, 1),))
    for name in ZOO:
        shape = models.info(name).input_shape
        found[name] = (lambda name=name: models.create(name), (torch.randn(1, *shape),))
    for name, (make, shape) in _others().items():
        found[name] = (make, (torch.randn(shape),))
    return found


def measure(model: str, exporter: str) -> dict[str, Any]:
    """Take a model there and back."""
    torch.manual_seed(0)
    make, inputs = cases()[model]
    module = make().eval()
    with torch.no_grad():
        expected = module(*inputs)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{model.replace('-', '_')}.onnx"
        try:
            export(module, inputs, path, exporter)
        except Exception as error:  # torch's exporters raise many types
            return {"outcome": "not exported", "reason": f"{type(error).__name__}"}
        try:
            graph = hwopt.import_model(path, inputs)
            with torch.no_grad():
                imported = _difference(graph.to_torch().eval()(*inputs), expected)
            pruned = hwopt.apply(graph, "prune-channels{ratio=0.3,multiple=1}")
            found = hwopt.compile(graph, inputs, kernel_trials=0)(*inputs)
        except HwoptError as error:
            return {"outcome": "refused", "reason": str(error).replace(folder, "")[:300]}
    difference = _difference(found, expected)
    fine = max(imported, difference) <= TOLERANCE
    return {
        "outcome": "equal" if fine else "wrong",
        "difference": difference,
        "macs_left": pruned.macs() / max(1, graph.macs()),
        "macs_left_of_model": _left(module, inputs),
    }


def _left(model: nn.Module, inputs: tuple[Tensor, ...]) -> float:
    """Return the share of MACs that the same pruning leaves of the model without the detour."""
    graph = hwopt.import_model(model, inputs)
    pruned = hwopt.apply(graph, "prune-channels{ratio=0.3,multiple=1}")
    return pruned.macs() / max(1, graph.macs())


def export(model: nn.Module, inputs: tuple[Tensor, ...], path: Path, exporter: str) -> None:
    """Write a model with one of torch's exporters."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # The older exporter cannot write the operator that it stands for.
        torch.backends.mha.set_fastpath_enabled(False)
        if exporter == "dynamo":
            torch.onnx.export(model, inputs, path, dynamo=True, verbose=False)
        else:
            torch.onnx.export(model, inputs, path, dynamo=False)


def _difference(found: Tensor, expected: Tensor) -> float:
    scale = max(1.0, expected.abs().max().item())
    return (found - expected).abs().max().item() / scale


def section(runs: list[dict[str, Any]]) -> Iterator[str]:
    """Return what came of each model."""
    yield "## Torch's exporters to ONNX\n\n`python -m benchmarks onnx_round_trip`"
    runs = list(latest(runs, "model", "exporter").values())
    equal = sum(run["outcome"] == "equal" for run in runs)
    yield (
        f"{equal} of {len(runs)} files equal to the model they come from. MACs left are those of "
        "`prune-channels{ratio=0.3}`, of the file and of the model itself."
    )
    rows = []
    for run in runs:
        lefts = [f"{run[k]:.3f}" if k in run else "" for k in ("macs_left", "macs_left_of_model")]
        reason = run.get("reason", "")[:120]
        rows.append([run["model"], run["exporter"], run["outcome"], *lefts, reason])
    head = ["model", "exporter", "outcome", "MACs left", "of the model itself", "reason"]
    yield markdown(head, rows)
    yield measured_on(runs)


def options(parser: ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("names", nargs="*", help="models")


def keys(chosen: Namespace) -> Iterator[Key]:
    """Yield every model with both exporters."""
    logging.disable(logging.CRITICAL)
    for name in cases():
        if not chosen.names or name in chosen.names:
            for exporter in EXPORTERS:
                yield {"model": name, "exporter": exporter}


EXPERIMENTS = (
    Experiment(
        name="onnx_round_trip",
        about="torch models through both exporters to ONNX, and back",
        chapter="networks of others",
        keys=keys,
        run=measure,
        section=section,
        options=options,
    ),
)
