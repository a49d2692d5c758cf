"""A process that does one task of a study: what it breaks is the task's loss alone.

python -m hwopt.study.worker FOLDER TASK.json RESULT.json
"""

from __future__ import annotations

import ctypes
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hwopt.errors import HwoptError
from hwopt.files import read_json, write_json


def do(folder: Path, task: dict[str, Any]) -> Any:
    """Do a task in a study's folder, and return its result.

    Args:
        folder: of the study.
        task: ``do`` is what, a method of :class:`hwopt.study.unchanged.Unchanged` or of
            :class:`hwopt.study.candidates.Candidates`; ``with`` has its arguments; ``plugins`` are
            files with passes, ``threads`` those of training.
    """
    from hwopt import passes
    from hwopt.study.candidates import Candidates
    from hwopt.study.setting import Setting
    from hwopt.study.unchanged import Unchanged

    for plugin in task["plugins"]:
        passes.load_file(plugin)
    setting = Setting(folder, task["threads"], task["plugins"])
    unchanged, candidates = Unchanged(setting), Candidates(setting)
    work: Callable[..., Any] = {
        "base": unchanged.base,
        "prepare": unchanged.prepare,
        "train": candidates.train,
        "measure": candidates.measure,
        "finish": candidates.finish,
        "in_peers": unchanged.in_peers,
    }[task["do"]]  # type: ignore[assignment]
    return work(**task["with"])


def main(arguments: Sequence[str]) -> int:
    """Do the task of a file; what the user can mend is one sentence and exit code 2."""
    end_with_parent()
    folder, task, result = map(Path, arguments)
    try:
        write_json(result, do(folder, read_json(task)))
    except HwoptError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def end_with_parent() -> None:
    """Have this process killed when the study's is: on Linux; elsewhere it ends by itself."""
    if sys.platform != "linux":
        return
    parent_death_signal = 1
    ctypes.CDLL(None).prctl(parent_death_signal, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
