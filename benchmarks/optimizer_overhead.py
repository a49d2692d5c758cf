"""What a step of an optimizer costs beside torch's SGD, forward and backward pass included.

python -m benchmarks optimizer_overhead      # on a machine that does nothing else
"""

from __future__ import annotations

import contextlib
import functools
from argparse import Namespace
from collections.abc import Callable, Iterator
from statistics import median
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.experiment import Experiment, Key
from benchmarks.records import measured_on
from hwopt import models, targets
from hwopt.optim import ALIG, BORAT
from hwopt.report import markdown
from hwopt.train.cpu import set_threads, weights_in

NET, SHAPE = "resnet18", (3, 32, 32)
BATCHES = (128, 32)
#: Each of them as many steps of every optimizer as make a whole update of all.
ROUNDS = 20
OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "sgd, foreach": functools.partial(
        torch.optim.SGD, lr=0.01, momentum=0.9, nesterov=True, foreach=True
    ),
    "sgd, fused": functools.partial(
        torch.optim.SGD, lr=0.01, momentum=0.9, nesterov=True, fused=True
    ),
    "alig": functools.partial(ALIG, max_lr=0.01),
    "borat 3": functools.partial(BORAT, max_lr=0.01, pieces=3),
    "borat 5": functools.partial(BORAT, max_lr=0.01, pieces=5),
}
#: A multiple of the mini-batches of an update, 2 and 4.
STEPS = 4


def run(batch: int) -> dict[str, Any]:
    """Alternate the optimizers, each with a network of its own, all alike."""
    threads = targets.get("host").threads
    torch.manual_seed(0)
    inputs = torch.randn(batch, *SHAPE).to(memory_format=torch.channels_last)
    labels = torch.randint(10, (batch,))
    orders = contextlib.ExitStack()  # of the weights in memory, as fit has them
    steps, times = {}, {name: list[float]() for name in OPTIMIZERS}
    for name, make in OPTIMIZERS.items():
        torch.manual_seed(1)
        model = models.create(NET, input_shape=SHAPE, num_classes=10).train()
        orders.enter_context(weights_in(model, torch.channels_last))
        steps[name] = functools.partial(_step, model, make(model.parameters()), inputs, labels)
    with orders, set_threads(threads):
        for step in steps.values():
            _timed(step)
        for _ in range(ROUNDS):
            for name, step in steps.items():
                times[name].append(_timed(step))
    return {
        "median_ms": {name: 1000 * median(of) for name, of in times.items()},
        "ratio": {name: _ratio(of, times["sgd, foreach"]) for name, of in times.items()},
        "ratio_to_fused": {name: _ratio(of, times["sgd, fused"]) for name, of in times.items()},
    }


def _ratio(mine: list[float], theirs: list[float]) -> float:
    return median(one / other for one, other in zip(mine, theirs, strict=True))


def _step(model: nn.Module, optimizer: Any, inputs: Tensor, labels: Tensor) -> None:
    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(inputs), labels)
        loss.backward()
        return loss

    optimizer.step(closure)


def _timed(step: Callable[[], None]) -> float:
    start = perf_counter()
    for _ in range(STEPS):
        step()
    return (perf_counter() - start) / STEPS


def section(runs: list[dict[str, Any]]) -> Iterator[str]:
    """Milliseconds and ratios."""
    yield "## What a step of an optimizer costs\n\n`python -m benchmarks optimizer_overhead`"
    yield (
        f"{NET} with inputs of {'x'.join(map(str, SHAPE))}: a mini-batch forward, backward, and "
        f"what the optimizer does with it. All alternate, {STEPS} mini-batches each, {ROUNDS} "
        "times: median milliseconds a mini-batch, and the median of the ratios to torch's SGD with "
        "momentum, whose step is a loop over tensors on lists (foreach), or one kernel (fused). "
        "Ours are foreach."
    )
    for record in runs:
        rows = [
            [
                name,
                f"{record['median_ms'][name]:.1f}",
                f"{record['ratio'][name]:.3f}",
                f"{record['ratio_to_fused'][name]:.3f}",
            ]
            for name in record["ratio"]
        ]
        yield f"Batches of {record['batch']}, {record['threads']} threads"
        yield markdown(["optimizer", "ms", "to foreach", "to fused"], rows)
    yield measured_on(runs)


def keys(_: Namespace) -> Iterator[Key]:
    """Yield every size of a batch."""
    for batch in BATCHES:
        yield {"batch": batch}


EXPERIMENTS = (
    Experiment(
        name="optimizer_overhead",
        about="what a step of an optimizer costs beside torch's SGD",
        chapter="training",
        keys=keys,
        run=run,
        section=section,
    ),
)
