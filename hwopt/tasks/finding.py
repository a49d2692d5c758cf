"""From what the user names to a task."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from hwopt import references
from hwopt.errors import HwoptError, unknown_name
from hwopt.option_text import parse_options
from hwopt.tasks.classification import Classification, MultiLabel
from hwopt.tasks.embedding import Retrieval, Similarity
from hwopt.tasks.imitation import Imitation
from hwopt.tasks.reconstruction import Anomaly, Reconstruction
from hwopt.tasks.regression import Regression
from hwopt.tasks.segmentation import Segmentation
from hwopt.tasks.task import Task

_OWN: dict[str, type[Task]] = {
    one.name: one
    for one in (
        Anomaly,
        Classification,
        Imitation,
        MultiLabel,
        Reconstruction,
        Regression,
        Retrieval,
        Segmentation,
        Similarity,
    )
}
_TEXT = re.compile(r"([^{}]+?)\s*(?:\{([^{}]*)\})?")


def names() -> list[str]:
    """Return the names of the built-in tasks, sorted."""
    return sorted(_OWN)


def find(text: str) -> Task:
    """Return a task.

    Args:
        text: one of :func:`names`, or ``package.module:Class`` with a :class:`Task`; behind it
            options in braces, as passes have them: ``segmentation{ignore=0}``.

    Raises:
        HwoptError: if there is no such task, or an option is none of its own.

    >>> str(find("retrieval{k=5}"))
    'retrieval{k=5}'
    """
    match = _TEXT.fullmatch(text.strip())
    if match is None:
        raise HwoptError(f"cannot read the task {text!r}: write name{{option=value,option=value}}")
    name, options = match[1], match[2] or ""
    if ":" in name:
        return parse_options(_of_user(name), options, f"task {name}")
    if name not in _OWN:
        raise unknown_name("task", name, names())
    return parse_options(_OWN[name], options, f"task {name}")


def _of_user(reference: str) -> type[Task]:
    """Return the user's own class."""
    found: Any = references.find(reference, "task")
    if not (isinstance(found, type) and issubclass(found, Task)):
        raise HwoptError(f"task {reference} is not a subclass of hwopt.tasks.Task")
    if not dataclasses.is_dataclass(found):
        raise HwoptError(f"task {reference} is no dataclass")
    if not found.name:
        found.name = reference
    return found
