"""Tasks in real processes, which end in all the ways in which processes end."""

import subprocess
import sys
import time

import psutil
import pytest

from hwopt.study.nursery import nursery
from hwopt.study.processes import Processes, Task
from hwopt.study.recipe import make_search, write_search
from tests.study.studies import RECIPE

#: What a plugin does while it is loaded, and what of it is in the reason.
BREAKS = {
    "crash": ("raise RuntimeError('crashed')", "RuntimeError: crashed"),
    "kill": ("import os; os.kill(os.getpid(), 9)", "its process was ended by SIGKILL"),
    "exit": ("import os; os._exit(3)", "its process ended with code 3"),
    "quiet": ("import os; os._exit(0)", "its process ended with code 0"),
    "hang": ("import time; time.sleep(600)", "took over 15 s"),
}


pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path):
    write_search(tmp_path, *make_search(RECIPE))
    return tmp_path


def task(folder, how):
    plugin = folder / f"{how}.py"
    plugin.write_text(BREAKS[how][0])
    return Task("prepare", {}, (str(plugin),))


def ends(pid):
    """Whether a process ends soon: one whose parent was killed may wait to be buried."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.1)
    return False


def children():
    return {process.pid for process in psutil.Process().children(recursive=True)}


def test_each_way_of_ending_is_a_reason_of_its_own(folder):
    nursery()  # which stays
    before, start = children(), time.monotonic()
    outcomes = Processes().run(folder, [task(folder, how) for how in BREAKS], 15)
    assert time.monotonic() - start < 90
    for outcome, (_, reason) in zip(outcomes, BREAKS.values(), strict=True):
        assert outcome.result is None and reason in outcome.reason
    assert children() <= before


def test_what_a_task_started_ends_with_it(folder):
    plugin, started = folder / "starts.py", folder / "started"
    plugin.write_text(
        "import subprocess, sys, time\n"
        "other = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(started)!r}, 'w').write(str(other.pid))\n"
        "time.sleep(600)"
    )
    (outcome,) = Processes().run(folder, [Task("prepare", {}, (str(plugin),))], 15)
    assert outcome.reason == "took over 15 s"
    assert ends(int(started.read_text()))


def test_a_task_ends_with_the_study(folder):
    plugin, started = folder / "waits.py", folder / "pid"
    plugin.write_text(
        f"import os, time; open({str(started)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    )
    run = (
        "from pathlib import Path; from hwopt.study.processes import Processes, Task\n"
        f"Processes().run(Path({str(folder)!r}), [Task('prepare', {{}}, ({str(plugin)!r},))], 600)"
    )
    with subprocess.Popen([sys.executable, "-c", run]) as study:
        while not started.exists() or not started.read_text():
            time.sleep(0.1)
        study.kill()
    assert ends(int(started.read_text()))
