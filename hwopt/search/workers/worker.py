"""A process that does one task: what it breaks is the task's loss alone.

python -m hwopt.search.workers.worker TASK.json RESULT.json
"""

from __future__ import annotations

import ctypes
import importlib
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hwopt.errors import HwoptError
from hwopt.files import read_json, write_json


def do(task: dict[str, Any]) -> Any:
    """Call the function of a task, as :class:`hwopt.search.workers.processes.Task` has it."""
    module, _, name = task["function"].partition(":")
    return getattr(importlib.import_module(module), name)(**task["arguments"])


def main(arguments: Sequence[str]) -> int:
    """Do the task of a file; what the user can mend is one sentence and exit code 2."""
    end_with_parent()
    task, result = map(Path, arguments)
    try:
        write_json(result, do(read_json(task)))
    except HwoptError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def end_with_parent() -> None:
    """Have this process killed when its parent is: on Linux; elsewhere it ends by itself."""
    if sys.platform != "linux":
        return
    parent_death_signal = 1
    ctypes.CDLL(None).prctl(parent_death_signal, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
