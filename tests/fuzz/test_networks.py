"""Two hundred random networks, always the same; more are ``python -m benchmarks.fuzz``."""

import pytest
import torch

from benchmarks.fuzz import OK, REFUSED, check
from benchmarks.random_networks import Network, Program, draw

NETWORKS, EACH = 200, 10


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, NETWORKS, EACH))
def test_networks_come_out_right(first):
    for number in range(first, first + EACH):
        found = list(check(draw(number), rewritten=False))
        assert {kind for _, kind, _ in found} <= {OK, REFUSED}, (number, found)
        assert found[-1][:2] == ("compile", OK), (number, found)


def test_the_same_number_is_the_same_network():
    assert draw(7).to_json() == draw(7).to_json() != draw(8).to_json()
    assert Program.from_json(draw(7).to_json()) == draw(7)


def test_smaller_networks_run():
    program = draw(3)
    smaller = list(program.smaller())
    assert smaller
    assert all(len(one.steps) <= len(program.steps) for one in smaller)


def test_what_is_wrong_is_found(monkeypatch):
    """A network of which one station says something else."""
    from benchmarks import fuzz

    network = Network(draw(5)).eval()
    expected = network(*draw(5).examples())
    monkeypatch.setattr(
        fuzz, "_compiled", lambda *_: fuzz._unequal((expected[0] + 1,), expected[:1])
    )
    station, kind, reason = list(check(draw(5), rewritten=False))[-1]
    assert (station, kind) == ("compile", fuzz.WRONG) and "output 0 differs by 1" in reason
    assert torch.isfinite(expected[0]).all()
