"""Digits, folders of images, the user's own sets, and batches."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset, Subset, TensorDataset

from hwopt import data
from hwopt.data import folder
from hwopt.errors import HwoptError


def write_images(folder: Path, mode: str = "RGB", size: tuple[int, int] = (12, 8)) -> Path:
    """Write three images of two classes to train and test; size is (width, height)."""
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for label, class_name in enumerate(("cat", "dog")):
            path = folder / split / class_name
            path.mkdir(parents=True)
            for index in range(6 if split == "train" else 3):
                shape = (size[1], size[0]) if mode == "L" else (size[1], size[0], 3)
                pixels = rng.integers(100 * label, 100 * label + 100, shape, dtype=np.uint8)
                Image.fromarray(pixels).save(path / f"{index}.png")
    return folder


def test_digits_split_without_overlap() -> None:
    digits = data.load("digits")
    images, labels = data.batch(digits.train_full, torch.arange(len(digits.train_full)))
    test_images, _ = data.batch(digits.test, torch.arange(len(digits.test)))
    assert images.shape == (1437, 1, 28, 28) and len(test_images) == 360
    assert labels.bincount().min() > 120
    seen = {image.numpy().tobytes() for image in images}
    assert sum(image.numpy().tobytes() in seen for image in test_images) == 0
    parts = {digits.train[i][0].numpy().tobytes() for i in range(1318)}
    held_out = {digits.validation[i][0].numpy().tobytes() for i in range(119)}
    assert not parts & held_out
    assert parts | held_out == seen


def test_folder_of_colour_images(tmp_path: Path) -> None:
    loaded = data.load(write_images(tmp_path / "pets"))
    assert (loaded.name, loaded.class_names) == ("pets", ("cat", "dog"))
    assert loaded.input_shape == (3, 8, 12)
    assert (len(loaded.train_full), len(loaded.train), len(loaded.validation)) == (12, 11, 1)
    images, labels = data.batch(loaded.train_full, torch.arange(12))
    assert labels.tolist() == [0] * 6 + [1] * 6
    assert images.mean((0, 2, 3)).abs().max() < 1e-2
    assert (images.std((0, 2, 3)) - 1).abs().max() < 1e-2
    pixels = np.asarray(Image.open(tmp_path / "pets/train/cat/0.png")).transpose(2, 0, 1) / 255
    mean, std = (np.array(v)[:, None, None] for v in (loaded.mean, loaded.std))
    np.testing.assert_allclose(images[0], (pixels - mean) / std, atol=1e-5)


def test_folder_of_grey_images_resized(tmp_path: Path) -> None:
    loaded = data.load(str(write_images(tmp_path, "L")), image_size=(16, 20))
    assert loaded.input_shape == (1, 16, 20)


def test_folder_with_validation(tmp_path: Path) -> None:
    write_images(tmp_path)
    (tmp_path / "test").rename(tmp_path / "validation")
    write_images(tmp_path / "more")
    (tmp_path / "more" / "test").rename(tmp_path / "test")
    loaded = data.load(tmp_path)
    assert (len(loaded.train), len(loaded.train_full), len(loaded.validation)) == (12, 12, 6)


def test_a_folder_that_is_too_large_is_read_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_images(tmp_path)
    whole = data.load(tmp_path)
    monkeypatch.setattr(folder, "MEMORY", 1000)
    lazily = data.load(tmp_path)
    assert lazily.content is None and (lazily.mean, lazily.std) == (whole.mean, whole.std)
    for split in ("train", "validation", "test", "train_full"):
        given = [getattr(one, split) for one in (lazily, whole)]
        assert isinstance(given[0], folder.ImageFolder) and len(given[0]) == len(given[1])
        read, kept = (data.batch(one, torch.arange(len(one))) for one in given)
        torch.testing.assert_close(read.inputs, kept.inputs)
        assert torch.equal(read.targets, kept.targets)


class Costly(torch.utils.data.Dataset):
    """Samples of which only the first one may be read."""

    def __init__(self, **known: object) -> None:
        self.__dict__.update(known)

    def __len__(self) -> int:
        return 10**6

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        assert index == 0
        return torch.zeros(1, 4, 4), 0


def test_classes_that_a_data_set_knows_are_not_looked_for() -> None:
    named = data.from_datasets("pets", Costly(classes=["cat", "dog"]))
    assert named.class_names == ("cat", "dog")
    counted = data.from_datasets("pets", Costly(targets=[0, 2, 1]))
    assert counted.class_names == ("0", "1", "2")
    many = data.from_datasets("pets", Costly(classes=[("tench", "fish"), ("hen",)]))
    assert many.class_names == ("tench, fish", "hen")


def test_classes_that_samples_do_not_have_are_not_believed() -> None:
    class Few(Costly):
        def __len__(self) -> int:
            return 24

        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            return torch.zeros(1, 4, 4), index % 3

    for known in ({"classes": list("abcdef"), "target_transform": len}, {"targets": ["a", "b"]}):
        assert data.from_datasets("few", Few(**known)).class_names == ("0", "1", "2")


def test_folder_errors(tmp_path: Path) -> None:
    with pytest.raises(HwoptError, match=r"has no images .* stand in train/<class>/"):
        data.load(tmp_path)
    write_images(tmp_path)
    (tmp_path / "train/dog/0.png").write_bytes(b"no image")
    with pytest.raises(HwoptError, match=r"train/dog/0\.png cannot be read as an image"):
        data.load(tmp_path)
    (tmp_path / "train/dog/0.png").unlink()
    (tmp_path / "test/cow").mkdir()
    with pytest.raises(HwoptError, match="classes that train has not: cow"):
        data.load(tmp_path)
    (tmp_path / "train/empty").mkdir()
    with pytest.raises(HwoptError, match="train/empty has no images"):
        data.load(tmp_path)


def test_own_data_by_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_noise.py").write_text(
        "import torch\n"
        "from torch.utils.data import TensorDataset\n"
        "def pair():\n"
        "    noise = TensorDataset(torch.randn(24, 2, 5), torch.arange(24) % 3)\n"
        "    return noise, noise\n"
        "def wrong():\n"
        "    return 7\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    loaded = data.load("my_noise:pair")
    assert (loaded.num_classes, loaded.input_shape) == (3, (2, 5))
    assert loaded.class_names == ("0", "1", "2")
    assert data.load(loaded) is loaded
    with pytest.raises(HwoptError, match="returned int"):
        data.load("my_noise:wrong")
    with pytest.raises(HwoptError, match="has no callable 'missing'"):
        data.load("my_noise:missing")
    with pytest.raises(HwoptError, match="cannot import 'no_such_module'"):
        data.load("no_such_module:pair")


def test_unknown_names() -> None:
    with pytest.raises(HwoptError, match="did you mean 'fashion-mnist'"):
        data.load("fashion_mnist")
    with pytest.raises(HwoptError, match="data folder or table /no/such/folder does not exist"):
        data.load("/no/such/folder")


class Squares(Dataset):
    """A data set that only has items."""

    def __len__(self) -> int:
        return 30

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return torch.full((2,), float(index)), index % 4


def test_batches_are_the_items() -> None:
    tensors = TensorDataset(torch.randn(30, 2), torch.arange(30))
    sets = [Squares(), tensors, Subset(Squares(), [3, 1, 2]), data.load("digits").validation]
    for dataset in sets:
        items = [dataset[i] for i in range(3)]
        inputs, labels = data.batch(dataset, torch.arange(3))
        torch.testing.assert_close(inputs, torch.stack([item[0] for item in items]))
        assert labels.tolist() == [int(item[1]) for item in items]
    sizes = [len(labels) for _, labels in data.batches(Squares(), 8, limit=20)]
    assert sizes == [8, 8, 4]


class Stream(IterableDataset):
    """A data set without a length."""

    def __iter__(self) -> Iterator[int]:
        return iter(range(30))


class Doubles(Squares):
    """Items of the wrong dtype."""

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return torch.zeros(2, dtype=torch.float64), 0


def test_from_datasets_refuses_what_it_cannot_use() -> None:
    with pytest.raises(HwoptError, match="map-style"):
        data.from_datasets("stream", Stream(), Squares())
    with pytest.raises(HwoptError, match=r"the inputs of its test split are torch\.float64"):
        data.from_datasets("doubles", Squares(), Doubles())
    with pytest.raises(HwoptError, match="train split has 3 samples, under 12"):
        data.from_datasets("few", Subset(Squares(), [0, 1, 2]), Squares())


def test_batches_in_an_order_drawn_by_a_seed_hold_every_sample_once():
    labels = torch.arange(250) // 50
    sorted_by_class = TensorDataset(torch.arange(250), labels)
    inputs, found = next(iter(data.batches(sorted_by_class, 100, seed=3)))
    assert set(found.tolist()) == {0, 1, 2, 3, 4}
    again, _ = next(iter(data.batches(sorted_by_class, 100, seed=3)))
    assert torch.equal(inputs, again)
    everything = torch.cat([x for x, _ in data.batches(sorted_by_class, 100, seed=3)])
    assert torch.equal(everything.sort().values, torch.arange(250))
    assert len(next(iter(data.batches(sorted_by_class, 100, limit=30, seed=3)))[0]) == 30
