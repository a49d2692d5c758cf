"""Tables, recordings, photographs without labels, and classes that training never sees."""

from __future__ import annotations

import shutil
import wave

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_diabetes

from hwopt import data
from hwopt.data.images import ImageFiles
from hwopt.errors import HwoptError


@pytest.fixture(scope="module")
def diabetes(tmp_path_factory):
    """scikit-learn's diabetes as a CSV file and as arrays."""
    found = load_diabetes(scaled=False)
    path = tmp_path_factory.mktemp("tables")
    rows = np.c_[found.data, found.target]
    header = ",".join([*found.feature_names, "progression"])
    np.savetxt(path / "d.csv", rows, delimiter=",", header=header, comments="")
    np.savez(path / "d.npz", x=found.data, progression=found.target)
    return path, found


@pytest.mark.parametrize("file", ["d.csv", "d.npz"])
def test_a_table_is_scaled_by_its_training_rows(diabetes, file):
    path, found = diabetes
    table = data.load(f"{path / file}{{target=progression}}")
    sizes = [len(s) for s in (table.train_full, table.train, table.validation, table.test)]
    assert sizes == [406, 373, 33, 36] and table.input_shape == (10,)
    inputs, targets = data.batch(table.train_full, torch.arange(406))
    assert inputs.dtype == targets.dtype == torch.float32
    assert inputs.mean(0).abs().max() < 1e-5 and (inputs.std(0) - 1).abs().max() < 2e-3
    tested, of_tested = data.batch(table.test, torch.arange(36))
    every = torch.cat([targets, of_tested]).sort().values
    torch.testing.assert_close(every, torch.tensor(np.sort(found.target)).float())
    # A row of the test is a row of the file.
    rest, held = found.data.std(0), torch.cat([inputs, tested])
    assert len(held) == len(found.data) and (rest > 0).all()
    assert table.num_classes is None
    again = data.load(f"{path / file}{{target=progression}}")
    assert torch.equal(data.batch(again.test, torch.arange(36)).inputs, tested)


def test_texts_of_the_target_are_classes(tmp_path):
    lines = ["size,kind", *(f"{n / 7},{'cat' if n % 3 else 'dog'}" for n in range(48))]
    (tmp_path / "pets.csv").write_text("\n".join(lines))
    pets = data.load(tmp_path / "pets.csv")
    assert pets.class_names == ("cat", "dog")
    labels = data.batch(pets.train_full, torch.arange(len(pets.train_full))).targets
    assert labels.dtype == torch.int64 and set(labels.tolist()) == {0, 1}
    with pytest.raises(HwoptError, match="column 'kind' holds text: only the target may"):
        data.load(f"{tmp_path / 'pets.csv'}{{target=size}}")
    sizes = data.load(f"{tmp_path / 'pets.csv'}{{target=kind}}")
    assert sizes.input_shape == (1,)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("a,b\n1,2\n3\n", "", "row 2 has 1 cells, the header 2"),
        ("a,b\n1,2\n,4\n", "", "row 2 has no number in column 'a'"),
        ("a,b\n", "", "no rows below its header"),
        ("a,b\n1,2\n", "{target=c}", "unknown column 'c'"),
        ("b\n1\n", "{target=b}", "has no column but the target 'b'"),
        ("a,b\n1,2\n", "{goal=a}", "unknown option of data set"),
    ],
)
def test_a_bad_table_is_one_sentence(tmp_path, text, options, message):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(HwoptError, match=message):
        data.load(f"{tmp_path / 't.csv'}{options}")


