"""Nets of the zoo as experiments use them: random weights that let signals through."""

from __future__ import annotations

import torch

import hwopt
from hwopt import models

BATCH = 32


def graph(name: str, images: torch.Tensor | None = None) -> hwopt.Graph:
    """Import a net whose batch norms have seen ``images``, so that their outputs do not vanish.

    Args:
        name: of the zoo.
        images: a batch of inputs; random ones if None.
    """
    torch.manual_seed(0)
    shape = models.info(name).input_shape
    model = models.create(name)
    with torch.no_grad():
        model.train()(torch.randn(BATCH, *shape) if images is None else images)
    return hwopt.import_model(model, torch.zeros(1, *shape), name=name)
