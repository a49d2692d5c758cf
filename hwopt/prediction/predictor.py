"""The latency of a graph before anything of it is built: predicted from a device's table."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hwopt.errors import HwoptError
from hwopt.prediction.kernel_predictor import KernelPredictor
from hwopt.prediction.network_predictor import NetworkPredictor, TimedKernel

if TYPE_CHECKING:
    from hwopt.graph import Graph
    from hwopt.targets import Target
    from hwopt.targets.latency_table import KernelCalls, LatencyTable

#: The interval holds nine latencies of ten: of a normal distribution that many standard deviations.
_DEVIATIONS = 1.645


@dataclass(frozen=True)
class Prediction:
    """A predicted latency.

    Attributes:
        ms: the latency of an inference at batch 1 in milliseconds.
        low_ms, high_ms: nine measured latencies of ten are expected between them.
        measured: the share of the time that kernels take which are in the table as they are; the
            others are estimated from kernels like them.
    """

    ms: float
    low_ms: float
    high_ms: float
    measured: float

    def __str__(self) -> str:
        """Return it in words.

        >>> print(Prediction(0.1, 0.09, 0.11, 0.75))
        0.100 ms (0.090–0.110), 75 % of it in kernels that were measured
        """
        return (
            f"{self.ms:.3f} ms ({self.low_ms:.3f}–{self.high_ms:.3f}), {self.measured:.0%} of it "
            "in kernels that were measured"
        ).replace("%", " %")


def predict(
    graph: Graph, target: str | Path | Target = "host", *, threads: int | None = None
) -> Prediction:
    """Predict the latency of a graph from a device's latency table; nothing is built or measured.

    Args:
        graph: of the network.
        target: a target's name, file or a ``Target``.
        threads: of kernels; None takes the target's.

    Raises:
        HwoptError: if nothing was measured on the device yet, or a kernel cannot be predicted.
    """
    from hwopt import targets
    from hwopt.targets.latency_table import LatencyTable

    return Predictor(LatencyTable(targets.get(target, threads=threads)))(graph)


class Predictor:
    """Predicts latencies from the kernels of a graph (our method).

    A kernel that the table has takes the time that was measured; another one that of a Gaussian
    process over the sizes of kernels of its kind (``hwopt.prediction.kernel_predictor``). Networks
    of the table tell what a latency has besides the sum of its kernels
    (``hwopt.prediction.network_predictor``).

    Args:
        table: of the device; later measurements count when a new predictor is made.

    Raises:
        HwoptError: if nothing was measured on the device yet.
    """

    def __init__(self, table: LatencyTable) -> None:
        if not table.kernels:
            raise HwoptError(
                f"the latency table of {table.target.name} is empty: see "
                "`hwopt targets measure --help`"
            )
        self.target: Target = table.target
        self._kernels = KernelPredictor(table.kernels)
        self._networks = NetworkPredictor(
            [self._timed(kernels) for kernels in table.networks],
            [1e3 * ms for ms in table.networks.values()],
        )

    def __call__(self, graph: Graph) -> Prediction:
        """Predict the latency of a graph at batch 1.

        Raises:
            HwoptError: if the graph cannot be compiled for the device.
        """
        from hwopt.compiler.kernels_of import kernels_of

        return self.of_kernels(kernels_of(graph, self.target))

    def of_kernels(self, kernels: Sequence[KernelCalls]) -> Prediction:
        """Predict the latency of a network that calls these kernels.

        Raises:
            HwoptError: if it calls none.
        """
        if not kernels:
            raise HwoptError("the network computes nothing: there is no latency to predict")
        us = self._networks(self._timed(kernels))
        times = [self._kernels(shape) for shape, _ in kernels]
        sums = [time.us * calls for time, (_, calls) in zip(times, kernels, strict=True)]
        # Errors of single kernels are taken as independent, that of the whole as another one.
        of_kernels = math.hypot(
            *(time.spread * us for time, us in zip(times, sums, strict=True))
        ) / sum(sums)
        margin = math.exp(_DEVIATIONS * math.hypot(of_kernels, self._networks.spread))
        known = sum(us for time, us in zip(times, sums, strict=True) if time.measured)
        return Prediction(us / 1e3, us / margin / 1e3, us * margin / 1e3, known / sum(sums))

    def _timed(self, kernels: Iterable[KernelCalls]) -> list[TimedKernel]:
        return [
            TimedKernel(shape.kind, calls, shape.sizes[-1] / 1e3, self._kernels(shape).us)
            for shape, calls in kernels
        ]