def write_wave(path, samples, width, rate=8000, channels=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        if width == 1:
            content = ((samples + 1) * 127.5).round().astype(np.uint8).tobytes()
        else:
            whole = (samples * (2 ** (8 * width - 1) - 1)).round().astype("<i4")
            content = whole.tobytes() if width == 4 else whole.astype("<i4").view(np.uint8)
            if width != 4:
                content = content.reshape(-1, 4)[:, :width].tobytes()
        file.writeframes(content)


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_recordings_of_every_depth(tmp_path, width):
    wanted = np.sin(np.arange(8000) / 7) * 0.5
    write_wave(tmp_path / "train" / "low" / "a.wav", np.repeat(wanted, 2), width, channels=2)
    for name in ("low", "high"):
        for n in range(6):
            write_wave(tmp_path / "train" / name / f"{n}.wav", wanted[: 4000 + n], width)
    found = data.load(f"{tmp_path}{{seconds=0.75}}")
    assert found.class_names == ("high", "low") and found.input_shape == (1, 6000)
    count = len(found.train_full) + len(found.test)
    assert count == 13
    sounds, labels = data.batch(found.train_full, torch.arange(len(found.train_full)))
    assert sounds.dtype == torch.float32 and set(labels.tolist()) == {0, 1}
    exact = torch.from_numpy(wanted[:4000]).float()
    assert (sounds[:, 0, :4000] - exact).abs().max() < 2.0 ** (2 - 8 * width) + 1e-6
    silent = sounds[:, 0, 4005:].abs().amax(1)
    assert ((silent == 0) | (silent > 0.4) | (silent < 0.01)).all()


def test_recordings_without_labels_are_brought_to_a_rate(tmp_path):
    tone = np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    for n in range(24):
        write_wave(tmp_path / "speaker" / f"{n}.wav", tone, 2, rate=16000)
    found = data.load(f"{tmp_path}{{seconds=1,rate=8000}}")
    sounds, targets = data.batch(found.train, torch.arange(3))
    assert targets is None and sounds.shape == (3, 1, 8000)
    spectrum = torch.fft.rfft(sounds[0, 0]).abs()
    assert spectrum.argmax() == 440
    (tmp_path / "bad.wav").write_bytes(b"RIFF")
    with pytest.raises(HwoptError, match=r"bad\.wav cannot be read as a WAV file"):
        broken = data.load(tmp_path)
        data.batch(broken.train_full, torch.arange(len(broken.train_full)))
        data.batch(broken.test, torch.arange(len(broken.test)))


@pytest.fixture
def photos(tmp_path):
    """Photographs in folders of any depth, which are no classes."""
    random = np.random.default_rng(0)
    for n in range(15):
        folder = tmp_path / "holidays" / str(n % 3)
        folder.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(256, size=(40 + n, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{n}.png")
    return tmp_path / "holidays"


def test_photographs_without_labels(photos):
    found = data.load(f"{photos}{{crops=4,mean=[0.4,0.5,0.6],std=[0.2]}}", image_size=(16, 24))
    assert found.input_shape == (3, 16, 24) and found.num_classes is None
    assert len(found.train_full) + len(found.test) == 60
    inputs, targets = data.batch(found.test, torch.arange(len(found.test)))
    assert targets is None and inputs.dtype == torch.float32
    again = data.load(f"{photos}{{crops=4,mean=[0.4,0.5,0.6],std=[0.2]}}", image_size=(16, 24))
    assert torch.equal(data.batch(again.test, torch.arange(3)).inputs, inputs[:3])
    assert len({tuple(one.flatten()[:8].tolist()) for one in inputs}) == len(inputs)


def test_no_photograph_is_in_two_splits(photos):
    found = data.load(f"{photos}{{crops=4}}")
    splits = (found.train, found.validation, found.test)
    names = [{file.name for file in split.files} for split in splits]
    assert [len(one) for one in names] == [13, 1, 1] and len(set.union(*names)) == 15
    assert {file.name for file in found.train_full.files} == names[0] | names[1]


def test_a_folder_of_validation_alone_is_kept_apart(photos):
    (photos / "1").rename(photos / "validation")
    for n in range(5):
        shutil.copy(next((photos / "0").glob("0.png")), photos / "0" / f"more{n}.png")
    found = data.load(f"{photos}{{mean=[0.4]}}")
    assert {file.parent.name for file in found.validation.files} == {"validation"}
    for split in (found.train_full, found.test):
        assert "validation" not in {file.parent.name for file in split.files}
    assert found.mean == (0.4, 0.4, 0.4) and found.std == (0.5, 0.5, 0.5)


def test_photographs_are_split_by_folders_where_there_are(photos):
    (photos / "2").rename(photos / "test")
    (photos / "0").rename(photos / "train")
    with pytest.raises(HwoptError, match="5 images are too few: give 12 to train on"):
        data.load(str(photos))
    for n in range(8):
        shutil.copy(next((photos / "train").rglob("0.png")), photos / "train" / f"more{n}.png")
    found = data.load(str(photos))
    assert [len(one) for one in (found.train, found.validation, found.test)] == [12, 1, 5]
    assert {file.parent.name for file in found.test.files} == {"test"}


def test_a_photograph_is_normalised_as_asked(photos):
    file = next(photos.rglob("*.png"))
    exact = np.asarray(Image.open(file)).transpose(2, 0, 1) / 255
    (found,) = ImageFiles([file], exact.shape[1:])
    torch.testing.assert_close(found, torch.from_numpy((exact - 0.5) / 0.5).float())


def test_a_class_that_training_never_sees():
    digits = data.load("digits{unseen=3}")
    for split in (digits.train, digits.train_full):
        assert not data.batch(split, torch.arange(len(split))).targets.any()
    tested = data.batch(digits.test, torch.arange(len(digits.test))).targets
    every = data.load("digits")
    labels = data.batch(every.test, torch.arange(len(every.test))).targets
    assert torch.equal(tested, (labels == 3).long())
    assert digits.class_names == () and digits.name == "digits without 3"
    with pytest.raises(HwoptError, match="unknown class of digits 'three'"):
        data.load("digits{unseen=three}")


def test_options_of_what_has_none_are_refused():
    with pytest.raises(HwoptError, match="has no options, but"):
        data.load("tests.job.task_networks:curve{size=3}")
    with pytest.raises(HwoptError, match="cannot read the data set"):
        data.load("digits{unseen=3")
