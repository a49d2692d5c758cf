"""Does a task of a study: what a process for it imports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import torch._dynamo  # noqa: F401  (torch.export would import it in every process)

from hwopt import passes
from hwopt.search.setting import Setting
from hwopt.search.tasks import Work


def do(
    folder: str,
    work: str,
    options: Mapping[str, Any],
    plugins: Sequence[str],
    threads: int | None,
) -> Any:
    """Do a task in a study's folder, and return its result.

    Args:
        folder: of the study.
        work: the name of a class of ``hwopt.search.tasks.Work``, which takes ...
        options: ... these.
        plugins: files with passes.
        threads: of training; None takes those of the target.
    """
    for plugin in plugins:
        passes.load_file(plugin)
    found = next(one for one in get_args(Work) if one.__name__ == work)
    return found(**options).run(Setting(Path(folder), threads, plugins))
