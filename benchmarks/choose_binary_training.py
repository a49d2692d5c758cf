"""How the settings of ``benchmarks.binary_training`` were chosen: on images held out from training.

    python -m benchmarks choose_binary_training

Each line changes some settings of the first ones tried. The seed is that of
``benchmarks.choose_recipe``, which no table of test accuracies uses.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from typing import Any

from benchmarks import binary_training
from benchmarks.choose_recipe import SEED, validation_accuracy
from benchmarks.experiment import Experiment, Key
from benchmarks.records import measured_on
from hwopt.report import markdown

FIRST_TRIED = {
    "width": 16,
    "images": 30_000,
    "first_epochs": 6,
    "epochs": 10,
    "learning_rate": 0.02,
    "batch_size": 128,
    "augment": "flip",
    "growth": 4.0,
    "frozen": 1,
}
ALL_IMAGES = {"images": 55_000, "first_epochs": 3, "epochs": 6}
#: The paper's first phase is a sixth of all epochs.
LONGER_PULL = {"first_epochs": 3, "epochs": 13}
WIDE = {"width": 32, "images": 20_000}
TRIALS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("bnew", {}),
    ("real", {}),
    ("straight-through", {}),
    ("bnew", {"frozen": 3}),
    ("bnew", {"augment": None}),
    ("real", {"augment": None}),
    ("bnew", ALL_IMAGES),
    ("real", ALL_IMAGES),
    ("bnew", {"growth": 8.0, "frozen": 3}),
    ("bnew", LONGER_PULL),
    ("bnew", LONGER_PULL | {"growth": 8.0}),
    ("bnew", {"batch_size": 64}),
    ("bnew", {"growth": 2.0}),
    ("bnew", WIDE),
    ("real", WIDE),
    ("straight-through", WIDE),
    ("bnew", WIDE | {"learning_rate": 0.04}),
)


def run(method: str, changes: dict[str, Any], seed: int) -> dict[str, Any]:
    """Train one network and evaluate it on the held-out images."""
    found = binary_training.run(method, seed, FIRST_TRIED | changes, "validation")
    return {"validation_accuracy": found["accuracy"]}


def section(runs: list[dict[str, Any]]) -> Iterator[str]:
    """What the settings were chosen among."""
    yield "## How the training of binary networks was chosen"
    yield "`python -m benchmarks choose_binary_training`"
    first = ", ".join(f"{name} {value}" for name, value in FIRST_TRIED.items())
    yield (
        "The network and the phases of `binary_training`, on 5,000 training images held out for "
        "it, with a seed that no table of test accuracies uses. One run each: differences below "
        "half a point mean little. Chosen was where the binary network loses least to the "
        f"real-valued one. First tried: {first}."
    )
    rows = [[run["method"], _text(run["changes"]), validation_accuracy(run)] for run in runs]
    yield markdown(["weights", "changed", "accuracy"], rows)
    yield measured_on(runs)


def _text(changes: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in changes.items()) or "nothing"


def keys(_: Namespace) -> Iterator[list[Key]]:
    """Yield all trainings, to be run side by side."""
    yield [{"method": method, "changes": changes, "seed": SEED} for method, changes in TRIALS]


EXPERIMENTS = (
    Experiment(
        name="choose_binary_training",
        about="how the settings of binary_training were chosen",
        chapter="binary layers",
        keys=keys,
        run=run,
        section=section,
        alone=False,
    ),
)
