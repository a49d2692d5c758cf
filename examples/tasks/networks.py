"""Networks and data of the recipes for tasks that are no classification.

hwopt optimize recipes/anomaly.yaml
hwopt optimize recipes/segmentation.yaml
hwopt optimize recipes/regression.yaml
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset


def image_autoencoder(width: int = 16, bottleneck: int = 16) -> nn.Module:
    """Return an autoencoder of images 1x28x28: strided convolutions down, transposed ones up."""
    return nn.Sequential(
        nn.Conv2d(1, width, 3, stride=2, padding=1),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
        nn.BatchNorm2d(2 * width),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(2 * width * 49, bottleneck),
        nn.Linear(bottleneck, 2 * width * 49),
        nn.ReLU(),
        nn.Unflatten(1, (2 * width, 7, 7)),
        nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.ConvTranspose2d(width, 1, 4, stride=2, padding=1),
    )


class UNet(nn.Module):
    """A small U-Net: two steps down and up, with the wide features beside the deep ones."""

    def __init__(self, classes: int = 4, width: int = 16) -> None:
        super().__init__()
        self.first, self.second = _block(3, width), _block(width, 2 * width)
        self.bottom = _block(2 * width, 4 * width)
        self.pool = nn.MaxPool2d(2)
        self.up_second = nn.ConvTranspose2d(4 * width, 2 * width, 2, stride=2)
        self.up_first = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.join_second, self.join_first = _block(4 * width, 2 * width), _block(2 * width, width)
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (N, classes, height, width)."""
        wide = self.first(image)
        middle = self.second(self.pool(wide))
        deep = self.bottom(self.pool(middle))
        middle = self.join_second(torch.cat([self.up_second(deep), middle], 1))
        logits: Tensor = self.head(self.join_first(torch.cat([self.up_first(middle), wide], 1)))
        return logits


def _block(channels: int, width: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
    )


class Shapes(Dataset[tuple[Tensor, Tensor]]):
    """Discs, squares and triangles over crops of photographs, and the class of every pixel.

    Args:
        count: of the images.
        first: the number of the first one; each number is always the same image.
        photographs: that crops are taken of, uint8 (height, width, 3).
    """

    SIDE, CLASSES = 64, ("background", "disc", "square", "triangle")

    def __init__(self, count: int, first: int, photographs: list[np.ndarray]) -> None:
        self.count, self.first, self.photographs = count, first, photographs

    def __len__(self) -> int:
        """Return the number of images."""
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return an image, float32 (3, 64, 64), and its classes, int64 (64, 64)."""
        random = np.random.default_rng(self.first + index)
        photograph = self.photographs[random.integers(len(self.photographs))]
        top, left = (int(random.integers(0, most - self.SIDE)) for most in photograph.shape[:2])
        image = photograph[top : top + self.SIDE, left : left + self.SIDE].astype(np.float32)
        classes = np.zeros((self.SIDE, self.SIDE), np.int64)
        rows, columns = np.mgrid[: self.SIDE, : self.SIDE]
        for _ in range(random.integers(1, 5)):
            kind, radius = int(random.integers(1, 4)), float(random.uniform(5, 14))
            y, x = random.uniform(6, self.SIDE - 6, 2)
            down, right = rows - y, columns - x
            inside = {
                1: down**2 + right**2 <= radius**2,
                2: np.maximum(abs(down), abs(right)) <= 0.85 * radius,
                3: (abs(right) <= (down + radius) / 2) & (down <= radius),
            }[kind]
            colour = random.uniform(0, 255, 3) + random.normal(0, 12, (self.SIDE, self.SIDE, 3))
            image[inside], classes[inside] = colour[inside], kind
        pixels = torch.from_numpy(image).permute(2, 0, 1) / 127.5 - 1
        return pixels.clamp(-1, 1), torch.from_numpy(classes)


def shapes() -> tuple[Shapes, Shapes]:
    """Return 4,000 images to train on, over one photograph, and 1,000 to test, over another."""
    from sklearn.datasets import load_sample_images

    first, second = load_sample_images().images
    return Shapes(4000, 0, [first]), Shapes(1000, 1_000_000, [second])


def regressor(width: int = 32) -> nn.Module:
    """Return a network from ten columns to a number."""
    return nn.Sequential(
        nn.Linear(10, width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, 1),
    )


def write_diabetes(path: Path = Path("runs/diabetes.csv")) -> None:
    """Write scikit-learn's diabetes data as a table."""
    from sklearn.datasets import load_diabetes

    found = load_diabetes(scaled=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = np.c_[found.data, found.target / 100]
    header = ",".join([*found.feature_names, "progression"])
    np.savetxt(path, rows, delimiter=",", header=header, comments="", fmt="%.6g")


if __name__ == "__main__":
    write_diabetes()
