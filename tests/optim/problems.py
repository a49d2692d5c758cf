"""Least squares, sample by sample, and what optimizers do to them."""

import torch


def sample_closure(optimizer, w, x, y):
    """Return the closure of (x w - y)^2 / 2."""

    def closure():
        optimizer.zero_grad()
        loss = (w @ torch.tensor(x, dtype=w.dtype) - y) ** 2 / 2
        loss.backward()
        return loss

    return closure


def run(make, samples, start=(0.0, 0.0)):
    """Return the weights after a step for every sample (x, y)."""
    w = torch.nn.Parameter(torch.tensor(start, dtype=torch.float64))
    optimizer = make([w])
    for x, y in samples:
        optimizer.step(sample_closure(optimizer, w, x, y))
    return w.detach()


def regression(count, size=3, seed=0):
    """Return random samples (x, y) that a linear model fits exactly."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, size, generator=generator, dtype=torch.float64)
    targets = inputs @ torch.arange(1.0, size + 1, dtype=torch.float64)
    return [(tuple(x.tolist()), y.item()) for x, y in zip(inputs, targets, strict=True)]
