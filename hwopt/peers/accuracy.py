"""How accurate a peer's model is: an 8-bit one is not the network that it was made from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hwopt import data
from hwopt.peers.registry import PeerCall

if TYPE_CHECKING:
    import numpy as np
    from torch.utils.data import Dataset

_BATCH = 256


def accuracy(call: PeerCall, inputs: tuple[np.ndarray, ...], samples: Dataset[Any]) -> float:
    """Return the share of the samples whose largest output is that of their label, in [0, 1].

    Args:
        call: as :func:`hwopt.peers.make` returns it for ``inputs``.
        inputs: one array, float32 of batch 1; it is written into.
        samples: images and labels.

    >>> from pathlib import Path
    >>> import numpy as np, torch, hwopt
    >>> from hwopt import data, peers
    >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10))
    >>> graph = hwopt.import_model(net, torch.zeros(1, 1, 28, 28))
    >>> inputs = (np.zeros((1, 1, 28, 28), "float32"),)
    >>> call = peers.make("torch", graph, inputs, 1, Path("."))
    >>> peers.accuracy(call, inputs, data.load("digits").test) < 0.5
    True
    """
    import numpy as np

    (given,) = inputs
    right = total = 0
    for images, labels in data.batches(samples, _BATCH):
        for image, label in zip(images.numpy(), labels.tolist(), strict=True):
            given[0] = image
            right += int(np.argmax(np.asarray(call()[0])) == label)
        total += len(labels)
    return right / total
