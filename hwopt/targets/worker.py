"""The process that builds and times candidates: ``python -m hwopt.targets.worker``.

It reads one JSON request a line from standard input and answers with one JSON line each. A
candidate that crashes or hangs takes this process with it, and nothing else.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
from collections.abc import Sequence
from typing import Any

# A candidate that one quick timing finds this much slower than the best is not timed further.
HOPELESS = 1.6
QUICK_REPEATS = 3
QUICK_MS = 2


def measure(request: dict[str, Any]) -> dict[str, Any]:
    """Schedule, build and time one candidate.

    Args:
        request: ``module`` (the unscheduled kernel as TVM's JSON, its function named ``main``),
            ``target`` (fields of a Target), ``template``, ``config``, ``repeats``, ``repeat_ms``
            and ``best_us`` (the fastest so far, or None).

    Returns:
        ``median_us``, ``fastest_us`` and ``runs``, or ``error``.
    """
    import numpy as np
    import tvm

    from hwopt.targets import templates, tvm_build
    from hwopt.targets.target import Target

    target = Target(**request["target"])
    func = tvm.ir.load_json(request["module"])["main"]
    scheduled = templates.by_name(request["template"]).schedule(func, request["config"], target)
    built = tvm_build.build_kernel(scheduled, target)
    random = np.random.default_rng(0)
    arguments = [_argument(param.ty, random) for param in func.params]
    device = tvm.cpu()
    quick = built.time_evaluator(
        "main", device, number=1, repeat=QUICK_REPEATS, min_repeat_ms=QUICK_MS
    )
    times = quick(*arguments).results
    best = request["best_us"]
    if best is not None and min(times) * 1e6 > HOPELESS * best:
        return _summary(times)
    timer = built.time_evaluator(
        "main", device, number=1, repeat=request["repeats"], min_repeat_ms=request["repeat_ms"]
    )
    return _summary(timer(*arguments).results)


def _summary(seconds: Sequence[float]) -> dict[str, Any]:
    return {
        "median_us": statistics.median(seconds) * 1e6,
        "fastest_us": min(seconds) * 1e6,
        "runs": len(seconds),
    }


def _argument(buffer: Any, random: Any) -> Any:
    """Return a tensor of random values for one parameter of a kernel."""
    import tvm

    shape = [int(size) for size in buffer.shape]
    dtype = str(getattr(buffer.dtype, "dtype", buffer.dtype))
    if dtype.startswith("float"):
        values = random.standard_normal(shape).astype(dtype)
    else:
        values = random.integers(0, 2, shape).astype(dtype)
    return tvm.runtime.tensor(values)


def main() -> None:
    """Answer requests until standard input ends."""
    # The answers keep standard output for themselves: what libraries print goes to stderr.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        try:
            answer = measure(json.loads(line))
        except Exception as error:  # whatever is wrong is wrong with this candidate only
            answer = {"error": f"{type(error).__name__}: {str(error).strip()[-300:]}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
