"""Vectors whose nearness means something."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hwopt.errors import HwoptError
from hwopt.tasks.metric import Metric
from hwopt.tasks.task import Task, one_tensor

if TYPE_CHECKING:
    from torch import Tensor

    from hwopt.data import Batch


@dataclass(frozen=True)
class Similarity(Task):
    """Pairs and how similar they are: inputs (first, second), targets float (N,).

    Both go through the network in one batch of 2 N. The loss is the squared difference of cosine
    and target, which should be in [-1, 1]; the quality is Spearman's rank correlation of the two.
    """

    name = "similarity"
    metric = Metric("Spearman's rho", is_share=False)
    loss_can_be_zero = True

    def feed(self, inputs: Any) -> Any:
        """Return the second ones behind the first."""
        import torch

        if not isinstance(inputs, tuple | list) or len(inputs) != 2:
            raise HwoptError("similarity needs samples whose input is a pair")
        first, second = inputs
        if isinstance(first, torch.Tensor):
            return torch.cat([first, second])
        if isinstance(first, dict):
            return {key: torch.cat([first[key], second[key]]) for key in first}
        return tuple(torch.cat(both) for both in zip(first, second, strict=True))

    def check(self, outputs: Any, batch: Batch) -> None:
        """Refuse pairs without a similarity."""
        outputs = one_tensor(outputs, "one tensor (the vectors)")
        if batch.targets is None or len(outputs) != 2 * len(batch.targets):
            raise HwoptError("similarity needs one vector a sample and a number a pair")

    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        """Return the squared difference of every pair."""
        difference: Tensor = _cosines(outputs) - batch.targets.reshape(-1)
        return difference**2

    def evidence(self, outputs: Any, batch: Batch) -> np.ndarray:
        """Return cosine and target of every pair, float64 (N, 2)."""
        both = _cosines(outputs).double(), batch.targets.reshape(-1).double()
        return np.stack([one.numpy() for one in both], 1)

    def quality(self, scores: np.ndarray) -> float:
        """Return Spearman's rank correlation; NaN if one side is constant."""
        from scipy.stats import rankdata

        said, true = rankdata(scores[:, 0]), rankdata(scores[:, 1])
        if said.std() == 0 or true.std() == 0:
            return float("nan")
        return float(np.corrcoef(said, true)[0, 1])


@dataclass(frozen=True)
class Retrieval(Task):
    """Vectors of which those with the same label are near: labels int64 (N,).

    The loss is the cross entropy of a sample's neighbours in the batch by cosine, those with its
    label being the right ones (supervised contrastive, Khosla et al. 2020, eq. 2); batches must
    hold several of a label. The quality is recall@k: the share of the samples that have one of
    their label among the k nearest others.

    Options:
        k: how many neighbours are looked at.
        temperature: of the loss.
    """

    name = "retrieval"

    k: int = 1
    temperature: float = 0.1

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        if self.k < 1 or not self.temperature > 0:
            raise HwoptError(
                f"retrieval: k must be at least 1 and temperature positive, not {self.k} and "
                f"{self.temperature}"
            )

    @property
    def metric(self) -> Metric:
        """recall@k."""
        return Metric(f"recall@{self.k}")

    def check(self, outputs: Any, batch: Batch) -> None:
        """Refuse samples without a label."""
        outputs = one_tensor(outputs, "one tensor (the vectors)")
        if batch.targets is None or batch.targets.numel() != len(outputs):
            raise HwoptError("retrieval needs one vector and one label a sample")

    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        """Return the loss of every sample; 0 for one that is alone with its label."""
        import torch
        from torch.nn import functional

        vectors, labels = functional.normalize(outputs.flatten(1)), batch.targets.reshape(-1)
        near = vectors @ vectors.T / self.temperature
        itself = torch.eye(len(labels), dtype=torch.bool)
        log_share = near - near.masked_fill(itself, -torch.inf).logsumexp(1, keepdim=True)
        alike = (labels[:, None] == labels[None, :]) & ~itself
        summed = log_share.masked_fill(~alike, 0.0).sum(1)
        loss: Tensor = -summed / alike.sum(1).clamp(min=1)
        return loss

    def evidence(self, outputs: Any, batch: Batch) -> np.ndarray:
        """Return vector and label of every sample, float64 (N, d + 1)."""
        labels = batch.targets.reshape(-1, 1).double().numpy()
        return np.concatenate([outputs.flatten(1).double().numpy(), labels], 1)

    def scores(self, evidence: np.ndarray) -> np.ndarray:
        """Return which samples have one of their label near, float64 (N,)."""
        vectors, labels = evidence[:, :-1], evidence[:, -1]
        vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        hits = np.zeros(len(labels))
        for start in range(0, len(labels), 512):
            near = vectors[start : start + 512] @ vectors.T
            rows = np.arange(len(near))
            near[rows, start + rows] = -np.inf
            k = min(self.k, near.shape[1] - 1)
            nearest = np.argpartition(-near, k - 1, axis=1)[:, :k] if k else near[:, :0].astype(int)
            hits[start : start + 512] = (labels[nearest] == labels[start : start + 512, None]).any(
                1
            )
        return hits


def _cosines(outputs: Tensor) -> Tensor:
    from torch.nn import functional

    first, second = outputs.flatten(1).chunk(2)
    return functional.cosine_similarity(first, second)
