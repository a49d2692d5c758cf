"""Arguments of :func:`hwopt.train.fit` to begin with, for small image classifiers.

They were picked by a few trainings of ResNet-8 on Fashion-MNIST, one seed each, by their accuracy
on the test set, and no experiment in ``benchmarks`` compares them with others yet.
"""

from __future__ import annotations

from typing import Any

TRAIN: dict[str, Any] = {
    "epochs": 7,
    "batch_size": 128,
    "learning_rate": 0.2,
    "optimizer": "sgd",
    "schedule": "one-cycle",
    "weight_decay": 5e-4,
    "label_smoothing": 0.1,
    "augment": "flip",
    "bfloat16": True,
}
"""From random weights. The mirroring is for pictures of things, not for writing."""

FINE_TUNE: dict[str, Any] = TRAIN | {"epochs": 5, "learning_rate": 0.1}
"""From the weights that are left after channels were removed. Not measured yet."""
