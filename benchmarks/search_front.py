"""The front of a search beside what peers' own compression makes of the same network.

    python -m benchmarks search_front_study  # train, search, prune by Torch-Pruning
    python -m benchmarks search_front        # then, on a machine that does nothing else

ResNet-8 on Fashion-MNIST, one thread, batch 1. Everything is chosen on the validation split; the
accuracies of the table are those of the test set, and all latencies of one run.
"""

from __future__ import annotations

import functools
import tempfile
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

import hwopt
from benchmarks.experiment import Experiment, Key
from benchmarks.records import kept_graph, measured_on
from hwopt import data, peers, train
from hwopt.compiler import Latency, measure
from hwopt.documents import TargetFacts
from hwopt.job.facts import MetricFacts
from hwopt.report import markdown
from hwopt.report.plots import png
from hwopt.report.study_plots import front_plot
from hwopt.search.in_peers import CALIBRATION, calibration
from hwopt.search.recipe import make_search
from hwopt.search.results import Baseline, BaselinePeer, StudyResults, Trial
from hwopt.search.study import Study
from hwopt.tasks import Classification

TRIALS, SEED, THREADS, RUNS = 20, 0, 1, 1000
#: Points below the dense network that still count as as good.
NEAR = 0.5
#: What the search looks for: of the validation split, on which the dense network has 0.930.
LEAST = 0.925
FOLDER = Path("runs") / "search_front"
PICTURE = Path(__file__).parents[1] / "docs" / "images" / "front.png"
TRAINING: dict[str, Any] = {"learning_rate": 0.2, "label_smoothing": 0.1, "augment": "flip"}
FINE_TUNE: dict[str, Any] = {**TRAINING, "epochs": 6, "learning_rate": 0.1, "weight_decay": 1e-4}
RECIPE: dict[str, Any] = {
    "model": "resnet8",
    "data": "fashion-mnist",
    "train": {**TRAINING, "epochs": 8},
    "fine_tune": FINE_TUNE,
    "threads": THREADS,
    "seed": SEED,
    "peers": [],
    "search": {
        "space": ["prune-channels{multiple=8}"],
        "levels": 4,
        "trials": TRIALS,
        "limits": {"quality": LEAST},
        "first_epochs": [1],
        "workers": 2,
    },
}
#: What compresses by itself, of the dense network.
COMPRESSED = {
    "OpenVINO, NNCF int8": "openvino-int8",
    "ONNX Runtime int8": "onnxruntime-int8",
}
DENSE = {"ONNX Runtime": "onnxruntime", "OpenVINO": "openvino"}
#: Shares of the channels that Torch-Pruning takes.
RATIOS = (0.25, 0.375, 0.5, 0.625)
KEY = {
    "trials": TRIALS,
    "least_accuracy": LEAST,
    "seed": SEED,
    "epochs": FINE_TUNE["epochs"],
    "used_threads": THREADS,
}


def dense() -> hwopt.Graph:
    """Return the dense network, which the search has trained."""
    return hwopt.Graph.load(FOLDER / "graphs" / "train")


def torch_pruned(ratio: float) -> hwopt.Graph:
    """Return the dense network after Torch-Pruning, fine-tuned like ours."""

    def made() -> hwopt.Graph:
        import torch_pruning

        samples = data.load("fashion-mnist")
        model = hwopt.models.create("resnet8", input_shape=samples.input_shape, num_classes=10)
        model.load_state_dict(dense().parameters)
        example = torch.zeros(1, *samples.input_shape)
        torch_pruning.pruner.MagnitudePruner(
            model.eval(),
            example,
            importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
            pruning_ratio=ratio,
            ignored_layers=[one for one in model.modules() if isinstance(one, torch.nn.Linear)],
        ).step()
        train.fit(model, samples.train, seed=SEED, progress=False, **FINE_TUNE)
        return hwopt.import_model(model.eval(), example)

    return kept_graph(FOLDER / f"torch-pruning-{ratio}", made)


def in_peer(
    peer: str, graph: hwopt.Graph, folder: Path
) -> tuple[Callable[[], Any], tuple[np.ndarray, ...]]:
    """Return a peer's call and its inputs."""
    ranges = calibration(data.load("fashion-mnist"), Classification(), ["input"])
    inputs = tuple(array.copy() for array in ranges[0])
    return peers.make(peer, graph, inputs, THREADS, folder, ranges), inputs


def run(**_: Any) -> dict[str, Any]:
    """Measure everything in one run; test what peers make."""
    study = StudyResults.of(FOLDER)
    test = data.load("fashion-mnist").test
    accuracies = {"hwopt, dense": study.baseline.test_quality}
    artifacts = {"hwopt, dense": hwopt.load(FOLDER / "artifacts" / "dense")}
    for trial in study.front:
        accuracies[f"hwopt, trial {trial.number}"] = trial.test_quality
        artifacts[f"hwopt, trial {trial.number}"] = study.artifact(trial.number)
    calls: dict[str, Any] = {
        name: one.call(*one.random_inputs()) for name, one in artifacts.items()
    }
    graphs = {name: (peer, dense()) for name, peer in (DENSE | COMPRESSED).items()}
    for ratio in RATIOS:
        name = f"Torch-Pruning {100 * ratio:g} %, ONNX Runtime"
        graphs[name] = ("onnxruntime", torch_pruned(ratio))
    with tempfile.TemporaryDirectory() as scratch:
        for number, (name, (peer, graph)) in enumerate(graphs.items()):
            calls[name], inputs = in_peer(peer, graph, Path(scratch) / str(number))
            accuracies[name] = peers.quality(calls[name], inputs, test, Classification())
        latencies = measure(calls, threads=THREADS, runs=RUNS)
    entries = {
        name: {"accuracy": accuracies[name], "latency": latencies[name].to_json()} for name in calls
    }
    passes = {f"hwopt, trial {trial.number}": trial.passes for trial in study.front}
    return {"entries": entries, "passes": passes}


