"""``reestimate-batch-norm``: the statistics of batch norms as the network is now."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from hwopt.data import run_model
from hwopt.errors import HwoptError
from hwopt.passes.base import Context, Note, Pass, PassResult

if TYPE_CHECKING:
    from hwopt.graph import Graph


@dataclass(frozen=True)
class ReestimateBatchNorm(Pass):
    """Set running means and variances to their averages over batches of training data.

    After a pass that changes what batch norms read, theirs are those of the network before; new
    ones have none at all. Weights stay as they are. A training that follows moves the statistics
    by itself.

    Options:
        batches: how many are averaged over; 0 takes all.

    Raises:
        HwoptError: if the number is negative, or there is no data.

    >>> str(ReestimateBatchNorm(batches=10))
    'reestimate-batch-norm{batches=10}'
    """

    name = "reestimate-batch-norm"
    needs_data = True

    batches: int = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batches < 0:
            raise HwoptError(f"pass {self.name}: batches must be at least 0, not {self.batches}")

    def apply(self, graph: Graph, context: Context) -> PassResult:
        """Return the graph with new statistics."""
        module = graph.to_torch().eval()
        with_statistics = {
            node.name for node in graph.nodes("batch_norm") if node.operands.get("running_mean")
        }
        norms = [one for one in module.operations if one.name in with_statistics]
        if not norms:
            message = "there are no batch norms with running statistics"
            return PassResult(
                graph, modified=False, notes=(Note(graph.name, message, changed=False),)
            )
        assert context.batches is not None
        for norm in norms:
            norm.train()
        batches = itertools.islice(context.batches(), self.batches or None)
        count = 0
        with torch.no_grad():
            for count, (inputs, _) in enumerate(batches, 1):
                for norm in norms:
                    # The average over all batches so far.
                    norm.set_attribute("momentum", 1 / count)
                run_model(module, context.task.feed(inputs))
        if not count:
            raise HwoptError(f"pass {self.name}: the data has no samples")
        notes = tuple(
            Note(one.name, f"averages over {count} batches", changed=True) for one in norms
        )
        return PassResult(graph.with_weights_of(module), modified=True, notes=notes)
