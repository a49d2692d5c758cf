"""A plugin whose pass breaks, in different ways, the process that applies it."""

import os
import signal
import time
from dataclasses import dataclass
from typing import Literal

from hwopt.passes import Pass, PassResult


@dataclass(frozen=True)
class Misbehave(Pass):
    """Crash, hang, be killed, or make numbers that are none."""

    name = "misbehave"

    how: Literal["crash", "hang", "kill", "nan"] = "crash"

    def apply(self, graph, context):
        if os.environ.get("HWOPT_NO_MISBEHAVIOUR"):
            return PassResult(graph, modified=False)
        if self.how == "crash":
            raise RuntimeError("crashed as it was told to")
        if self.how == "hang":
            time.sleep(3600)
        if self.how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        result = graph.copy()
        for name, value in graph.parameters.items():
            result.set_parameter(name, value * float("nan"))
        return PassResult(result, modified=True)

    def candidates(self, graph, context):
        return [Misbehave(how) for how in ("crash", "hang", "kill", "nan")]
