"""Workers forked from a process that has imported all they need."""

import os
import signal
import time

import psutil

from hwopt.search.workers.nursery import nursery
from tests.search.workers import calls


def forked(said, task="no task"):
    """Fork a worker; one without a task ends at once, with code 2."""
    return nursery(calls.__name__).fork([str(task), "no result"], said)


def ended(number):
    while (code := nursery(calls.__name__).code(number)) is None:
        time.sleep(0.05)
    return code


def test_a_worker_says_what_is_wrong(tmp_path):
    assert ended(forked(tmp_path / "said")) == 2
    assert (tmp_path / "said").read_text() == "no task does not exist\n"


def test_numbers_of_processes_come_again(tmp_path):
    first = forked(tmp_path / "said")
    assert ended(first) == 2
    # As if all that come next had ended before.
    nursery(calls.__name__)._codes |= dict.fromkeys(range(first + 1, first + 10_000), 0)
    assert ended(forked(tmp_path / "said")) == 2


def test_what_a_killed_nursery_has_started_ends_and_another_takes_its_place(tmp_path):
    first = nursery(calls.__name__)
    pid = first._process.pid
    fifo = tmp_path / "task.json"
    os.mkfifo(fifo)  # a worker that reads it waits
    number = forked(tmp_path / "said", fifo)
    time.sleep(0.2)
    assert first.code(number) is None
    os.kill(pid, signal.SIGKILL)
    while psutil.pid_exists(number) and psutil.Process(number).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.05)
    assert first.code(number) == -signal.SIGKILL
    assert nursery(calls.__name__) is not first
    assert ended(forked(tmp_path / "said")) == 2
