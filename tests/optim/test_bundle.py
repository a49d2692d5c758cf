"""The dual of BORAT's step against an independent solver."""

import itertools

import numpy as np
import pytest
from scipy.optimize import minimize

from hwopt.optim.bundle import solve


def random_bundle(pieces, seed):
    """Return a Gram matrix and offsets of ``pieces - 1`` random pieces and the lower bound."""
    generator = np.random.default_rng(seed)
    gradients = generator.normal(size=(pieces, generator.integers(1, 6)))
    gradients *= 10.0 ** generator.uniform(-2, 1)
    gradients[-1] = 0
    offsets = generator.normal(size=pieces) + 0.5
    offsets[-1] = 0
    return 10.0 ** generator.uniform(-2, 1) * gradients @ gradients.T, offsets


def value(weights, gram, offsets):
    return weights @ offsets - weights @ gram @ weights / 2


@pytest.mark.parametrize("pieces", [2, 3, 4, 5])
def test_agrees_with_sequential_quadratic_programming_on_random_bundles(pieces):
    for seed in range(125):
        gram, offsets = random_bundle(pieces, seed)
        weights = solve(gram, offsets)
        assert weights.min() >= 0 and weights.sum() == pytest.approx(1)
        other = minimize(
            lambda a, q=gram, b=offsets: -value(a, q, b),
            np.full(pieces, 1 / pieces),
            jac=lambda a, q=gram, b=offsets: q @ a - b,
            bounds=[(0, 1)] * pieces,
            constraints={"type": "eq", "fun": lambda a: a.sum() - 1, "jac": np.ones_like},
            method="SLSQP",
            options={"ftol": 1e-14, "maxiter": 500},
        )
        found, expected = value(weights, gram, offsets), -other.fun
        assert found == pytest.approx(expected, rel=1e-5, abs=1e-6), seed


@pytest.mark.parametrize("pieces", [2, 3, 4, 5])
def test_there_is_no_gap_to_the_primal(pieces):
    """At w = -G a the largest piece plus half the squared step is the value of the dual."""
    for seed in range(50):
        generator = np.random.default_rng(seed)
        gradients = generator.normal(size=(pieces, 4))
        gradients[-1] = 0
        offsets = np.append(generator.normal(size=pieces - 1) + 0.5, 0)
        weights = solve(gradients @ gradients.T, offsets)
        step = -gradients.T @ weights
        primal = step @ step / 2 + (gradients @ step + offsets).max()
        assert primal == pytest.approx(value(weights, gradients @ gradients.T, offsets), abs=1e-6)


def test_one_more_piece_never_lowers_the_value():
    for seed in range(50):
        gram, offsets = random_bundle(5, seed)
        values = []
        for kept in ([0, 4], [0, 1, 4], [0, 1, 2, 4], [0, 1, 2, 3, 4]):
            part = gram[np.ix_(kept, kept)], offsets[kept]
            values.append(value(solve(*part), *part))
        assert all(b >= a - 1e-6 for a, b in itertools.pairwise(values))


@pytest.mark.parametrize(
    ("rate", "weights", "dual"),
    [
        (0.5, (0.2, 0.2, 0.6), 0.4625),
        (10.0, (0.01, 0.01, 0.98), 0.023125),
        (0.05, (1.0, 0.0, 0.0), 3.375),
    ],
)
def test_exact_case(rate, weights, dual):
    gram, offsets = rate * np.diag([45.0, 1.25, 0.0]), np.array([4.5, 0.125, 0.0])
    found = solve(gram, offsets)
    assert found == pytest.approx(weights, abs=1e-6)
    assert value(found, gram, offsets) == pytest.approx(dual, abs=1e-6)
