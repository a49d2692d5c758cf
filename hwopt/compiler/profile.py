"""Why a compiled model is (not) fast: every kernel's time beside the least it could take."""

from __future__ import annotations

import collections
import dataclasses
import statistics
import time
from typing import TYPE_CHECKING

from hwopt.compiler.manifest import KernelDescription

if TYPE_CHECKING:
    from hwopt.compiler.artifact import Artifact
    from hwopt.targets.peak import Peak


@dataclasses.dataclass(frozen=True)
class KernelProfile:
    """One kernel, all its calls in an inference taken together.

    Attributes:
        name: of the kernel in the library.
        road: how its schedule was found: ``template:NAME``, ``search`` or ``fallback``.
        calls: in one inference.
        us: median time in microseconds, measured inside the running model.
        share: of the time in all kernels.
        macs: multiply-accumulates; of a Winograd convolution those of the direct sum.
        bytes: of its inputs, weights and outputs, each counted once.
        compute: fraction of the machine's peak rate of multiply-accumulates; of those of signs in
            a binary kernel.
        memory: fraction of the bandwidth of the cache that holds the kernel's bytes.
        lost_us: time above the least that either limit allows, in microseconds.
    """

    name: str
    road: str
    calls: int
    us: float
    share: float
    macs: int
    bytes: int
    compute: float
    memory: float
    lost_us: float


def profile(artifact: Artifact, peak: Peak, *, runs: int = 50) -> tuple[KernelProfile, ...]:
    """Time the kernels of an artefact inside the running model, in the order of their first call.

    Args:
        artifact: the model; it is not changed.
        peak: the limits to compare with, of ``hwopt.targets.peak.measure_peak``.
        runs: inferences; as many come before them that are not measured.
    """
    times = _times(artifact, runs)
    kernels = {kernel.name: kernel for kernel in artifact.manifest.kernels}
    total = sum(times.values())
    return tuple(
        _line(kernels[name], us, us / total, peak) for name, us in times.items() if name in kernels
    )


def _times(artifact: Artifact, runs: int) -> dict[str, float]:
    """Return the median microseconds that each kernel takes in one inference."""
    calls = list(artifact.kernel_calls(artifact.random_inputs()))
    samples: dict[str, list[float]] = {}
    for run in range(2 * runs):
        current: collections.defaultdict[str, float] = collections.defaultdict(float)
        for name, call in calls:
            start = time.perf_counter()
            call()
            current[name] += time.perf_counter() - start
        if run >= runs:
            for name, seconds in current.items():
                samples.setdefault(name, []).append(seconds * 1e6)
    return {name: statistics.median(values) for name, values in samples.items()}


def _line(kernel: KernelDescription, us: float, share: float, peak: Peak) -> KernelProfile:
    bandwidth = peak.bandwidth(kernel.bytes)
    moved = kernel.bytes * kernel.calls
    rate = peak.binary_gops if kernel.binary else peak.gflops
    least_compute = 2 * kernel.macs * kernel.calls / rate / 1e3
    least_memory = moved / bandwidth / 1e3
    return KernelProfile(
        name=kernel.name,
        road=kernel.road,
        calls=kernel.calls,
        us=us,
        share=share,
        macs=kernel.macs * kernel.calls,
        bytes=moved,
        compute=least_compute / us,
        memory=least_memory / us,
        lost_us=max(0.0, us - max(least_compute, least_memory)),
    )
