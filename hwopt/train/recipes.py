"""Arguments of :func:`hwopt.train.fit` to begin with, for small image classifiers.

They are what ``benchmarks/choose_recipe.py`` chose among four for ResNet-8 on Fashion-MNIST, by the
accuracy on held-out training images after 8 epochs.
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
"""From the weights that are left after channels were removed."""
