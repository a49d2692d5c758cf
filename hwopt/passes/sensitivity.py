"""Connection sensitivity: how the loss changes if a weight is scaled."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import torch
from torch.nn import functional

from hwopt.errors import HwoptError

if TYPE_CHECKING:
    from hwopt.graph import Graph
    from hwopt.passes.base import Context


LabelSource = Literal["true", "uniform"]
#: A label that torch's cross entropy leaves out.
IGNORED = -100


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
    mean cross entropy; batch norms take their running statistics and dropout is off.

    Args:
        graph: whose parameters.
        context: offers the batches.
        batches: how many; 0 takes all.
        labels: ``true`` takes those of the data; ``uniform`` gives every class the same
            probability, so that no label is needed (Lee et al. 2020, section 5).

    Raises:
        HwoptError: if there is no data, or labels are no classes.
    """
    if context.batches is None:
        raise HwoptError(
            "the criterion needs data: run the pass in hwopt optimize, give --data or "
            "Context(batches=...), or choose a criterion without data"
        )
    module = graph.to_torch().eval()
    parameters = dict(module.named_parameters())
    found = False
    for inputs, targets in itertools.islice(context.batches(), batches or None):
        found = True
        _check_inputs(graph, inputs)
        outputs = module(inputs)
        if not isinstance(outputs, torch.Tensor) or outputs.dim() < 2:
            raise HwoptError("the criterion needs a model with one output of logits")
        if labels == "uniform":
            targets = torch.full_like(outputs, 1 / outputs.shape[1])
        else:
            _check_labels(outputs, targets)
            targets = targets.long()
        if not outputs.requires_grad:
            raise HwoptError("the criterion needs trained weights: no output depends on any")
        module.zero_grad()
        functional.cross_entropy(outputs, targets).backward()
        yield {
            name: (p.detach() * p.grad if p.grad is not None else torch.zeros_like(p.detach()))
            for name, p in parameters.items()
        }
    if not found:
        raise HwoptError("the data offers no batch")


def _check_labels(outputs: torch.Tensor, labels: torch.Tensor) -> None:
    if labels.is_floating_point():
        raise HwoptError("the criterion needs labels that are classes, not numbers")
    wanted = (outputs.shape[0], *outputs.shape[2:])
    if tuple(labels.shape) != wanted:
        raise HwoptError(
            f"the criterion needs labels of the shape {list(wanted)} for outputs of "
            f"{list(outputs.shape)}, which have their classes second, not "
            f"{list(labels.shape)}: choose a criterion without data"
        )
    outside = labels[(labels >= outputs.shape[1]) | (labels < 0) & (labels != IGNORED)]
    if outside.numel():
        raise HwoptError(
            f"the data has the label {int(outside[0])}, but the model has {outputs.shape[1]} "
            "classes: give data that fits"
        )


def _check_inputs(graph: Graph, inputs: torch.Tensor) -> None:
    (spec, *others) = graph.inputs.values()
    if others or tuple(inputs.shape[1:]) != spec.at()[1:]:
        raise HwoptError(
            f"the data has inputs of the shape {list(inputs.shape[1:])}, but the model takes "
            f"{[list(one.at()[1:]) for one in (spec, *others)]}: give data that fits"
        )
    dtype = str(inputs.dtype).removeprefix("torch.")
    if dtype != spec.dtype:
        raise HwoptError(
            f"the data has inputs of {dtype}, but the model takes {spec.dtype}: give data that fits"
        )
    if isinstance(spec.shape[0], int) and spec.shape[0] != len(inputs):
        raise HwoptError(
            f"the model takes batches of exactly {spec.shape[0]} and the data has one of "
            f"{len(inputs)}: import the model with a batch that may change, or give such data"
        )
