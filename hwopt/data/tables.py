"""Tables of numbers: CSV, NumPy, and Parquet where pandas is installed."""

from __future__ import annotations

import csv
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Subset, TensorDataset

from hwopt.data.dataset import DataSet, hold_out
from hwopt.errors import HwoptError, unknown_name

SUFFIXES = (".csv", ".npz", ".parquet")


@dataclass(frozen=True)
class TableOptions:
    """What can be said of a table: ``houses.csv{target=price}``.

    Options:
        target: the column that is to be learned; the last one if not given, none where it is
            ``none``.
        classes: the values of that column are classes; texts always are.
    """

    target: str = ""
    classes: bool = False


def load(path: Path, options: TableOptions) -> DataSet:
    """Return the rows of a table, in an order that is drawn once: every twelfth is the test.

    Inputs are the other columns, float32 (columns,), each brought to mean 0 and deviation 1 by the
    rows of training. Targets are float32, or int64 where they are classes.

    Raises:
        HwoptError: if the table cannot be read, a cell is empty or no number, or there are not
            enough rows.
    """
    columns = _read(path)
    target = options.target or list(columns)[-1]
    if target != "none" and target not in columns:
        raise HwoptError(f"table {path}: {unknown_name('column', target, list(columns))}")
    inputs = {name: values for name, values in columns.items() if name != target}
    texts = [name for name, values in inputs.items() if values.dtype.kind not in "fiub"]
    if texts:
        raise HwoptError(
            f"table {path}: column {texts[0]!r} holds text: only the target may, so make numbers "
            "of it, or leave it out"
        )
    if not inputs:
        raise HwoptError(f"table {path} has no column but the target {target!r}")
    table = np.stack([values.astype(np.float64) for values in inputs.values()], 1)
    _check(path, list(inputs), table)
    order = np.random.default_rng(0).permutation(len(table))
    table = table[order]
    rest, test = hold_out(len(table))
    mean, std = table[rest].mean(0), table[rest].std(0)
    scaled = torch.from_numpy((table - mean) / np.where(std > 0, std, 1.0)).float()
    class_names: tuple[str, ...] = ()
    tensors = [scaled]
    if target != "none":
        values, class_names = _target(path, target, columns[target][order], options.classes)
        tensors.append(values)
    rows = TensorDataset(*tensors)
    train, validation = hold_out(len(rest))
    return DataSet(
        name=path.name,
        train=Subset(rows, [rest[place] for place in train]),
        validation=Subset(rows, [rest[place] for place in validation]),
        test=Subset(rows, test),
        train_full=Subset(rows, rest),
        class_names=class_names,
    )


def _target(
    path: Path, name: str, values: np.ndarray, classes: bool
) -> tuple[torch.Tensor, tuple[str, ...]]:
    """Return a column as targets, and the names of its classes."""
    if classes or values.dtype.kind not in "fiub":
        found, places = np.unique(values, return_inverse=True)
        return torch.from_numpy(places.astype(np.int64)), tuple(map(str, found))
    _check(path, [name], values[:, None])
    return torch.from_numpy(values.astype(np.float32)), ()


def _check(path: Path, names: list[str], table: np.ndarray) -> None:
    """Refuse what is no number."""
    bad = np.argwhere(~np.isfinite(table))
    if len(bad):
        row, column = bad[0]
        raise HwoptError(
            f"table {path}: row {row + 1} has no number in column {names[column]!r}: fill it, or "
            "leave the row out"
        )


def _read(path: Path) -> dict[str, np.ndarray]:
    """Return the columns of a table by their names."""
    try:
        if path.suffix == ".csv":
            return _from_csv(path)
        if path.suffix == ".npz":
            return _from_npz(path)
        return _from_parquet(path)
    except (OSError, ValueError, UnicodeDecodeError) as error:
        raise HwoptError(f"table {path} cannot be read: {error}") from None


def _from_csv(path: Path) -> dict[str, np.ndarray]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    if len(rows) < 2:
        raise HwoptError(f"table {path} has no rows below its header")
    names, *rest = rows
    for number, row in enumerate(rest, 1):
        if len(row) != len(names):
            raise HwoptError(
                f"table {path}: row {number} has {len(row)} cells, the header {len(names)}"
            )
    return {name: _column([row[n] for row in rest]) for n, name in enumerate(names)}


def _column(cells: list[str]) -> np.ndarray:
    """Return cells as numbers where all of them are; an empty one is none."""
    try:
        return np.array([float(cell) if cell.strip() else np.nan for cell in cells])
    except ValueError:
        return np.array(cells)


def _from_npz(path: Path) -> dict[str, np.ndarray]:
    """Return the vectors of a file, and the columns of its matrices, numbered."""
    columns: dict[str, np.ndarray] = {}
    with np.load(path, allow_pickle=False) as arrays:
        for name in arrays.files:
            array = arrays[name]
            if array.ndim == 1:
                columns[name] = array
            elif array.ndim == 2:
                columns |= {f"{name}{n}": array[:, n] for n in range(array.shape[1])}
            else:
                raise HwoptError(f"table {path}: {name} has {array.ndim} dimensions, not 1 or 2")
    if len({len(values) for values in columns.values()}) != 1:
        raise HwoptError(f"table {path}: its arrays differ in their number of rows")
    return columns


def _from_parquet(path: Path) -> dict[str, np.ndarray]:
    if importlib.util.find_spec("pandas") is None:
        raise HwoptError(
            f"table {path}: reading Parquet needs pandas and pyarrow: pip install pandas pyarrow"
        )
    import pandas

    try:
        frame: Any = pandas.read_parquet(path)
    except Exception as error:  # of pandas, or of the package that it reads with
        raise HwoptError(f"table {path} cannot be read: {error}") from error
    return {str(name): frame[name].to_numpy() for name in frame.columns}
