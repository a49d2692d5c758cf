"""In which order the axes of a tensor stand in memory."""

from __future__ import annotations

from collections.abc import Iterator

Order = tuple[int, ...]


def order_after_reshape(old: Order, new: Order, order: Order) -> Order | None:
    """Return in which order the axes of a reshaped tensor stand if nothing moves in memory.

    Dimensions that are merged, or that one is split into, must be neighbours in memory. None if
    they are not.

    >>> order_after_reshape((1, 8, 5, 5), (1, 8, 25), (0, 2, 3, 1))
    (0, 2, 1)
    >>> order_after_reshape((1, 8, 5, 5), (1, 200), (0, 2, 3, 1)) is None
    True
    """
    if 0 in old:
        return None
    in_memory = [dim for dim in order if old[dim] != 1]
    axes: dict[int, list[int]] = {}
    for before, after in _regrouped(old, new):
        wide = [dim for dim in before if old[dim] != 1]
        if not wide:
            continue
        start = in_memory.index(wide[0])
        if in_memory[start : start + len(wide)] != wide:
            return None
        axes[wide[0]] = [axis for axis in after if new[axis] != 1]
    found = [axis for dim in in_memory for axis in axes.get(dim, ())]
    for axis in (axis for axis, size in enumerate(new) if size == 1):  # it stands anywhere
        found.insert(next((n for n, other in enumerate(found) if other > axis), len(found)), axis)
    return tuple(found)


def _regrouped(old: Order, new: Order) -> Iterator[tuple[list[int], list[int]]]:
    """Yield neighbouring dimensions of one shape with those of another that hold the same."""
    i = j = 0
    while i < len(old) or j < len(new):
        before: list[int] = []
        after: list[int] = []
        first = second = 1
        while not (before or after) or first != second:
            if i < len(old) and (first <= second or j == len(new)):
                first *= old[i]
                before.append(i)
                i += 1
            else:
                second *= new[j]
                after.append(j)
                j += 1
        yield before, after
