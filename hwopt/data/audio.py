"""Folders of WAV files: ``train/CLASS/*.wav`` and ``test/CLASS/*.wav``, or all below one folder."""

from __future__ import annotations

import wave
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.signal import resample_poly
from torch import Tensor
from torch.utils.data import Dataset

from hwopt.data.dataset import DataSet, from_datasets
from hwopt.errors import HwoptError

SUFFIXES = (".wav",)


@dataclass(frozen=True)
class AudioOptions:
    """What can be said of a folder of recordings: ``commands{seconds=1,rate=16000}``.

    Options:
        seconds: of every sample: what is longer is cut, what is shorter is followed by silence.
        rate: samples a second that recordings are brought to; that of the first one if 0.
    """

    seconds: float = 1.0
    rate: int = 0

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        if not self.seconds > 0 or self.rate < 0:
            raise HwoptError("seconds must be positive, and rate at least 0")


class Recordings(Dataset[Any]):
    """Recordings of files: float32 (1, rate x seconds) in [-1, 1], the mean of their channels.

    Args:
        files: one recording each.
        labels: of the files; None where there are none.
        rate: samples a second.
        seconds: of every recording.
    """

    def __init__(
        self, files: list[Path], labels: list[int] | None, rate: int, seconds: float
    ) -> None:
        self.files, self.labels = files, labels
        self.rate, self.length = rate, round(rate * seconds)

    def __len__(self) -> int:
        """Return the number of recordings."""
        return len(self.files)

    def __getitem__(self, index: int) -> Any:
        """Return one recording, with its label if it has one."""
        rate, samples = read_wave(self.files[index])
        if rate != self.rate:
            samples = resample_poly(samples, self.rate, rate)
        samples = samples[: self.length]
        samples = np.pad(samples, (0, self.length - len(samples))).astype(np.float32)
        sound: Tensor = torch.from_numpy(samples)[None]
        return sound if self.labels is None else (sound, self.labels[index])


def read_wave(file: Path) -> tuple[int, np.ndarray]:
    """Return the rate and the samples of a WAV file, float64 (N,) in [-1, 1].

    Raises:
        HwoptError: if it is none of 8, 16, 24 or 32 bits, or is damaged.
    """
    try:
        with wave.open(str(file)) as recording:
            width, channels = recording.getsampwidth(), recording.getnchannels()
            rate, content = recording.getframerate(), recording.readframes(recording.getnframes())
    except (wave.Error, EOFError, OSError) as error:
        raise HwoptError(f"{file} cannot be read as a WAV file ({error})") from None
    if width == 1:  # without a sign
        samples = np.frombuffer(content, np.uint8) / 128.0 - 1
    elif width == 3:
        wide = np.zeros((len(content) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(content, np.uint8).reshape(-1, 3)
        samples = wide.view("<i4")[:, 0] / 2.0**31
    else:
        samples = np.frombuffer(content, f"<i{width}") / 2.0 ** (8 * width - 1)
    return rate, samples.reshape(-1, channels).mean(1)


def load(path: Path, options: AudioOptions) -> DataSet:
    """Return the recordings of a folder, with the names of their folders as classes.

    Without a folder ``train``, all recordings below the folder, without labels. They are read one
    by one.

    Raises:
        HwoptError: if there are none, a class of the test is not trained, or the first one cannot
            be read.
    """
    if not (path / "train").is_dir():
        files = _files(path)
        order = np.random.default_rng(0).permutation(len(files))
        recordings = _recordings([files[place] for place in order], None, options)
        return from_datasets(path.name, recordings, class_names=())
    names = tuple(sorted(one.name for one in (path / "train").iterdir() if one.is_dir()))
    splits = {}
    for split in ("train", "test", "validation"):
        folder = path / split
        if split != "train" and not folder.is_dir():
            continue
        unknown = {one.name for one in folder.iterdir() if one.is_dir()} - set(names)
        if unknown:
            raise HwoptError(f"{folder} has classes that train has not: {min(unknown)}")
        files = _files(folder)
        labels = [names.index(file.relative_to(folder).parts[0]) for file in files]
        order = np.random.default_rng(0).permutation(len(files))
        splits[split] = _recordings(
            [files[place] for place in order], [labels[place] for place in order], options
        )
    return from_datasets(
        path.name,
        splits["train"],
        splits.get("test"),
        splits.get("validation"),
        class_names=names,
    )


def _recordings(files: list[Path], labels: list[int] | None, options: AudioOptions) -> Recordings:
    rate = options.rate or read_wave(files[0])[0]
    return Recordings(files, labels, rate, options.seconds)


def _files(path: Path) -> list[Path]:
    found = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
    if not found:
        raise HwoptError(f"{path} has no recordings ({', '.join(SUFFIXES)})")
    return found


def has_recordings(path: Path) -> bool:
    """Return whether there is a recording below a folder."""
    return any(file.suffix.lower() in SUFFIXES for file in path.rglob("*"))
