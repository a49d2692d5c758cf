"""The time of a kernel that was never measured, from kernels of its kind that were."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from hwopt.targets.kernel_shape import KernelShape

#: Fewer kernels of a kind tell less about another one than kernels of all kinds.
FEWEST_OF_A_KIND = 6
#: The newest ones count: the work of a Gaussian process grows with the cube of their number.
_MOST_OF_A_KIND = 300
#: Of a repeated measurement, as the standard deviation of the logarithm, about.
REPEATED_SPREAD = 0.03
#: Of kernels of a kind that was never seen: about a factor of two.
_FOREIGN_SPREAD = 0.7


class KernelTime(NamedTuple):
    """Microseconds of one call, the standard deviation of their logarithm, whether measured."""

    us: float
    spread: float
    measured: bool


class KernelPredictor:
    """Times of kernels by their shapes.

    Logarithms of times are a linear function of logarithms of sizes, and what is left of them is a
    Gaussian process (Rasmussen and Williams 2006, section 2.7) with a length for every size.

    Args:
        measured: median microseconds of one call, by shape.

    >>> from hwopt.targets.kernel_shape import KernelShape
    >>> known = {KernelShape("sums", (n, 8, 1, 64 * n)): 0.5 * n for n in (8, 16, 32, 64, 96, 128)}
    >>> predict = KernelPredictor(known)
    >>> round(predict(KernelShape("sums", (48, 8, 1, 64 * 48))).us)
    24
    """

    def __init__(self, measured: Mapping[KernelShape, float]) -> None:
        self._measured = measured
        by_kind: dict[str, list[KernelShape]] = {}
        for shape in measured:
            by_kind.setdefault(shape.kind, []).append(shape)
        by_kind = {kind: shapes[-_MOST_OF_A_KIND:] for kind, shapes in by_kind.items()}
        self._of_kind = {
            kind: _Regression(
                np.array([shape.sizes for shape in shapes]),
                np.array([measured[shape] for shape in shapes]),
            )
            for kind, shapes in by_kind.items()
            if len(shapes) >= FEWEST_OF_A_KIND
        }
        # Of kernels of other kinds only the bytes can be compared.
        newest = list(measured)[-_MOST_OF_A_KIND:]
        touched = np.array([shape.sizes[-1:] for shape in newest])
        self._of_any = _Regression(touched, np.array([measured[shape] for shape in newest]))
        self._found: dict[KernelShape, KernelTime] = {}

    def __call__(self, shape: KernelShape) -> KernelTime:
        """Return the time of a kernel, and how sure it is."""
        if shape in self._measured:
            return KernelTime(self._measured[shape], REPEATED_SPREAD, True)
        if shape not in self._found:
            self._found[shape] = self._estimated(shape)
        return self._found[shape]

    def _estimated(self, shape: KernelShape) -> KernelTime:
        if shape.kind in self._of_kind:
            us, spread = self._of_kind[shape.kind](np.array(shape.sizes))
            return KernelTime(us, spread, False)
        us, spread = self._of_any(np.array(shape.sizes[-1:]))
        return KernelTime(us, max(spread, _FOREIGN_SPREAD), False)


class _Regression:
    """From sizes to microseconds, both in logarithms: a line, and a Gaussian process on top."""

    def __init__(self, sizes: np.ndarray, us: np.ndarray) -> None:
        logs = np.log2(1.0 + sizes)
        self._middle, self._scale = logs.mean(0), logs.std(0)
        self._used = self._scale > 0
        inputs, targets = self._inputs(sizes), np.log(us)
        # A ridge: sizes of kernels go together, and few are independent.
        ones = np.c_[inputs, np.ones(len(us))]
        penalty = 1e-3 * len(us) * np.diag([*np.ones(inputs.shape[1]), 0.0])
        self._line = np.linalg.solve(ones.T @ ones + penalty, ones.T @ targets)
        left = targets - ones @ self._line
        self._process = _process(inputs, left) if inputs.shape[1] and len(us) > 2 else None
        self._spread = float(left.std())

    def __call__(self, sizes: np.ndarray) -> tuple[float, float]:
        """Return microseconds, and the standard deviation of their logarithm."""
        inputs = self._inputs(sizes[None])
        line = float((np.c_[inputs, 1.0] @ self._line)[0])
        if self._process is None:
            return float(np.exp(line)), self._spread
        mean, spread = self._process.predict(inputs, return_std=True)
        return float(np.exp(line + mean[0])), float(spread[0])

    def _inputs(self, sizes: np.ndarray) -> np.ndarray:
        logs = np.log2(1.0 + sizes)
        scaled: np.ndarray = (logs - self._middle) / np.where(self._used, self._scale, 1.0)
        return scaled[:, self._used]


def _process(inputs: np.ndarray, left: np.ndarray) -> Any:
    """Return a Gaussian process fitted to what a line leaves."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

    covariance = ConstantKernel(0.1, (1e-4, 1e1)) * RBF(
        np.full(inputs.shape[1], 2.0), (0.3, 1e2)
    ) + WhiteKernel(REPEATED_SPREAD**2, (1e-5, 1e-1))
    process = GaussianProcessRegressor(covariance, random_state=0)
    with warnings.catch_warnings():
        # A length at its bound says that a size does not matter.
        warnings.simplefilter("ignore", ConvergenceWarning)
        process.fit(inputs, left)
    return process
