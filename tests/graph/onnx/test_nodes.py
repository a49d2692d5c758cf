"""ONNX's own tests of its operators; compiled, too: ``python -m benchmarks onnx_nodes``."""

from collections import Counter

import pytest

from benchmarks.onnx_nodes import EQUAL, OTHER, REFUSED, cases, outcome


@pytest.mark.slow
def test_what_is_understood_is_right():
    counts, wrong = Counter(), []
    for some in cases().values():
        for case in some:
            kind, reason = outcome(case, compiled=False)
            counts[kind] += 1
            if kind not in (EQUAL, REFUSED, OTHER):
                wrong.append((case.name, kind, reason))
    assert not wrong
    assert counts[EQUAL] >= 1200
    assert counts[EQUAL] > 10 * counts[REFUSED], counts
