"""Workers forked from a process that has imported all they need."""

import os
import signal
import time

import psutil
import pytest

from hwopt.study.nursery import nursery

pytestmark = pytest.mark.slow


def ended(number):
    while (code := nursery().code(number)) is None:
        time.sleep(0.05)
    return code


def test_a_worker_begins_at_once_in_this_folder_and_environment(tmp_path, monkeypatch):
    nursery().fork(["nowhere", "no task", "no result"], tmp_path / "first")  # imports all
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HWOPT_HOME", str(tmp_path / "home"))
    start = time.monotonic()
    number = nursery().fork(["folder", "no task", "no result"], tmp_path / "said")
    assert ended(number) == 2
    assert time.monotonic() - start < 5
    assert (tmp_path / "said").read_text() == "no task does not exist\n"


def test_numbers_of_processes_come_again(tmp_path):
    first = nursery().fork(["folder", "no task", "no result"], tmp_path / "said")
    assert ended(first) == 2
    # As if all that come next had ended before.
    nursery()._codes |= dict.fromkeys(range(first + 1, first + 10_000), 0)
    assert ended(nursery().fork(["folder", "no task", "no result"], tmp_path / "said")) == 2


def test_what_a_killed_nursery_has_started_ends_and_another_takes_its_place(tmp_path):
    first = nursery()
    pid = first._process.pid
    fifo = tmp_path / "task.json"
    os.mkfifo(fifo)  # a worker that reads it waits
    number = first.fork(["folder", str(fifo), "no result"], tmp_path / "said")
    time.sleep(0.2)
    assert first.code(number) is None
    os.kill(pid, signal.SIGKILL)
    while psutil.pid_exists(number) and psutil.Process(number).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.05)
    assert first.code(number) == -signal.SIGKILL
    assert nursery() is not first
    assert ended(nursery().fork(["folder", "no task", "none"], tmp_path / "said")) == 2
