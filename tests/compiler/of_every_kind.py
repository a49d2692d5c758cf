"""Models with a kernel of every template, and our own operators, for tests on other devices."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from torch import nn

import hwopt
from hwopt import targets
from hwopt.compiler.pipeline import to_kernels, unscheduled
from hwopt.compiler.prepare import prepare
from hwopt.graph.advection_diffusion import OPERATOR as STEP
from hwopt.graph.anchors import OPERATOR as INTERPOLATE
from hwopt.targets import templates, tuner
from hwopt.targets.database import KernelDatabase, Record, kernel_key

CONFIGS = 3
#: Each makes a kernel of the template that it is named after.
KERNELS = {
    "register-tile": (lambda: nn.Conv2d(6, 20, 5, 2, 2), (1, 6, 15, 13)),
    "register-tile, depthwise": (lambda: nn.Conv2d(10, 10, 3, padding=1, groups=10), (1, 10, 9, 9)),
    "register-tile, linear": (lambda: nn.Linear(50, 30), (3, 50)),
    "winograd": (lambda: nn.Conv2d(16, 16, 3, padding=1), (1, 16, 12, 13)),
    "depthwise-separable": (
        lambda: nn.Sequential(
            nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.ReLU(), nn.Conv2d(16, 24, 1)
        ),
        (1, 16, 10, 11),
    ),
    "loops": (lambda: nn.Softmax(1), (4, 37)),
}


class Step(nn.Module):
    """A time step of the Global layer."""

    def forward(self, x):
        return STEP(x, 2 * x, x.relu(), x.sigmoid(), x)


class Interpolate(nn.Module):
    """Interpolation between anchors."""

    def forward(self, x):
        return INTERPOLATE(x[:, :, ::2, ::2], x, x.new_full((x.shape[1], 1, 1), 0.3), 2)


def imported(model, x):
    """Return the graph of a model that is made with weights of their own."""
    torch.manual_seed(0)
    return hwopt.import_model(model().eval(), x)


def kernel(name):
    """Return a graph of :data:`KERNELS` and an input."""
    model, shape = KERNELS[name]
    x = torch.randn(shape)
    return imported(model, x), x


def each_schedule(
    graph: hwopt.Graph, x: torch.Tensor, target: targets.Target, name: str
) -> Iterator[float]:
    """Make some schedules of a template, one after the other, what compiling takes.

    Yields the time that the database has for it.
    """
    kernels = unscheduled(to_kernels(prepare(graph, x).lowered(), target))
    wanted = name.partition(",")[0]
    (func,) = [f for f in kernels.values() if templates.find(f, target).name == wanted][:1]
    space = templates.find(func, target).space(func, target)
    database = KernelDatabase(target)
    faster = itertools.count(1)
    for config in space[:: max(1, len(space) // CONFIGS)][:CONFIGS]:
        us = 1 / next(faster)
        database.add(Record(kernel_key(func), name, wanted, config, us, us, runs=1000))
        chosen = tuner.choose({"kernel": func}, target, kernel_trials=0)["kernel"]
        assert (chosen.road, chosen.median_us) == (f"template:{wanted}", us)
        yield us
