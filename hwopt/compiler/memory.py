"""The memory of an artefact, as one process has it."""

from __future__ import annotations

from pathlib import Path

from hwopt.compiler.manifest import CONSTANTS_FILE
from hwopt.compiler.plan import Plan, aligned, read_constants


class Memory:
    """Everything that a library reads and writes.

    Attributes:
        arrays: the values of the plan by their numbers.
        inputs: arrays of the inputs, in the order of the call; so ``outputs``.
        checks: numbers that are not zero after an inference with a wrong input, and sentences.
        parameters: what every function of a library takes: inputs and results, the constants in
            one piece of memory, and a workspace.
    """

    def __init__(self, folder: Path, plan: Plan) -> None:
        constants, workspace = plan.packed_constants(), plan.workspace()
        self.arrays = {n: plan.values[n].empty() for n in plan.parameters}
        self.parameters = list(self.arrays.values())
        for placement, memory in (
            (constants, read_constants(folder / CONSTANTS_FILE, plan)),
            (workspace, aligned(workspace.bytes)),
        ):
            self.parameters.append(memory)
            inside = {n: plan.values[n].view(memory, at) for n, at in placement.places.items()}
            self.arrays.update(inside)
        self.inputs = [self.arrays[number] for number in plan.inputs]
        self.outputs = [self.arrays[number] for number in plan.outputs]
        self.checks = [(self.arrays[check.value], check.sentence) for check in plan.checks]
