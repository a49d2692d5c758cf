"""What tests of training share: a small model, data for it, and a quiet loop."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from hwopt import train

# One thread: small models gain nothing from two, and lose much on a busy machine.
quiet_fit = partial(train.fit, progress=False, threads=1)


def blobs(samples: int = 96, seed: int = 0) -> TensorDataset:
    """Three classes of 6x6 images that differ in brightness."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(samples) % 3
    images = torch.randn(samples, 1, 6, 6, generator=generator) + labels.view(-1, 1, 1, 1)
    return TensorDataset(images, labels)


def small_model(seed: int = 0) -> nn.Module:
    """A model with a batch norm and random dropout."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.2), nn.Flatten(),
        nn.Linear(128, 3),
    )  # fmt: skip


def at_once_and_resumed(run, folder, epoch=2):
    """Return what a training gives at once, and what it gives stopped and resumed.

    ``run`` takes the path of a checkpoint and what to call after every epoch.
    """
    at_once = run(folder / "at_once.safetensors", None)

    def stop(stats):
        if stats.epoch == epoch:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(folder / "stopped.safetensors", stop)
    return at_once, run(folder / "stopped.safetensors", None)


def equal(a: nn.Module, b: nn.Module) -> bool:
    """Whether two models have the same state, bit for bit."""
    first, second = a.state_dict(), b.state_dict()
    return all(torch.equal(first[key], second[key]) for key in first)
