"""Connection sensitivity: how the loss changes if a weight is scaled."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch.nn import functional

from hwopt.data import Batch, leaves, run_model
from hwopt.errors import HwoptError
from hwopt.tasks import Task
from hwopt.tasks.task import as_tuple

if TYPE_CHECKING:
    from hwopt.graph import Graph
    from hwopt.passes.base import Context


LabelSource = Literal["true", "uniform"]


def connection_sensitivity(
    graph: Graph, context: Context, batches: int = 1, *, labels: LabelSource = "true"
) -> dict[str, torch.Tensor]:
    """Return the share of every weight in the loss's sensitivity; all of them sum to one.

    The signed gradients of the batches are summed before the absolute value is taken (Lee et al.
    2020), which for one batch is SNIP (Lee et al. 2019, eq. 6). Here all parameters of the graph
    share the sum; a ranking does not depend on it.

    Args:
        graph: whose trainable parameters.
        context: offers the batches.
        batches: how many; 0 takes all.
        labels: as for ``gradients``.

    Raises:
        HwoptError: as ``gradients``.
    """
    total: dict[str, torch.Tensor] = {}
    for products in gradients(graph, context, batches, labels=labels):
        for name, product in products.items():
            total[name] = total[name] + product if name in total else product
    absolute = {name: tensor.abs() for name, tensor in total.items()}
    sum_of_all = sum(float(tensor.sum()) for tensor in absolute.values())
    return {name: tensor / (sum_of_all or 1.0) for name, tensor in absolute.items()}


def gradients(
    graph: Graph, context: Context, batches: int = 1, *, labels: LabelSource = "true"
) -> Iterator[dict[str, torch.Tensor]]:
    """Yield weight x gradient of the loss, in float32, for every trainable parameter and batch.

    That is the derivative by a factor of the weight at 1 (Lee et al. 2019, eq. 5). The loss is the
    mean of what the task's ``probe`` returns; batch norms take their running statistics and dropout
    is off.

    Args:
        graph: whose parameters.
        context: offers the batches and the task.
        batches: how many; 0 takes all.
        labels: ``true`` takes those of the data; ``uniform`` gives every class the same
            probability, so that no label is needed (Lee et al. 2020, section 5).

    Raises:
        HwoptError: if there is no data, it is not of the task, or it has no classes that could be
            alike.
    """
    if context.batches is None:
        raise HwoptError(
            "the criterion needs data: run the pass in hwopt optimize, give --data or "
            "Context(batches=...), or choose a criterion without data"
        )
    module, task, generator = graph.to_torch().eval(), context.task, context.generator()
    parameters = dict(module.named_parameters())
    found = False
    for given in itertools.islice(context.batches(), batches or None):
        found, one = True, task.complete(Batch(*given))
        _check_inputs(graph, task.feed(one.inputs))
        outputs = run_model(module, task.feed(one.inputs))
        if not any(output.requires_grad for output in as_tuple(outputs)):
            raise HwoptError("the criterion needs trained weights: no output depends on any")
        module.zero_grad()
        if labels == "uniform":
            _uniform_loss(outputs).backward()
        else:
            _check(task, outputs, one)
            task.probe(outputs, one, generator).mean().backward()
        yield {
            name: (p.detach() * p.grad if p.grad is not None else torch.zeros_like(p.detach()))
            for name, p in parameters.items()
        }
    if not found:
        raise HwoptError("the data offers no batch")


def _uniform_loss(outputs: Any) -> torch.Tensor:
    """Return the mean cross entropy to classes of the same probability."""
    if not isinstance(outputs, torch.Tensor) or outputs.dim() < 2:
        raise HwoptError("the criterion needs a model with one output of logits")
    return functional.cross_entropy(outputs, torch.full_like(outputs, 1 / outputs.shape[1]))


def _check(task: Task, outputs: Any, batch: Batch) -> None:
    try:
        task.check(outputs, batch)
    except HwoptError as error:
        raise HwoptError(
            f"the criterion judges by the task {task}: {error}; or choose a criterion without data"
        ) from None


def _check_inputs(graph: Graph, inputs: Any) -> None:
    given, specs = leaves(inputs), list(graph.inputs.values())
    shapes = [list(one.shape[1:]) for one in given]
    if shapes != [list(spec.at()[1:]) for spec in specs]:
        raise HwoptError(
            f"the data has inputs of the shape {_listed(shapes)}, but the model takes "
            f"{[list(spec.at()[1:]) for spec in specs]}: give data that fits"
        )
    for one, spec in zip(given, specs, strict=True):
        dtype = str(one.dtype).removeprefix("torch.")
        if dtype != spec.dtype:
            raise HwoptError(
                f"the data has inputs of {dtype}, but the model takes {spec.dtype}: give data that "
                "fits"
            )
        if isinstance(spec.shape[0], int) and spec.shape[0] != len(one):
            raise HwoptError(
                f"the model takes batches of exactly {spec.shape[0]} and the data has one of "
                f"{len(one)}: import the model with a batch that may change, or give such data"
            )


def _listed(shapes: list[list[int]]) -> str:
    return ", ".join(map(str, shapes))
