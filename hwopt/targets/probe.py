"""What a device says of itself: cores, caches, memory, instruction set."""

from __future__ import annotations

import dataclasses
import json
import platform

from hwopt import targets
from hwopt.errors import HwoptError
from hwopt.targets import host
from hwopt.targets.target import Target

#: The function that a server of ours answers with, as the JSON of a target.
FACTS = "hwopt.facts"
#: What is taken from its answer, where it is there.
TOLD = ("cpu", "cores", "l1_bytes", "l2_bytes", "memory_bytes")


def facts() -> str:
    """Return what is known of this machine as JSON; what a board answers."""
    known = host.known_facts()
    tvm = host.detect().tvm
    return json.dumps(
        {"machine": platform.machine(), "isa": host.host_isa(), "mcpu": tvm.get("mcpu"), **known}
    )


def probe(target: Target) -> Target:
    """Return a target with what its device says of itself in the place of what its file says.

    The name, the way to it, the compiler and the threads stay, but there are no more threads than
    cores; so does what the device does not know. Kernels tuned for what the file said before are
    not used any more where the processor or its threads turn out to be others.

    Raises:
        HwoptError: if the device is not within reach, or is of another kind.
    """
    if reason := targets.out_of_reach(target):
        raise HwoptError(reason)
    if target.runner == "local":
        found = json.loads(facts())
    else:
        from hwopt.targets import boards

        found = json.loads(boards.request(target).ask(FACTS))
    if found["machine"] != target.machine:
        message = f"target {target.name} is {target.machine}, and what answers is"
        raise HwoptError(f"{message} {found['machine']}: see `hwopt devices list`")
    told = {key: found[key] for key in TOLD if key in found}
    cores = told.get("cores", target.cores)
    tvm = {**target.tvm, "num-cores": cores}
    if found["isa"] == target.isa and found["mcpu"]:
        tvm["mcpu"] = found["mcpu"]
    return dataclasses.replace(target, **told, tvm=tvm, threads=min(target.threads, cores))
