from __future__ import annotations

import pytest

from hwopt.errors import HwoptError
from hwopt.passes import parse
from hwopt.passes.rounds import in_rounds, shares


def test_the_published_schedules():
    cubic = [0.2439, 0.4392, 0.5913, 0.7056, 0.7875, 0.8424, 0.8757, 0.8928, 0.8991, 0.9]
    geometric = [0.2057, 0.3690, 0.4988, 0.6019, 0.6838, 0.7488, 0.8005, 0.8415, 0.8741, 0.9]
    assert shares(0.9, 10, "cubic") == pytest.approx(cubic, abs=5e-5)
    assert shares(0.9, 10, "geometric") == pytest.approx(geometric, abs=5e-5)
    assert shares(0.9, 10, "uniform") == pytest.approx([0.09 * t for t in range(1, 11)])
    assert shares(0.3, 20, "uniform")[0] == pytest.approx(0.015)


@pytest.mark.parametrize("growth", ["uniform", "geometric", "cubic"])
def test_what_is_gone_after_a_round_counts(growth):
    """Channels of a round are a share of those that the rounds before left."""
    left = 1.0
    for (instance,) in in_rounds(parse("prune-channels{ratio=0.6}"), 5, growth):
        left *= 1 - instance.ratio
    assert left == pytest.approx(0.4)
    weights = [i.ratio for (i,) in in_rounds(parse("prune-weights{ratio=0.6}"), 5, growth)]
    assert weights == sorted(weights) and weights[-1] == pytest.approx(0.6)


def test_ratios_of_groups_and_shares_of_latency_are_spread():
    text = "prune-channels{ratio=0.0,ratios=[a:0.5,b:0.6]},prune-to-latency{share=0.4},condense"
    left, latency = {"a": 1.0, "b": 1.0}, 1.0
    for channels, to_latency, condense in in_rounds(parse(text), 4, "cubic"):
        left = {name: left[name] * (1 - ratio) for name, ratio in channels.ratios}
        latency *= to_latency.share
        assert channels.ratio == 0 and str(condense) == "condense"
    assert left == pytest.approx({"a": 0.5, "b": 0.4})
    assert latency == pytest.approx(0.4)


def test_bad_input():
    with pytest.raises(HwoptError, match="rounds must be at least 1"):
        shares(0.5, 0, "uniform")
