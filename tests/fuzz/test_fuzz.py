"""Two hundred random networks and other cases, always the same; more: ``benchmarks.fuzz``."""

import functools
import os

import pytest

from benchmarks import fuzz, random_networks
from benchmarks.random_networks import Program
from benchmarks.stations import OK, REFUSED, TRACEBACK, WRONG

NETWORKS, EACH = 200, 10


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, NETWORKS, EACH))
def test_networks_come_out_right(first):
    for number in range(first, first + EACH):
        found = list(Program.draw(number).check(compiled=True, rewritten=False))
        assert {kind for _, kind, _ in found} <= {OK, REFUSED}, (number, found)
        assert found[-1][:2] == ("compile", OK), (number, found)


def test_the_same_number_is_the_same_network():
    assert Program.draw(7).to_json() == Program.draw(7).to_json() != Program.draw(8).to_json()
    assert Program.from_json(Program.draw(7).to_json()) == Program.draw(7)


def test_smaller_networks_run():
    program = Program.draw(3)
    smaller = list(program.smaller())
    assert smaller
    assert all(len(one.steps) <= len(program.steps) for one in smaller)


@pytest.mark.slow
def test_what_is_wrong_is_found_and_made_small(monkeypatch, tmp_path):
    """Networks of which one station says something else wherever there is a norm."""
    run = random_networks.compile_and_run

    def wrong(model, inputs):
        found = run(model, inputs)
        return (found[0] + bool(model.nodes("batch_norm")), *found[1:])

    monkeypatch.setattr(random_networks, "compile_and_run", wrong)
    monkeypatch.setattr(Program, "check", functools.partialmethod(Program.check, rewritten=False))
    monkeypatch.setattr(fuzz, "CASES", tmp_path)
    number = next(n for n in range(100) if "batch_norm" in Program.draw(n).to_json())
    findings = fuzz.run("networks", [number], compiled=True)
    (finding,) = [one for one in findings if one[1] == WRONG]
    assert finding[0] == "compile" and "output 0 differs by 1" in finding[2]
    smallest = Program.from_json((tmp_path / f"networks-{number}.json").read_text())
    assert [name for name, *_ in smallest.steps] == ["batch_norm"]


def test_a_crash_is_found(monkeypatch, tmp_path):
    monkeypatch.setattr(fuzz, "CASES", tmp_path)
    monkeypatch.setattr(Program, "check", lambda *_, **__: os._exit(7))
    (one, other) = fuzz.run_apart("networks", [3, 4], compiled=False)
    assert one == other == ("process", TRACEBACK, "the process ended with 7")
    assert Program.from_json((tmp_path / "networks-4.json").read_text()) == Program.draw(4)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "count"), [("operators", 60), ("files", 200)])
def test_operators_and_damaged_files(monkeypatch, tmp_path, kind, count):
    monkeypatch.setattr(fuzz, "CASES", tmp_path)
    findings = fuzz.run(kind, range(count), compiled=True)
    assert len(findings) > count // 2
    assert {outcome for _, outcome, _ in findings} == {OK, REFUSED}, findings
    case = fuzz.KINDS[kind].draw(1)
    assert fuzz.KINDS[kind].from_json(case.to_json()) == case
