from __future__ import annotations

import time

import pytest

from hwopt.errors import HwoptError
from hwopt.job.workspace import Workspace, start_fresh


def test_a_step_runs_once_and_again_only_if_what_it_depends_on_changes(tmp_path):
    calls, reports = [], []
    work = Workspace(tmp_path, lambda name, reused: reports.append(reused))

    def step(depends_on):
        return work.step("s", depends_on, lambda: calls.append(depends_on) or {"n": len(calls)})

    first, second, third = step([1]), step([1]), step([2])
    assert first == second != third
    assert calls == [[1], [2]] and reports == [False, True, False]


def test_a_record_says_how_long_the_step_took(tmp_path):
    work = Workspace(tmp_path)
    for _ in range(2):  # the second time it is read
        work.step("s", 1, lambda: time.sleep(0.2))
        assert 0.2 <= work.seconds("s") < 2


def test_a_failed_step_leaves_no_record(tmp_path):
    work = Workspace(tmp_path)
    with pytest.raises(ZeroDivisionError):
        work.step("s", 1, lambda: 1 / 0)
    assert work.step("s", 1, lambda: 5)[0] == 5


@pytest.mark.parametrize("content", [b"", b'{"key"', b"[1]", b"\xff"])
def test_a_damaged_record_is_no_record(tmp_path, content):
    work = Workspace(tmp_path)
    work.step("s", 1, lambda: 5)
    (tmp_path / "steps" / "s.json").write_bytes(content)
    assert work.step("s", 1, lambda: 6)[0] == 6


def test_only_what_a_killed_job_was_writing_is_removed(tmp_path):
    work = Workspace(tmp_path)
    work.step("s", 1, lambda: 5)
    own = [tmp_path / ".results.json.x1.part", tmp_path / "steps" / ".s.json.x2.part"]
    others = [tmp_path / "film.mp4.part", tmp_path / "mine" / ".a.part"]
    for path in (*own, *others):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    with work.alone():
        assert [path.exists() for path in (*own, *others)] == [False, False, True, True]


def test_two_jobs_do_not_work_in_one_folder(tmp_path):
    with (
        Workspace(tmp_path).alone(),
        pytest.raises(HwoptError, match="another job is at work"),
        Workspace(tmp_path).alone(),
    ):
        pass
    with Workspace(tmp_path).alone():
        pass


def test_a_fresh_start_removes_what_a_job_left_and_nothing_where_none_was(tmp_path):
    (tmp_path / "artifacts").mkdir()
    start_fresh(tmp_path)
    assert (tmp_path / "artifacts").is_dir()
    Workspace(tmp_path).step("s", 1, lambda: 5)
    (tmp_path / "notes.txt").touch()
    with Workspace(tmp_path).alone(), pytest.raises(HwoptError, match="another job is at work"):
        start_fresh(tmp_path)
    (tmp_path / "steps" / "s.json").stat()  # still there
    start_fresh(tmp_path)
    assert not (tmp_path / "artifacts").exists() and not list(tmp_path.rglob("*.json"))
    assert (tmp_path / "notes.txt").exists()
