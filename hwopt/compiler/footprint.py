"""What a model takes of a device's memory, known before any of its code is generated."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from hwopt.compiler.plan import Plan
from hwopt.errors import HwoptError
from hwopt.targets import Target

#: Bytes of a library, and of each of its kernels, about: those of the zoo's models for AVX-512 and
#: AArch64 are between half and twice as large.
LIBRARY_BYTES, KERNEL_BYTES = 16_000, 16_000


class Footprint(BaseModel):
    """Bytes in memory.

    Attributes:
        activation_bytes: the most that values inside the model which are needed at one time take;
            its inputs, outputs and constants are not counted.
        workspace_bytes: of the memory that is reserved for values inside the model.
        constant_bytes: of weights, as the kernels read them.
        library_bytes: of machine code, predicted.
        largest: the largest value that is computed, in words.
    """

    model_config = ConfigDict(extra="forbid")
    activation_bytes: int
    workspace_bytes: int
    constant_bytes: int
    library_bytes: int
    largest: str

    @property
    def kept_bytes(self) -> int:
        """Of weights and code."""
        return self.constant_bytes + self.library_bytes

    @classmethod
    def of(cls, plan: Plan) -> Footprint:
        """Return what a plan takes."""
        kernels = {call.kernel for call in plan.calls}
        return cls(
            activation_bytes=activation_bytes(plan),
            workspace_bytes=plan.workspace().bytes,
            constant_bytes=plan.packed_constants().bytes,
            library_bytes=LIBRARY_BYTES + KERNEL_BYTES * len(kernels),
            largest=_largest(plan),
        )

    def check(self, target: Target) -> None:
        """Refuse what does not fit into a target's memory.

        Raises:
            HwoptError: says how much is needed, how much is there, and the largest value.
        """
        kept = self.kept_bytes
        memory = self.workspace_bytes + (0 if target.flash_bytes else kept)
        for needed, there, where in (
            (memory, target.memory_bytes, "memory"),
            (kept, target.flash_bytes or kept, "flash"),
        ):
            if needed > there:
                raise HwoptError(
                    f"the model does not fit on {target.name}: {_kilo(needed)} of {where} needed, "
                    f"{_kilo(there)} there; largest tensor: {self.largest}; weights: "
                    f"{_kilo(self.constant_bytes)}"
                )


def activation_bytes(plan: Plan) -> int:
    """Return the most bytes of values inside a model that are needed at one time.

    No plan that computes nothing in place does with less.
    """
    given = {*plan.parameters, *plan.constants}
    last_use = {n: i for i, call in enumerate(plan.calls) for n in call.arguments}
    last_use |= dict.fromkeys((*plan.outputs, *plan.predicates), len(plan.calls))
    live: set[int] = set()
    most = 0
    for i, call in enumerate(plan.calls):
        live |= {*call.arguments} - given
        most = max(most, sum(plan.values[number].bytes for number in live))
        live = {number for number in live if last_use.get(number, -1) > i}
    return most


def _largest(plan: Plan) -> str:
    written = [
        (call, n) for call, numbers in zip(plan.calls, plan.written, strict=True) for n in numbers
    ]
    if not written:
        return "none"
    call, number = max(written, key=lambda one: plan.values[one[1]].bytes)
    value = plan.values[number]
    return f"{value.dtype} {list(value.shape)} of {call.kernel}, {_kilo(value.bytes)}"


def _kilo(size: int) -> str:
    return f"{size / 1000:,.0f} KB"
