"""Fashion-MNIST: found, checked, downloaded, or replaced aloud."""

import gzip
import hashlib
from pathlib import Path

import pytest
import torch

from hwopt import data
from hwopt.data import fashion_mnist
from hwopt.errors import HwoptError

installed = pytest.mark.skipif(
    not fashion_mnist.DEBIAN_FOLDER.is_dir(), reason="needs Debian's dataset-fashion-mnist"
)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, bytes]:
    """Put two small files in the place of the published ones, and nothing on this machine."""
    contents = {"images": bytes(range(20)), "labels": b"head" + bytes(4)}
    published = tuple(
        fashion_mnist._File(name, 4, (len(content) - 4,), hashlib.sha256(content).hexdigest())
        for name, content in contents.items()
    )
    monkeypatch.setattr(fashion_mnist, "_FILES", published)
    monkeypatch.setattr(fashion_mnist, "DEBIAN_FOLDER", tmp_path / "debian")
    monkeypatch.setattr(fashion_mnist, "MIRRORS", (f"{(tmp_path / 'mirror').as_uri()}/",))
    return contents


def find(root: Path) -> Path:
    """Return where the files are, after a download if they are nowhere."""
    folder = fashion_mnist.installed(root)
    return folder or fashion_mnist._downloaded(root / "fashion-mnist")


def publish(folder: Path, contents: dict[str, bytes]) -> None:
    """Write compressed files as a mirror has them."""
    folder.mkdir()
    for name, content in contents.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(content))


@installed
def test_the_real_set(tmp_path: Path) -> None:
    loaded = data.load("fashion-mnist", tmp_path)
    lengths = [len(s) for s in (loaded.train_full, loaded.train, loaded.validation, loaded.test)]
    assert lengths == [60_000, 55_000, 5_000, 10_000]
    assert (loaded.input_shape, loaded.num_classes, loaded.note) == ((1, 28, 28), 10, None)
    assert (loaded.mean, loaded.std) == ((0.286,), (0.353,))
    images, labels = data.batch(loaded.train_full, torch.arange(60_000))
    assert labels.bincount().tolist() == [6000] * 10
    assert abs(images.mean().item()) < 1e-3 and abs(images.std().item() - 1) < 1e-3
    assert loaded.class_names[labels[0]] == "Ankle boot"


def test_downloads_to_the_user_folder(tiny: dict[str, bytes], tmp_path: Path) -> None:
    publish(tmp_path / "mirror", tiny)
    folder = find(tmp_path)
    assert folder == tmp_path / "fashion-mnist"
    assert sorted(path.name for path in folder.iterdir()) == ["images.gz", "labels.gz"]
    images = fashion_mnist._read(folder, fashion_mnist._FILES[0])
    assert images.tolist() == list(range(4, 20))


def test_downloads_only_what_is_missing(tiny: dict[str, bytes], tmp_path: Path) -> None:
    publish(tmp_path / "mirror", {"labels": tiny["labels"]})
    (tmp_path / "fashion-mnist").mkdir()
    (tmp_path / "fashion-mnist" / "images").write_bytes(tiny["images"])
    folder = find(tmp_path)
    assert fashion_mnist._read(folder, fashion_mnist._FILES[0]).tolist() == list(range(4, 20))


def test_debian_package_comes_before_the_download(tiny: dict[str, bytes], tmp_path: Path) -> None:
    publish(tmp_path / "debian", tiny)
    assert find(tmp_path) == tmp_path / "debian"
    publish(tmp_path / "fashion-mnist", tiny)
    assert find(tmp_path) == tmp_path / "fashion-mnist"


def test_a_forged_download_is_not_kept(tiny: dict[str, bytes], tmp_path: Path) -> None:
    publish(tmp_path / "mirror", {name: content + b"x" for name, content in tiny.items()})
    with pytest.raises(HwoptError, match=r"mirror/images\.gz is not the published file"):
        find(tmp_path)
    assert not (tmp_path / "fashion-mnist").exists()


def test_the_next_mirror_is_asked(
    tiny: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(tmp_path / "forged", dict.fromkeys(tiny, b"a page of the hotel's network"))
    publish(tmp_path / "right", tiny)
    mirrors = tuple(f"{(tmp_path / name).as_uri()}/" for name in ("none", "forged", "right"))
    monkeypatch.setattr(fashion_mnist, "MIRRORS", mirrors)
    folder = find(tmp_path)
    assert fashion_mnist._read(folder, fashion_mnist._FILES[1]).tolist() == [0] * 4


@pytest.mark.parametrize("damage", [lambda b: b[:-12], lambda b: b[:-1], lambda b: b"\x1f\x8bxx"])
def test_a_damaged_file_is_named(tiny: dict[str, bytes], tmp_path: Path, damage: object) -> None:
    publish(tmp_path / "fashion-mnist", tiny)
    path = tmp_path / "fashion-mnist" / "images.gz"
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(
        HwoptError, match=r"fashion-mnist/images\.gz is not the published file .*delete"
    ):
        fashion_mnist._read(tmp_path / "fashion-mnist", fashion_mnist._FILES[0])


def test_without_network_says_what_to_do(tiny: dict[str, bytes], tmp_path: Path) -> None:
    with pytest.raises(HwoptError, match="apt-get install dataset-fashion-mnist") as caught:
        data.load("fashion-mnist", tmp_path)
    assert str(tmp_path / "fashion-mnist") in str(caught.value)


def test_fallback_is_said_aloud(
    tiny: dict[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded = data.load("fashion-mnist", tmp_path, fallback=True)
    assert loaded.name == "digits" and loaded.input_shape == (1, 28, 28)
    assert loaded.note is not None and "used instead" in loaded.note
    assert capsys.readouterr().err == f"warning: {loaded.note}\n"


def test_fallback_does_not_hide_damage(tiny: dict[str, bytes], tmp_path: Path) -> None:
    publish(tmp_path / "fashion-mnist", tiny)
    (tmp_path / "fashion-mnist" / fashion_mnist._TRAIN_IMAGES.name).write_bytes(b"")
    with pytest.raises(HwoptError, match="not the published file"):
        data.load("fashion-mnist", tmp_path, fallback=True)
