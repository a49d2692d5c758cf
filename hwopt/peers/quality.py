"""How good a peer's model is: an 8-bit one is not the network that it was made from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hwopt import data
from hwopt.peers.registry import PeerCall

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from torch.utils.data import Dataset

    from hwopt.tasks import Task

_BATCH = 256


def quality(
    call: PeerCall,
    inputs: tuple[np.ndarray, ...],
    samples: Dataset[Any],
    task: Task,
    names: Sequence[str] = (),
) -> float:
    """Return how good a peer's model is, by the metric of a task; NaN if an output is NaN.

    Args:
        call: as :func:`hwopt.peers.make` returns it for ``inputs``.
        inputs: of batch 1; they are written into.
        samples: see :func:`hwopt.data.as_batch`.
        task: what the model is for.
        names: of the inputs in their order, where samples have them by name.

    >>> from pathlib import Path
    >>> import numpy as np, torch, hwopt
    >>> from hwopt import data, peers, tasks
    >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10))
    >>> graph = hwopt.import_model(net, torch.zeros(1, 1, 28, 28))
    >>> inputs = (np.zeros((1, 1, 28, 28), "float32"),)
    >>> call = peers.make("torch", graph, inputs, 1, Path("."))
    >>> peers.quality(call, inputs, data.load("digits").test, tasks.Classification()) < 0.5
    True
    """
    import numpy as np
    import torch

    from hwopt.tasks.task import are_numbers

    evidence, known = [], True
    for batch in map(task.complete, data.batches(samples, _BATCH)):
        arrays = [one.numpy() for one in data.leaves(task.feed(batch.inputs), names)]
        found = []
        for place in range(len(arrays[0])):
            for given, array in zip(inputs, arrays, strict=True):
                given[0] = array[place]
            # A copy: what a peer returns may be where it writes the next time.
            found.append([np.asarray(one).copy() for one in call()])
        outputs = [torch.from_numpy(np.concatenate(one)) for one in zip(*found, strict=True)]
        evidence.append(task.evidence(outputs[0] if len(outputs) == 1 else tuple(outputs), batch))
        known = known and are_numbers(outputs)
    return task.quality(task.scores(np.concatenate(evidence))) if known else float("nan")
