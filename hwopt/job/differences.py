"""Inputs on which two networks differ most, as people can look at them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from hwopt import data
from hwopt.data import run_model
from hwopt.files import atomic_file
from hwopt.job.quality import scores_of
from hwopt.tasks import Imitation

if TYPE_CHECKING:
    from torch import Tensor

    from hwopt.data import DataSet
    from hwopt.graph import Graph
    from hwopt.tasks import Task

#: How many inputs are shown.
COUNT = 8
#: Sides of images in pixels, at the least, so that they can be seen.
_SIDE = 96
#: What is smaller is no image.
_LEAST_SIDE = 4
#: Samples of a spectrogram's window; recordings are at least as long.
_WINDOW = 256


def most_different(
    before: tuple[Graph, Path],
    after: tuple[Graph, Path],
    samples: DataSet,
    task: Task,
    folder: Path,
) -> list[dict[str, Any]]:
    """Return the test samples on which a network lost most, and what both say of them.

    Args:
        before, after: the networks, and the files of their scores; see ``hwopt.job.quality``.
        samples: that they were judged on.
        task: that they are for.
        folder: gets an image a sample, where the only input is one, or a recording.

    Returns:
        For each: ``sample``, its place in the test set; ``before``, ``after`` and ``truth``, as
        text; and ``image``, a file of the folder, or None. Nothing of tasks whose quality is no
        mean over samples.
    """
    if not task.is_mean:
        return []
    scores, others = scores_of(before[1]), scores_of(after[1])
    loss = (scores - others) * (1 if task.metric.higher_is_better else -1)
    # Answers of what is imitated are of the network's own classes.
    class_names = samples.class_names if task.has_classes else ()
    worst = [int(place) for place in np.argsort(-loss, kind="stable")[:COUNT] if loss[place] > 0]
    modules = [graph.to_torch().eval() for graph, _ in (before, after)]
    found = []
    for place in worst:
        one = data.batch(samples.test, torch.tensor([place]))
        with torch.no_grad():
            said = [run_model(module, task.feed(one.inputs)) for module in modules]
        texts = [task.show(outputs, class_names) for outputs in said]
        found.append(
            {
                "sample": place,
                "before": texts[0],
                "after": texts[1],
                "truth": _truth(one.targets, task, class_names),
                "image": _drawn(one.inputs, samples, folder / f"{place}.png"),
            }
        )
    return found


def _truth(targets: Any, task: Task, class_names: tuple[str, ...]) -> str | None:
    """Return the target of a sample as text, where it is a class or a number."""
    is_taught = isinstance(task, Imitation)
    if is_taught or not isinstance(targets, torch.Tensor) or targets.numel() != 1:
        return None
    if task.has_classes and 0 <= int(targets) < len(class_names):
        return class_names[int(targets)]
    return f"{float(targets):.4g}"


def _drawn(inputs: Any, samples: DataSet, path: Path) -> str | None:
    """Write an image of the only input of a sample; return the file's name."""
    leaves = data.leaves(inputs)
    if len(leaves) != 1 or not leaves[0].is_floating_point():
        return None
    one = leaves[0][0].double()
    if one.dim() == 3 and one.shape[0] in (1, 3) and min(one.shape[1:]) >= _LEAST_SIDE:
        pixels = _pixels(one, samples)
    elif one.dim() == 2 and one.shape[0] == 1 and one.shape[1] >= _WINDOW:
        pixels = _spectrogram(one[0])
    else:
        return None
    from PIL import Image

    image = Image.fromarray(pixels)
    factor = max(1, -(-_SIDE // min(image.size)))
    image = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    with atomic_file(path) as temporary:
        image.save(temporary, format="PNG")
    return path.name


def _pixels(image: Tensor, samples: DataSet) -> np.ndarray:
    """Return uint8 (height, width[, 3]) of an image: as it was, where that is known, else
    stretched from its darkest to its brightest.
    """
    if samples.mean is not None and samples.std is not None:
        mean, std = (
            torch.tensor(one).double().view(-1, 1, 1) for one in (samples.mean, samples.std)
        )
        values = image * std + mean
    else:
        low, high = image.min(), image.max()
        values = (image - low) / (high - low).clamp(min=1e-12)
    pixels: np.ndarray = (255 * values.clamp(0, 1)).round().byte().permute(1, 2, 0).numpy()
    return pixels[:, :, 0] if pixels.shape[2] == 1 else pixels


def _spectrogram(recording: Tensor) -> np.ndarray:
    """Return uint8 (frequencies, times): decibels, from the loudest to 80 below."""
    window = torch.hann_window(_WINDOW, dtype=recording.dtype)
    power = torch.stft(recording, _WINDOW, window=window, return_complex=True).abs().square()
    decibels = 10 * torch.log10(power / power.max().clamp(min=1e-30) + 1e-30)
    shades = 255 * (1 + decibels.clamp(min=-80) / 80)
    picture: np.ndarray = shades.round().byte().flip(0).numpy()
    return picture
