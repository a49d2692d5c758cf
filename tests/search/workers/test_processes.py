"""Tasks in real processes, which end in all the ways in which processes end."""

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from hwopt.search.workers.nursery import nursery
from hwopt.search.workers.processes import Processes, Task
from tests.search.workers import calls

SECONDS = 5
#: Calls, and what of each is in the reason.
ENDS = {
    "crash": ({}, "RuntimeError: crashed"),
    "refuse": ({}, "this cannot be done: do something else"),
    "kill": ({}, "its process was ended by SIGKILL"),
    "leave": ({"code": 3}, "its process ended with code 3"),
    "wait": ({}, f"took over {SECONDS} s"),
    "nothing": ({}, "has no attribute 'nothing'"),
}


def task(name, **arguments):
    return Task(f"{calls.__name__}:{name}", arguments)


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


@pytest.mark.slow
def test_each_way_of_ending_is_a_reason_of_its_own():
    nursery(calls.__name__)  # which stays
    before = children()
    outcomes = Processes().run(
        [task(name, **options) for name, (options, _) in ENDS.items()], SECONDS
    )
    for outcome, (_, reason) in zip(outcomes, ENDS.values(), strict=True):
        assert outcome.result is None and reason in outcome.reason
    assert children() <= before


def test_who_ends_well_without_a_result_has_none():
    (outcome,) = Processes().run([task("leave", code=0)], SECONDS)
    assert outcome.reason == "its process ended with code 0"


def test_a_task_finds_this_folder_and_environment(tmp_path, monkeypatch):
    nursery(calls.__name__)  # which has others
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HWOPT_HOME", "elsewhere")
    (outcome,) = Processes().run([task("surroundings")], SECONDS)
    assert outcome.result == {"folder": str(tmp_path), "home": "elsewhere"}


@pytest.mark.slow
def test_what_a_task_started_ends_with_it(tmp_path):
    started = tmp_path / "started"
    (outcome,) = Processes().run([task("start_another", started=str(started))], SECONDS)
    assert outcome.reason == f"took over {SECONDS} s"
    assert ends(int(started.read_text()))


def test_a_task_ends_with_who_gave_it(tmp_path):
    started = tmp_path / "pid"
    run = (
        "from hwopt.search.workers.processes import Processes, Task\n"
        f"Processes().run([Task('{calls.__name__}:wait', {{'started': {str(started)!r}}})], 600)"
    )
    with subprocess.Popen([sys.executable, "-c", run], cwd=Path(__file__).parents[3]) as giver:
        while not started.exists() or not started.read_text():
            time.sleep(0.1)
        giver.kill()
    assert ends(int(started.read_text()))
