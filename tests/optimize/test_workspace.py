from __future__ import annotations

import pytest

from hwopt.optimize.workspace import Workspace


def test_a_step_runs_once_and_again_only_if_what_it_depends_on_changes(tmp_path):
    calls, reports = [], []
    work = Workspace(tmp_path, lambda name, reused: reports.append(reused))

    def step(depends_on):
        return work.step("s", depends_on, lambda: calls.append(depends_on) or {"n": len(calls)})

    first, second, third = step([1]), step([1]), step([2])
    assert first == second != third
    assert calls == [[1], [2]] and reports == [False, True, False]


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
