import sys

import pytest
import tvm
from tvm import te

from hwopt import targets
from hwopt.targets.measurer import Measurer

SETTINGS = {"repeats": 3, "repeat_ms": 1, "best_us": None}


@pytest.fixture(scope="module")
def module():
    x = te.placeholder((64, 64), "float32", name="x")
    y = te.compute((64, 64), lambda i, j: x[i, j] + x[j, i], name="y")
    return tvm.ir.save_json(tvm.IRModule({"main": te.create_prim_func([x, y])}))


def test_a_candidate_is_timed_and_a_failing_one_costs_only_itself(module):
    with Measurer(targets.get("host")) as measurer:
        assert "no-such" in measurer.measure(module, "no-such", {}, **SETTINGS)["error"]
        answer = measurer.measure(module, "loops", {"parallel": 0}, **SETTINGS)
    assert answer["median_us"] > 0
    assert answer["runs"] == 3


ONCE_WRONG = """
import os, sys, time
for line in sys.stdin:
    if not os.path.exists({flag!r}):
        open({flag!r}, "w").close()
        {fault}
    print('{{"median_us": 1.0, "runs": 1}}', flush=True)
"""


@pytest.mark.parametrize(
    ("fault", "message"),
    [("os.abort()", "crashed"), ("time.sleep(60)", "no answer within")],
)
def test_a_crash_or_a_hang_costs_one_candidate(tmp_path, fault, message):
    script = ONCE_WRONG.format(flag=str(tmp_path / "flag"), fault=fault)
    command = [sys.executable, "-c", script]
    target = targets.get("host")
    with Measurer(target, seconds=0.5, start_seconds=1.5, command=command) as measurer:
        assert message in measurer.measure("", "t", {}, **SETTINGS)["error"]
        assert measurer.measure("", "t", {}, **SETTINGS) == {"median_us": 1.0, "runs": 1}


def test_the_worker_is_told_the_threads(tmp_path):
    script = (
        "import json, os, sys\n"
        "for line in sys.stdin:\n"
        "    print(json.dumps({'error': os.environ['TVM_NUM_THREADS']}), flush=True)"
    )
    target = targets.get("host")
    with Measurer(target, command=[sys.executable, "-c", script]) as measurer:
        assert measurer.measure("", "t", {}, **SETTINGS) == {"error": str(target.threads)}
