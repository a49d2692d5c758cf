"""How hard an input is for a network: scores that say when to ask a larger one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hwopt.errors import HwoptError


class Entropy(nn.Module):
    """The entropy of the network's answer, in nats.

    >>> Entropy()(torch.zeros(1, 4))
    tensor([1.3863])
    """

    def forward(self, logits: Tensor) -> Tensor:
        """Return (N,) from logits (N, classes)."""
        logarithms = logits.log_softmax(1)
        return -(logarithms.exp() * logarithms).sum(1)


class Doubt(nn.Module):
    """One minus the probability of the most probable class: the softmax response.

    >>> Doubt()(torch.zeros(1, 4))
    tensor([0.7500])
    """

    def forward(self, logits: Tensor) -> Tensor:
        """Return (N,) from logits (N, classes)."""
        return 1 - logits.softmax(1).amax(1)


class Router(nn.Module):
    """A learned score: the logit of the probability that the larger network would help.

    It reads the network's answer and features only: the entropy, the differences between all pairs
    of the ``top`` largest probabilities, and what two linear layers make of the features; three
    linear layers make the score of these. Source: Kag et al. 2023 (Efficient edge inference by
    selective query), as in the authors' code, where ``width`` is 1000: a twentieth of that is meant
    for networks that answer in microseconds.

    Args:
        classes: of the network.
        features: of an input, what the network's last layer reads.
        top: K, at most all classes.
        width: of the layers.

    Raises:
        HwoptError: if a number is less than 1.

    >>> router = Router(classes=10, features=64)
    >>> router(torch.randn(2, 10), torch.randn(2, 64)).shape, router.inputs
    (torch.Size([2]), 165)
    """

    def __init__(self, classes: int, features: int, top: int = 10, width: int = 48) -> None:
        super().__init__()
        if min(classes, features, top, width) < 1:
            raise HwoptError(
                "Router: classes, features, top and width must be at least 1, not "
                f"{classes}, {features}, {top} and {width}"
            )
        self.top = min(top, classes)
        self.entropy = Entropy()
        self.features = nn.Sequential(_block(features, 128), _block(128, 64))
        self.inputs = 1 + self.top**2 + 64
        narrow = -(-width // 16)
        self.score = nn.Sequential(
            _block(self.inputs, width), nn.Linear(width, narrow), _block(narrow, width)
        )
        self.last = nn.Linear(width, 1)

    def margins(self, logits: Tensor) -> Tensor:
        """Return p_i - p_j of the largest probabilities, (N, top, top), from (N, classes)."""
        largest = logits.softmax(1).topk(self.top, 1).values
        return largest[:, :, None] - largest[:, None, :]

    def forward(self, logits: Tensor, features: Tensor) -> Tensor:
        """Return (N,) from logits (N, classes) and features (N, ...), which are flattened."""
        parts = (
            self.entropy(logits)[:, None],
            self.margins(logits).flatten(1),
            self.features(features.flatten(1)),
        )
        score: Tensor = self.last(self.score(torch.cat(parts, 1)))
        return score.squeeze(1)


def _block(width: int, wanted: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, wanted), nn.BatchNorm1d(wanted), nn.ReLU())
