"""Networks and data that are no images with classes, small enough for tests."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

WORDS, LENGTH = 20, 12


class Sentences(Dataset):
    """Ids and a mask by name; the class is that of the word that comes most often in the mask."""

    def __init__(self, count: int, seed: int) -> None:
        random = torch.Generator().manual_seed(seed)
        self.ids = torch.randint(WORDS, (count, LENGTH), generator=random)
        lengths = torch.randint(4, LENGTH + 1, (count, 1), generator=random)
        self.mask = (torch.arange(LENGTH) < lengths).long()
        counts = torch.zeros(count, 3)
        counts.scatter_add_(1, self.ids % 3, self.mask.float())
        self.labels = counts.argmax(1)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> tuple[dict[str, Tensor], int]:
        return {"mask": self.mask[index], "ids": self.ids[index]}, int(self.labels[index])


def sentences() -> tuple[Dataset, Dataset]:
    return Sentences(600, 0), Sentences(200, 1)


class Reader(nn.Module):
    """The mean of the words in the mask, and two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.hidden = nn.Embedding(WORDS, 16), nn.Linear(16, 32)
        self.head = nn.Linear(32, 3)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        weights = mask[:, :, None].float()
        mean = (self.words(ids) * weights).sum(1) / weights.sum(1)
        logits: Tensor = self.head(self.hidden(mean).relu())
        return logits


class TwoHeads(nn.Module):
    """A class and two numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU())
        self.classes, self.numbers = nn.Linear(32, 4), nn.Linear(32, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        seen = self.trunk(x)
        return self.classes(seen), self.numbers(seen)


def unlabelled() -> Dataset:
    return TensorDataset(torch.randn(720, 8, generator=torch.Generator().manual_seed(0)))


def curve() -> Dataset:
    """Numbers to learn: a smooth function of four others."""
    x = torch.rand(960, 4, generator=torch.Generator().manual_seed(0))
    return TensorDataset(x, torch.sin(3 * x[:, 0]) + x[:, 1] * x[:, 2])


def regressor(width: int = 16) -> nn.Module:
    return nn.Sequential(
        nn.Linear(4, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1)
    )


def labelled_pairs() -> Dataset:
    """Pairs of vectors, and how similar they are: the cosine of their first halves."""
    random = torch.Generator().manual_seed(0)
    first, second = (torch.randn(600, 16, generator=random) for _ in range(2))
    alike = torch.nn.functional.cosine_similarity(first[:, :8], second[:, :8])
    return Pairs(first, second, alike)


class Pairs(Dataset):
    def __init__(self, first: Tensor, second: Tensor, alike: Tensor) -> None:
        self.first, self.second, self.alike = first, second, alike

    def __len__(self) -> int:
        return len(self.alike)

    def __getitem__(self, index: int) -> tuple[tuple[Tensor, Tensor], Tensor]:
        return (self.first[index], self.second[index]), self.alike[index]


def embedder() -> nn.Module:
    return nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 8))
