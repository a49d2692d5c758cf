"""How good a network is on the test set, kept so that variants can be compared sample by sample."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.numpy import load_file, save_file

from hwopt import train
from hwopt.errors import HwoptError
from hwopt.files import atomic_file
from hwopt.tasks import worse_by

if TYPE_CHECKING:
    import numpy as np
    from torch.utils.data import Dataset

    from hwopt.graph import Graph
    from hwopt.tasks import Task

_SCORES = "scores"


def judge(graph: Graph, samples: Dataset[Any], task: Task, file: Path) -> dict[str, Any]:
    """Return how good a network is; write what each sample adds to that.

    Args:
        graph: the network.
        samples: of the test set.
        task: that it is for.
        file: for the scores of the samples.

    Returns:
        ``quality``, None where the samples say nothing; between what it is with 95 %, ``low`` and
        ``high``; and ``test_samples``.
    """
    found = train.evaluate(graph.to_torch(), samples, task)
    with atomic_file(file) as temporary:
        save_file({_SCORES: found.scores}, temporary)
    low, high = found.interval()
    return {"quality": found.quality, "low": low, "high": high, "test_samples": found.samples}


def lost(task: Task, file: Path, beside: Path) -> float:
    """Return how much worse one network is than another one at the most, with 95 %.

    Args:
        task: that both are for.
        file: the scores of the network ...
        beside: ... and of the other one, on the same samples.

    Raises:
        HwoptError: as :func:`scores_of`.
    """
    scores, others = scores_of(file), scores_of(beside)

    def loss_of(one: float, other: float) -> float:
        return -task.metric.gain(one, beside=other)

    return worse_by(loss_of, task.quality, scores, others)


def scores_of(file: Path) -> np.ndarray:
    """Return what each sample adds to the quality of a network, as :func:`judge` wrote it.

    Raises:
        HwoptError: if the file is gone, or damaged.
    """
    try:
        scores: np.ndarray = load_file(file)[_SCORES]
    except (OSError, KeyError, ValueError) as error:
        raise HwoptError(f"{file} cannot be read ({error}): run again") from None
    return scores
