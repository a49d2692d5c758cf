"""What a real terminal shows while a study goes on."""

import os
import pty
import re
import subprocess
import sys

import pytest

from hwopt.cli.live_study import live_study, seconds_left, summary
from tests.report.studies import make_study

#: The front is higher than the terminal.
SHOW = """
import time
from hwopt.cli.live_study import live_study
from tests.report.studies import make_study
study = make_study()
some = study.model_copy(update={"hypervolume": study.hypervolume[:2]})
long = study.model_copy(update={"recipe": {"search": {"trials": 10**4}}})
with live_study() as show:
    show(None, "preparing")
    show(some, "training 2, 3")
    time.sleep(0.5)
    show(long, "measuring 2, 3")
    time.sleep(2.5)  # nothing changes but the time that is left
"""


def shown_by(code):
    """Return all text that a process writes to a terminal of its own."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "200", "LINES": "12"}
    with subprocess.Popen(
        [sys.executable, "-c", code], stderr=theirs, stdin=theirs, env=environment
    ) as process:
        os.close(theirs)
        found = b""
        while True:
            try:
                some = os.read(ours, 65536)
            except OSError:  # all who could write have ended
                break
            found += some
    os.close(ours)
    assert process.returncode == 0, found.decode()
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", found.decode())  # colours and moves


@pytest.mark.slow
def test_a_terminal_shows_the_front_and_the_time_that_is_left():
    text = shown_by(SHOW)
    study = make_study()
    assert "preparing" in text and "measuring 2, 3" in text
    assert f"the front of {len(study.hypervolume)} candidates" in text
    assert "4 failed, 2 stopped early" in text
    assert "min left" in text
    assert text.count("measuring 2, 3") >= 3  # it is drawn again while nothing happens


def test_elsewhere_a_line_is_written_for_every_change(capsys):
    with live_study() as show:
        show(None, "preparing")
        show(make_study(), "measuring 2")
    first, second = capsys.readouterr().err.splitlines()
    assert first == "preparing"
    assert second.startswith("measuring 2; 22 of 30 measured, 4 failed, 2 stopped early; hyper")


def test_the_time_left_is_that_of_the_trials_before():
    study = make_study().model_copy(update={"hypervolume": ((1, 0.1), (2, 0.2))})
    assert seconds_left(study, 60.0, 0) == 30.0 * 28
    assert seconds_left(study, 60.0, 2) is None
    assert summary(study, "measuring 2", 90).endswith("hypervolume 0.2000; 2 min left")
