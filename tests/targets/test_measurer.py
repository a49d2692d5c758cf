import sys

import pytest
import tvm
from tvm import te

from hwopt import targets
from hwopt.errors import HwoptError
from hwopt.targets.candidates import QUICK_REPEATS
from hwopt.targets.measurer import Measurer

SETTINGS = {"repeats": 3, "repeat_ms": 1, "best_us": None}


@pytest.fixture(scope="module")
def module():
    x = te.placeholder((64, 64), "float32", name="x")
    y = te.compute((64, 64), lambda i, j: x[i, j] + x[j, i], name="y")
    return tvm.ir.save_json(tvm.IRModule({"main": te.create_prim_func([x, y])}))


def test_candidates_are_timed_and_a_failing_one_costs_only_itself(module):
    configs = [{"parallel": 0}, {"no-such-key": 0}, {"parallel": 1}]
    with Measurer(targets.get("host")) as measurer:
        answers = list(measurer.measure(module, "loops", configs, **SETTINGS))
    assert [config for config, _ in answers] == configs
    assert "KeyError" in answers[1][1]["error"]
    for _, answer in (answers[0], answers[2]):
        assert answer["median_us"] > 0 and answer["runs"] == 3


@pytest.mark.slow
def test_a_hopeless_candidate_is_timed_briefly(module):
    settings = {"repeats": 9, "repeat_ms": 1, "best_us": 1e-6}
    with Measurer(targets.get("host")) as measurer:
        ((_, answer),) = measurer.measure(module, "loops", [{"parallel": 0}], **settings)
    assert answer["runs"] == QUICK_REPEATS


# Answers like the worker; the candidate {"x": 1} breaks it where FAULT stands.
WORKER = """
import json, os, sys, time
print('{{"progress": "started"}}', flush=True)
for line in sys.stdin:
    configs = json.loads(line)["configs"]
    {building}
    print('{{"progress": "built"}}', flush=True)
    for config in configs:
        if config["x"] == 1:
            {timing}
        print(json.dumps({{"median_us": config["x"]}}), flush=True)
"""
CRASH, HANG = "os.abort()", "time.sleep(60)"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("building", "timing", "message"),
    [
        ("pass", CRASH, "crashed the worker"),
        ("pass", HANG, "took over 0.5 s"),
        (f'any(c["x"] == 1 for c in configs) and {CRASH}', "pass", "crashed the worker"),
        (f'any(c["x"] == 1 for c in configs) and {HANG}', "pass", "took over"),
    ],
)
def test_a_crash_or_a_hang_costs_one_candidate(building, timing, message):
    command = [sys.executable, "-c", WORKER.format(building=building, timing=timing)]
    configs = [{"x": number} for number in range(3)]
    host = targets.get("host")
    with Measurer(host, seconds=0.5, start_seconds=1.0, command=command) as measurer:
        answers = list(measurer.measure("", "t", configs, **{**SETTINGS, "best_us": 9.0}))
    assert [config for config, _ in answers] == configs
    assert answers[0][1] == {"median_us": 0} and answers[2][1] == {"median_us": 2}
    assert message in answers[1][1]["error"]


# Crashes at the first request that it gets, and works from its second start on.
ONCE = """
import json, os, pathlib, sys
print('{{"progress": "started"}}', flush=True)
for line in sys.stdin:
    if not pathlib.Path({mark!r}).exists():
        pathlib.Path({mark!r}).touch()
        os.abort()
    for config in json.loads(line)["configs"]:
        print(json.dumps({{"median_us": config["x"]}}), flush=True)
"""


def test_a_crash_that_does_not_happen_again_costs_nothing(tmp_path):
    command = [sys.executable, "-c", ONCE.format(mark=str(tmp_path / "crashed"))]
    configs = [{"x": 1}, {"x": 2}]
    with Measurer(targets.get("host"), command=command) as measurer:
        answers = list(measurer.measure("", "t", configs, **{**SETTINGS, "best_us": 9.0}))
    assert answers == [({"x": 1}, {"median_us": 1}), ({"x": 2}, {"median_us": 2})]


@pytest.mark.parametrize("fault", [CRASH, HANG])
def test_finalists_that_break_the_worker_are_not_blamed(fault):
    command = [sys.executable, "-c", WORKER.format(building="pass", timing=fault)]
    with Measurer(targets.get("host"), seconds=0.5, command=command) as measurer:
        answers = list(measurer.measure("", "t", [{"x": 0}, {"x": 1}], **SETTINGS))
    assert answers == [({"x": 0}, {"median_us": 0})]


def test_progress_extends_the_time_limit():
    script = WORKER.format(building="pass", timing="pass").replace(
        "    for config in configs:",
        "    for _ in range(6):\n"
        "        time.sleep(0.2)\n"
        '        print(\'{"progress": "timed"}\', flush=True)\n'
        "    for config in configs:",
    )
    command = [sys.executable, "-c", script]
    with Measurer(targets.get("host"), seconds=0.5, command=command) as measurer:
        answers = list(measurer.measure("", "t", [{"x": 0}], **SETTINGS))
    assert answers == [({"x": 0}, {"median_us": 0})]


def test_a_worker_that_does_not_start_is_no_fault_of_a_candidate():
    command = [sys.executable, "-c", "raise SystemExit('no memory left')"]
    measurer = Measurer(targets.get("host"), command=command)
    with measurer, pytest.raises(HwoptError, match="does not start: no memory left"):
        list(measurer.measure("", "t", [{}], **SETTINGS))


def test_the_worker_is_told_the_threads():
    script = (
        "import json, os, sys\n"
        'print(\'{"progress": "started"}\', flush=True)\n'
        "for line in sys.stdin:\n"
        "    print(json.dumps({'error': os.environ['TVM_NUM_THREADS']}), flush=True)"
    )
    target = targets.get("host")
    with Measurer(target, command=[sys.executable, "-c", script]) as measurer:
        ((_, answer),) = measurer.measure("", "t", [{}], **SETTINGS)
    assert answer == {"error": str(target.threads)}
