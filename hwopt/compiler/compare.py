"""What was compiled beside what torch computes, before an artefact is written.

Both run on the same inputs: those that were given, and random ones with values at the edges. Two
ways to compute a network differ by rounding, and where it decides something (a sign, the largest of
several) by more. How much that may be is found with torch alone: inputs that differ in their last
digits. What is compiled may differ ten times as much as that, or by a thousandth.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from hwopt.compiler.manifest import Comparison
from hwopt.errors import FAULT, HwoptError

if TYPE_CHECKING:
    from hwopt.compiler.artifact import Artifact
    from hwopt.graph import Graph

Inputs = tuple[torch.Tensor, ...]

#: Of the root of the sum of squares: what rounding alone never reaches in practice.
TOLERANCE = 1e-3
#: Between an input and the same with other last digits, relative.
LAST_DIGITS = 1e-6
#: How much more than that what was compiled may differ.
MARGIN = 10.0
#: Inputs with other last digits.
_NEIGHBOURS = 3
#: Ranges that whole numbers are drawn from, until one is what the model takes.
_RANGES = ((0, 128), (0, 10), (0, 2), (0, 1))
_EDGES = (0.0, -0.0, 1.0, -1.0, 100.0, -100.0, 1e-6)


def compare(artifact: Artifact, graph: Graph, examples: Sequence[torch.Tensor]) -> Comparison:
    """Run an artefact and its graph on the same inputs.

    Args:
        artifact: what was compiled.
        graph: from which.
        examples: inputs; random ones take their whole numbers from these.

    Raises:
        HwoptError: if shapes or dtypes differ, or numbers do by more than rounding explains.
    """
    try:
        artifact.connect()
    except HwoptError as error:
        return Comparison(reason=str(error))
    module = graph.to_torch().eval()
    found = Comparison()
    for inputs in _all_inputs(examples):
        expected = _expected(module, inputs)
        if expected is None:
            continue  # the model does not take such numbers
        got = _tensors(artifact(*inputs))
        names = [spec.name for spec in artifact.manifest.outputs]
        for place, (name, one, other) in enumerate(zip(names, got, expected, strict=True)):
            difference = _difference(name, one, other)
            if difference > TOLERANCE:
                allowed = MARGIN * _by_rounding(module, inputs, place, other)
                if not difference <= allowed:
                    raise HwoptError(_sentence(name, one, other, difference))
            found.difference = max(found.difference or 0.0, difference)
        found.inputs += 1
    if not found.inputs:
        found.reason = "torch itself fails on random inputs: give example inputs"
    return found


def _all_inputs(examples: Sequence[torch.Tensor]) -> Iterator[Inputs]:
    """Yield the examples, and random inputs like them."""
    if any(x.any() for x in examples):
        yield tuple(examples)
    generator = torch.Generator().manual_seed(0)
    known = [x for x in examples if not x.is_floating_point() and x.dtype != torch.bool and x.any()]
    ranges = _RANGES if not known else ((None, None),)
    has_whole = any(not x.is_floating_point() and x.dtype != torch.bool for x in examples)
    for low, high in ranges if has_whole else ranges[:1]:
        yield tuple(_random(x, low, high, generator) for x in examples)


def _random(
    example: torch.Tensor, low: int | None, high: int | None, generator: torch.Generator
) -> torch.Tensor:
    """Return a random tensor: of other numbers, or in another sequence where no range is known."""
    shape, dtype = example.shape, example.dtype
    if dtype == torch.bool:
        return torch.rand(shape, generator=generator) < 0.5
    if dtype.is_floating_point or dtype.is_complex:
        found = torch.randn(shape, generator=generator, dtype=torch.float32).to(dtype)
        edges = torch.tensor(_EDGES, dtype=dtype)[: found.numel() // 8]
        places = torch.randperm(found.numel(), generator=generator)[: len(edges)]
        found.view(-1)[places] = edges
        return found
    if low is None or high is None:
        flat = example.reshape(-1)
        return flat[torch.randperm(len(flat), generator=generator)].reshape(shape)
    return torch.randint(low, high, shape, generator=generator).to(dtype)


def _expected(module: torch.nn.Module, inputs: Inputs) -> list[torch.Tensor] | None:
    """Return what torch computes; None where it refuses the numbers."""
    with torch.no_grad():
        try:
            return _tensors(module(*inputs))
        except (IndexError, RuntimeError, ValueError, ZeroDivisionError):
            return None


def _tensors(found: Any) -> list[torch.Tensor]:
    return list(found) if isinstance(found, tuple | list) else [found]


def _difference(name: str, got: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the root of the sum of squares of the difference, relative to that of what is right.

    Of other numbers than floats it is the share that differ.

    Raises:
        HwoptError: if shape or dtype differ.
    """
    if got.shape != expected.shape or got.dtype != expected.dtype:
        raise HwoptError(
            f"output {name!r} was compiled to {got.dtype} {list(got.shape)}, torch has "
            f"{expected.dtype} {list(expected.shape)}: {FAULT}"
        )
    if expected.numel() == 0:
        return 0.0
    if not expected.is_floating_point():
        return float((got != expected).double().mean())
    one, other = got.double().numpy(), expected.double().numpy()
    finite = np.isfinite(one) & np.isfinite(other)
    same = (one == other) | (np.isnan(one) & np.isnan(other))
    odd = float((~same & ~finite).mean())
    left = np.where(finite, one, 0.0) - np.where(finite, other, 0.0)
    scale = float(np.sqrt(np.square(np.where(finite, other, 0.0)).sum()))
    return max(odd, float(np.sqrt(np.square(left).sum())) / max(scale, 1e-6))


def _by_rounding(
    module: torch.nn.Module, inputs: Inputs, place: int, expected: torch.Tensor
) -> float:
    """Return how much an output changes where inputs and weights change in their last digits."""
    generator = torch.Generator().manual_seed(1)
    largest = 0.0
    for _ in range(_NEIGHBOURS):
        neighbour = copy.deepcopy(module)
        with torch.no_grad():
            for parameter in neighbour.parameters():
                parameter.copy_(_with_other_digits(parameter, generator))
        near = tuple(_with_other_digits(x, generator) for x in inputs)
        found = _expected(neighbour, near)
        if found is not None:
            largest = max(largest, _difference("", found[place], expected))
    return largest


def _with_other_digits(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    if not x.is_floating_point():
        return x
    noise = torch.randn(x.shape, generator=generator, dtype=torch.float32).to(x.dtype)
    return x * (1 + LAST_DIGITS * noise)


def _sentence(name: str, got: torch.Tensor, expected: torch.Tensor, difference: float) -> str:
    if expected.is_floating_point():
        left = (got.double() - expected.double()).abs()
        largest = left[left.isfinite()].max().item() if left.isfinite().any() else math.nan
        how = f"by {100 * difference:.2g} %, at most {largest:.3g} where torch has values up to "
        finite = expected[expected.isfinite()].double().abs()
        how += f"{finite.max().item() if len(finite) else math.nan:.3g}"
    else:
        how = f"in {100 * difference:.2g} % of its numbers"
    return (
        f"what was compiled computes something else than torch: output {name!r} differs {how}. "
        f"{FAULT.capitalize()}; nothing was written (check=False, or "
        "--no-check, writes it all the same)"
    )