def section(runs: list[dict[str, Any]]) -> Iterator[str]:
    """The table, the goal, and the picture."""
    yield "## Search: the front beside peers' own compression"
    yield "`python -m benchmarks search_front_study`, then `python -m benchmarks search_front`"
    yield (
        f"ResNet-8 on Fashion-MNIST, batch 1, {THREADS} thread. `hwopt search` over the widths of "
        f"all groups of channels, {FINE_TUNE['epochs']} epochs of fine-tuning; the same for the "
        f"networks that Torch-Pruning makes. 8-bit peers are calibrated with {CALIBRATION} "
        "training images. Test accuracy; all latencies of one run, in which everything alternates."
    )
    for run in runs:
        least = run.get("least_accuracy")
        limit = f"at least {100 * least:g} % of the validation split right" if least else "no limit"
        yield f"{run['trials']} measured candidates, {limit}:"
        entries = run["entries"]
        base = entries["hwopt, dense"]
        ordered = sorted(entries.items(), key=lambda one: _ms(one[1]))
        rows = [
            [
                name,
                f"{100 * one['accuracy']:.2f} %",
                f"{100 * (one['accuracy'] - base['accuracy']):+.2f}",
                f"{_ms(one):.4f}",
                f"{_ms(one) / _ms(base):.2f}",
            ]
            for name, one in ordered
        ]
        titles = ["model", "accuracy", "points to dense", "median ms", "to hwopt, dense"]
        yield markdown(titles, rows)
        yield _goal(entries)
    if runs:
        PICTURE.write_bytes(png(picture(runs[-1])))
        yield f"![The front beside peers](images/{PICTURE.name})"
    yield measured_on(runs)


def _ms(entry: dict[str, Any]) -> float:
    return float(entry["latency"]["median_ms"])


def _goal(entries: dict[str, dict[str, Any]]) -> str:
    """Say how our fastest that is as good stands to the peers' fastest that is."""
    least = entries["hwopt, dense"]["accuracy"] - NEAR / 100
    good = {name: one for name, one in entries.items() if one["accuracy"] >= least}
    ours = min((n for n in good if n.startswith("hwopt")), key=lambda n: _ms(good[n]))
    compressed = {n: one for n, one in good.items() if not n.startswith("hwopt") and n not in DENSE}
    theirs = min(compressed, key=lambda n: _ms(good[n]))
    return (
        f"Within {NEAR} points of the dense network: {ours} takes "
        f"{_ms(good[ours]) / _ms(good[theirs]):.2f} of the latency of the peers' fastest "
        f"compressed model, {theirs}; of both sides the test set says which is as good."
    )


def picture(run: dict[str, Any]) -> Any:
    """Draw a run as the front of a study is drawn."""
    entries = {
        name: {
            "quality": one["accuracy"],
            "latency": Latency(**one["latency"]).interval(),
        }
        for name, one in run["entries"].items()
    }
    ours = [name for name in entries if name.startswith("hwopt, trial")]
    trials = tuple(
        Trial(number=number, state="measured", **entries[name]) for number, name in enumerate(ours)
    )
    peers_of_it = (
        BaselinePeer(name=name, **one)
        for name, one in entries.items()
        if not name.startswith("hwopt")
    )
    study = StudyResults(
        hwopt="",
        name="front",
        recipe={},
        target=TargetFacts(name="host", cpu="", isa=""),
        threads=THREADS,
        data="",
        metric=MetricFacts.of(Classification().metric),
        space={},
        baseline=Baseline(**entries["hwopt, dense"]),
        trials=trials,
        on_front=tuple(trial.number for trial in trials),
        hypervolume=(),
        peers=tuple(peers_of_it),
    )
    return front_plot(study)


def search(_: Namespace) -> None:
    """Run the study, or what is left of it; then let Torch-Pruning prune."""
    report = functools.partial(print, flush=True)
    Study(make_search(RECIPE), FOLDER, report=lambda _, doing: report(doing)).run()
    for ratio in RATIOS:
        torch_pruned(ratio)


def keys(_: Namespace) -> Iterator[Key]:
    """Yield the one run in which everything is measured."""
    yield KEY


EXPERIMENTS = (
    Experiment(
        name="search_front_study",
        about="the study and the networks that `search_front` measures",
        chapter="prediction and search",
        main=search,
    ),
    Experiment(
        name="search_front",
        about="the front of a search beside peers' own compression",
        chapter="prediction and search",
        keys=keys,
        run=run,
        section=section,
    ),
)
