"""Functions for processes of their own, which end in all the ways in which processes end."""

import os
import subprocess
import sys
import time
from pathlib import Path

from hwopt.errors import HwoptError


def crash():
    raise RuntimeError("crashed")


def refuse():
    raise HwoptError("this cannot be done: do something else")


def kill():
    os.kill(os.getpid(), 9)


def leave(code):
    os._exit(code)


def wait(started=None):
    """Write the number of this process into a file, and go on for long."""
    if started is not None:
        Path(started).write_text(str(os.getpid()))
    time.sleep(600)


def start_another(started):
    """Start a process that goes on for long, and write its number into a file."""
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    Path(started).write_text(str(other.pid))
    time.sleep(600)


def surroundings():
    return {"folder": str(Path.cwd()), "home": os.environ.get("HWOPT_HOME")}
