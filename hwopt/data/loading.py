"""From what the user names to a data set."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hwopt import files, references
from hwopt.data.dataset import DataSet, from_datasets
from hwopt.errors import HwoptError, unknown_name
from hwopt.option_text import parse_options

_NAMES = ("digits", "fashion-mnist")
_TEXT = re.compile(r"([^{}]+?)\s*(?:\{([^{}]*)\})?")


@dataclass(frozen=True)
class BuiltInOptions:
    """What can be said of a built-in data set: ``fashion-mnist{unseen=Sneaker}``.

    Options:
        unseen: a class that training never sees, and that is strange in the test: for the task
            ``anomaly``.
    """

    unseen: str = ""


def names() -> list[str]:
    """Return the names of the built-in data sets, sorted."""
    return list(_NAMES)


def image_size(shape: Sequence[int]) -> tuple[int, int] | None:
    """Return height and width of inputs (N, channels, height, width); None if they are no images.

    >>> image_size((1, 3, 64, 48)), image_size((1, 10))
    ((64, 48), None)
    """
    return (shape[2], shape[3]) if len(shape) == 4 else None


def load(
    name_or_path: str | Path | DataSet,
    root: Path | None = None,
    *,
    fallback: bool = False,
    image_size: tuple[int, int] | None = None,
) -> DataSet:
    """Load a data set.

    Args:
        name_or_path: one of :func:`names`; a folder of images or recordings; a table (``.csv``,
            ``.npz``, ``.parquet``); each with options in braces; ``package.module:callable``, where
            the callable takes nothing and returns a :class:`DataSet`, a pair (train, test) of torch
            data sets, or one, of which every twelfth sample is the test; or a :class:`DataSet`,
            which is returned as it is.
        root: where built-in sets are kept and downloaded to; ``~/.cache/hwopt/data`` if None
            (``$HWOPT_HOME/data`` where that is set).
        fallback: if fashion-mnist cannot be had, use digits, and say so in the result's ``note``
            and on the error stream.
        image_size: (height, width) that the images of a folder are resized to.

    Raises:
        HwoptError: if there is no such set, or it cannot be had, or is damaged.

    >>> data = load("digits")
    >>> len(data.train_full), len(data.train), len(data.validation), len(data.test)
    (1437, 1318, 119, 360)
    """
    if isinstance(name_or_path, DataSet):
        return name_or_path
    from hwopt.data import tables, unseen

    match = _TEXT.fullmatch(str(name_or_path).strip())
    if match is None:
        raise HwoptError(
            f"cannot read the data set {str(name_or_path)!r}: write name{{option=value}}"
        )
    name, options = match[1], match[2] or ""
    what = f"data set {name}"
    if name in _NAMES:
        of_images = parse_options(BuiltInOptions, options, what)
        found = _built_in(name, root or files.user_folder() / "data", fallback)
        return unseen.without_class(found, of_images.unseen) if of_images.unseen else found
    path = Path(name)
    if path.suffix in tables.SUFFIXES and path.is_file():
        return tables.load(path, parse_options(tables.TableOptions, options, what))
    if path.is_dir():
        return _folder(path, options, what, image_size)
    if options:
        raise HwoptError(f"{what} has no options, but {{{options}}} was given: leave it out")
    if ":" in name:
        return _call(name)
    if "/" in name or path.suffix in tables.SUFFIXES:
        raise HwoptError(f"data folder or table {name} does not exist")
    raise unknown_name("data set", name, _NAMES)


def _folder(path: Path, options: str, what: str, size: tuple[int, int] | None) -> DataSet:
    """Load a folder of images or of recordings."""
    from hwopt.data import audio, folder, images

    if audio.has_recordings(path):
        return audio.load(path, parse_options(audio.AudioOptions, options, what))
    if folder.has_classes(path) and not options:
        return folder.load(path, size)
    return images.load(path, parse_options(images.ImageOptions, options, what), size)


def _built_in(name: str, root: Path, fallback: bool) -> DataSet:
    from hwopt.data import digits

    return digits.load() if name == "digits" else _fashion_mnist(root, fallback)


def _fashion_mnist(root: Path, fallback: bool) -> DataSet:
    """Load Fashion-MNIST, or digits in its place if that is allowed and there is no other way."""
    from hwopt.data import digits, fashion_mnist

    try:
        return fashion_mnist.load(root)
    except fashion_mnist.Unavailable as error:
        if not fallback:
            raise
        note = f"digits (1,797 images of scikit-learn) were used instead: {error}"
        print(f"warning: {note}", file=sys.stderr)
        return digits.load(note)


def _call(reference: str) -> DataSet:
    """Load the user's own data set from ``package.module:callable``."""
    result = references.call(reference, "data set")
    if isinstance(result, DataSet):
        return result
    if isinstance(result, tuple) and len(result) == 2:
        return from_datasets(reference, *result)
    if hasattr(result, "__getitem__") and hasattr(result, "__len__"):
        return from_datasets(reference, result)
    raise HwoptError(
        f"data set {reference} returned {type(result).__name__}: a DataSet, a pair (train, test) "
        "of torch data sets, or one of them is needed"
    )
