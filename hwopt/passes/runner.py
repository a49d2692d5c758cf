"""Apply passes: check what they require, that they keep their word, and collect their notes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch

from hwopt.errors import HwoptError
from hwopt.graph.fingerprint import fingerprint
from hwopt.passes.base import Context, Note, Pass
from hwopt.passes.registry import parse

if TYPE_CHECKING:
    from hwopt.graph import Graph, TensorSpec

log = logging.getLogger("hwopt.passes")

#: Largest relative difference of outputs that counts as rounding.
_TOLERANCE = 1e-4


class PassError(Exception):
    """A pass broke its contract: addressed to its author, not to the user."""


def apply(
    graph: Graph,
    passes: str | Pass | Sequence[Pass | str],
    context: Context | None = None,
    *,
    on_pass: Callable[[Pass, Graph], None] | None = None,
) -> Graph:
    """Apply passes in order and return the new graph; ``graph`` is not changed.

    Notes of the passes are appended to ``context.notes`` and logged.

    Args:
        graph: the graph to begin with.
        passes: text such as ``"fold-batch-norm,prune-channels{ratio=0.5}"``, a pass, or a list.
        context: data, latency and randomness for passes that need them.
        on_pass: called with every pass and the graph after it.

    Raises:
        HwoptError: if a pass or option is unknown, or what a pass requires does not hold.
        PassError: if a pass breaks its contract.

    >>> from hwopt.graph import import_model
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4))
    >>> graph = import_model(model, torch.randn(1, 1, 8, 8))
    >>> [node.op for node in apply(graph, "fold-batch-norm").nodes()]
    ['conv2d']
    """
    context = context or Context()
    for instance in parse(passes):
        graph = _apply_one(graph, instance, context)
        if on_pass is not None:
            on_pass(instance, graph)
    return graph


def _apply_one(graph: Graph, instance: Pass, context: Context) -> Graph:
    if instance.needs_data and context.batches is None:
        raise HwoptError(
            f"pass {instance.name} needs data: run it in hwopt optimize, give --data or "
            "Context(batches=...)"
        )
    if instance.needs_latency and context.latency is None:
        raise HwoptError(
            f"pass {instance.name} needs measured latency: run it in hwopt optimize, or give "
            "Context(latency=...)"
        )
    reason = instance.requires(graph)
    if reason is not None:
        raise HwoptError(f"pass {instance.name} cannot begin: {reason}")
    before = fingerprint(graph) if context.debug else ""
    result = instance.apply(graph, context)
    if context.debug and fingerprint(graph) != before:
        raise PassError(f"pass {instance.name} changed its input graph: work on graph.copy()")
    if result.modified == (result.graph is graph):
        raise PassError(
            f"pass {instance.name} returned modified={result.modified} with "
            f"{'the input graph itself' if result.graph is graph else 'another graph'}"
        )
    if result.modified:
        result.graph.infer_shapes()
        result.graph.check_states()
        result.graph.history = (*graph.history, str(instance))
        if not instance.changes_interface:
            _check_interface(graph, result.graph, instance)
        lacking = instance.ensures(result.graph)
        if lacking is not None:
            raise PassError(f"pass {instance.name} broke its promise: {lacking}")
        if context.debug and instance.preserves_function:
            _check_function(graph, result.graph, instance)
    _record(instance, result.notes, context)
    return result.graph


def _record(instance: Pass, notes: tuple[Note, ...], context: Context) -> None:
    for note in notes:
        context.notes.append((instance.name, note))
        log.info("%s: %s", instance.name, note)


def _check_interface(before: Graph, after: Graph, instance: Pass) -> None:
    """Inputs and outputs keep their names, shapes and dtypes; a pass may add outputs."""
    if before.inputs != after.inputs:
        raise PassError(f"pass {instance.name} changed the inputs of the graph")
    old = {name: before.spec(operand) for name, operand in before.outputs.items()}
    new = {name: after.spec(operand) for name, operand in after.outputs.items()}
    if {name: new.get(name) for name in old} != old:
        raise PassError(f"pass {instance.name} changed the outputs of the graph: {old} to {new}")


def _check_function(before: Graph, after: Graph, instance: Pass) -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = [random_input(spec, generator) for spec in before.inputs.values()]
    with torch.no_grad():
        old, new = (g.to_torch().eval()(*inputs) for g in (before, after))
    pairs = zip(old, new, strict=True) if isinstance(old, tuple) else [(old, new)]
    for expected, got in pairs:
        difference = (expected - got).abs().max().item()
        if not difference <= _TOLERANCE * max(1.0, expected.abs().max().item()):
            message = f"pass {instance.name} preserves the function, but outputs differ by"
            raise PassError(f"{message} {difference:.3g}")


def random_input(spec: TensorSpec, generator: torch.Generator, batch: int = 2) -> torch.Tensor:
    """Return a random tensor: normal for floats, small integers otherwise."""
    dtype = getattr(torch, spec.dtype)
    if dtype.is_floating_point:
        return torch.randn(spec.at(batch), generator=generator).to(dtype)
    return torch.randint(0, 2, spec.at(batch), generator=generator).to(dtype)
