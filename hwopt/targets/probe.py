"""What a device says of itself: cores, caches, memory, instruction set."""

from __future__ import annotations

import dataclasses
import json

from hwopt.errors import HwoptError
from hwopt.targets import host
from hwopt.targets.target import Target

#: The function that a server of ours answers with, as the JSON of a target.
FACTS = "hwopt.facts"
READ = ("cpu", "cores", "threads", "l1_bytes", "l2_bytes", "memory_bytes")


def facts() -> str:
    """Return this machine's target as JSON; what a board answers."""
    return json.dumps(dataclasses.asdict(host.detect()))


def probe(target: Target) -> Target:
    """Return a target with what its device says of itself in the place of what its file says.

    The name, the way to it and the compiler stay. Kernels tuned for what the file said before are
    not used any more where the processor or its threads turn out to be others.

    Raises:
        HwoptError: if the device is not within reach, or is of another kind.
    """
    if target.runner == "none":
        raise HwoptError(f"nothing says how to reach {target.name}: see `hwopt targets add --help`")
    if target.runner == "local":
        found = host.detect()
    else:
        from hwopt.targets import boards

        found = Target(**json.loads(boards.request(target).ask(FACTS)))
    if found.machine != target.machine:
        message = f"target {target.name} is {target.machine}, and what answers is {found.machine}"
        raise HwoptError(f"{message}: see `hwopt devices list`")
    told = {key: getattr(found, key) for key in READ}
    tvm = {**target.tvm, "num-cores": found.cores}
    if found.isa == target.isa and "mcpu" in found.tvm:
        tvm["mcpu"] = found.tvm["mcpu"]
    return dataclasses.replace(target, tvm=tvm, **told)
