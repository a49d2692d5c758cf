"""Interpolation: each result is a weighted sum of few inputs, which torch itself names."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import numpy as np
import torch
from tvm import relax, te

from hwopt.compiler.loops import compute
from hwopt.compiler.lower.call import Call, Converter, Tensor

#: Of the dimensions along which nothing is interpolated.
_WIDTH = 2


class _Taps(NamedTuple):
    """What each place along a dimension reads: int32 and float32 (results, taps)."""

    places: np.ndarray
    weights: np.ndarray


def interpolation(operator: torch._ops.OpOverload) -> Converter:
    """Return a converter for an operator that interpolates one to three dimensions.

    Along each dimension the weights are found by interpolating the unit vectors with the operator
    itself, so that its rounding of sizes and scales is torch's.
    """

    def convert(call: Call, x: Tensor, *arguments: Any) -> Tensor:
        spatial = len(x.shape) - 2
        taps = [
            _taps(operator, x.shape[n + 2], call.shape[n + 2], n, spatial, arguments)
            for n in range(spatial)
        ]
        return _interpolated(call, x, taps)

    return convert


def _taps(
    operator: torch._ops.OpOverload,
    size: int,
    results: int,
    which: int,
    spatial: int,
    arguments: tuple[Any, ...],
) -> _Taps:
    """Interpolate all unit vectors along one dimension; the others stay as they are."""
    shape = [1, size, *[1] * spatial]
    shape[which + 2] = size
    units = torch.eye(size).reshape(shape)
    # Torch's own is wrong for some images of one row or column.
    wide = units.expand(1, size, *(size if n == which else _WIDTH for n in range(spatial)))
    found = operator(wide.contiguous(), *_along(operator, which, spatial, results, arguments))
    first = tuple(slice(None) if n == which else 0 for n in range(spatial))
    matrix = found[(0, slice(None), *first)].numpy().T
    most = max(1, int((matrix != 0).sum(1).max()))
    order = np.argsort(matrix == 0, axis=1, kind="stable")[:, :most]
    weights = np.take_along_axis(matrix, order, 1)
    # What is read for nothing is what is read anyhow.
    places = np.where(weights == 0, order[:, :1], order)
    return _Taps(places.astype("int32"), weights.astype("float32"))


def _along(
    operator: torch._ops.OpOverload,
    which: int,
    spatial: int,
    results: int,
    arguments: tuple[Any, ...],
) -> list[Any]:
    """Return the arguments for a tensor whose other spatial dimensions keep their size."""
    found: list[Any] = []
    scale = 0
    for given, argument in zip(arguments, operator._schema.arguments[1:], strict=False):
        if argument.name == "output_size":
            sizes = [_WIDTH] * spatial
            sizes[which] = results
            found.append(None if given is None else sizes)
        elif argument.name == "scale_factors":
            factors = None if given is None else [1.0] * spatial
            if factors is not None:
                factors[which] = given[which]
            found.append(factors)
        elif argument.name.startswith("scales"):
            found.append(given if scale == which else None)
            scale += 1
        else:
            found.append(given)
    return found


def _interpolated(call: Call, x: Tensor, taps: list[_Taps]) -> Tensor:
    order = x.order
    axes = [order.index(n + 2) for n in range(len(taps))]
    is_choice = all((t.weights == 1).all() and t.weights.shape[1] == 1 for t in taps)
    constants = [relax.const(t.places) for t in taps]
    if not is_choice and not x.dtype.startswith("float"):
        raise call.refuse("weights and whole numbers, whose means torch rounds in ways of its own,")
    if not is_choice:
        constants += [relax.const(t.weights) for t in taps]
    shape = [call.shape[dim] for dim in order]

    def describe(data: te.Tensor, *tables: te.Tensor) -> te.Tensor:
        places, weights = tables[: len(taps)], tables[len(taps) :]

        def at(*index: Any) -> Any:
            found: Any = None
            for chosen in itertools.product(*(range(t.weights.shape[1]) for t in taps)):
                where = list(index)
                factor: Any = None
                for n, (axis, tap) in enumerate(zip(axes, chosen, strict=True)):
                    where[axis] = places[n](index[axis], tap)
                    if weights:
                        weight = weights[n](index[axis], tap)
                        factor = weight if factor is None else factor * weight
                value = data(*where)
                term = value if factor is None else value * factor.astype(data.dtype)
                found = term if found is None else found + term
            return found

        return compute(shape, at, name="interpolate")

    return call.result(call.te(describe, call.ordered(x, order), *constants), order)


def _operators() -> dict[str, torch._ops.OpOverload]:
    aten = torch.ops.aten
    kinds = [
        "upsample_nearest1d",
        "upsample_nearest2d",
        "upsample_nearest3d",
        "upsample_linear1d",
        "upsample_bilinear2d",
        "upsample_trilinear3d",
        "upsample_bicubic2d",
        "_upsample_nearest_exact1d",
        "_upsample_nearest_exact2d",
        "_upsample_nearest_exact3d",
        "_upsample_bilinear2d_aa",
        "_upsample_bicubic2d_aa",
    ]
    return {
        f"{kind}.{overload}": getattr(getattr(aten, kind), overload)
        for kind in kinds
        for overload in ("vec", "default")
    }


CONVERTERS: dict[str, Converter] = {
    name: interpolation(operator) for name, operator in _operators().items()
}
