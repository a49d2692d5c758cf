"""Chains of products and sums become one of each, and the function stays."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import hwopt
from hwopt.passes import Context
from tests.networks import max_difference, randomize

CHANNELS, SHAPE = 3, (3, 4, 5)


class Steps(nn.Module):
    """Operations drawn at random, on a list of values that grows."""

    def __init__(self, steps):
        super().__init__()
        torch.manual_seed(0)
        self.steps = steps
        self.numbers = nn.ParameterList(
            nn.Parameter(torch.rand(shape) + 0.5) for *_, shape in steps
        )
        self.norms = nn.ModuleList(randomize(nn.BatchNorm2d(CHANNELS)) for _ in steps)

    def forward(self, x):
        values = [torch.relu(x)]
        for (kind, first, second, _), number, norm in zip(
            self.steps, self.numbers, self.norms, strict=True
        ):
            a, b = values[first % len(values)], values[second % len(values)]
            values.append(
                {
                    "add": lambda a=a, n=number: a + n,
                    "sub": lambda a=a, n=number: a - n,
                    "from": lambda a=a, n=number: n - a,
                    "mul": lambda a=a, n=number: n * a,
                    "div": lambda a=a, n=number: a / n,
                    "two": lambda a=a: a * 2 + 1,
                    "norm": lambda a=a, norm=norm: norm(a),
                    "sum": lambda a=a, b=b: a + b,
                    "relu": lambda a=a: torch.relu(a),
                }[kind]()
            )
        return values[-1]


KINDS = ["add", "sub", "from", "mul", "div", "two", "norm", "sum", "relu"]
SHAPES = [(), (CHANNELS, 1, 1), (1, CHANNELS, 1, 1), (5,)]
STEP = st.tuples(
    st.sampled_from(KINDS), st.integers(0, 20), st.integers(0, 20), st.sampled_from(SHAPES)
)


@pytest.mark.slow
@settings(max_examples=100)
@given(st.lists(STEP, min_size=1, max_size=9))
def test_the_function_stays(steps):
    model, x = Steps(steps).eval(), torch.randn(2, *SHAPE)
    graph = hwopt.import_model(model, x)
    folded = hwopt.apply(graph, "fold-affine", Context(debug=True))
    expected = model(x)
    assert max_difference(folded.to_torch().eval()(x), expected) <= 1e-4 * expected.abs().max()
    assert not folded.nodes("batch_norm")
    again = hwopt.apply(folded, "fold-affine")
    assert len(again.nodes()) == len(folded.nodes())


def chain(*kinds, shape=(CHANNELS, 1, 1)):
    """Return the operators left of a chain of steps, each on the value before."""
    steps = [(kind, number, 0, shape) for number, kind in enumerate(kinds)]
    graph = hwopt.import_model(Steps(steps).eval(), torch.randn(2, *SHAPE))
    return [node.op for node in hwopt.apply(graph, "fold-affine").nodes()]


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (("mul", "add", "norm", "add"), ["relu", "mul", "add"]),
        (("add", "add"), ["relu", "add"]),
        (("mul", "div"), ["relu", "mul"]),
        (("norm",), ["relu", "mul", "add"]),
        (("mul", "relu", "add"), ["relu", "mul", "relu", "add"]),
    ],
)
def test_chains(kinds, expected):
    assert chain(*kinds) == expected


def test_what_is_added_to_a_sum_goes_before_it():
    """relu(x) * a + b, plus relu(x), plus c: c goes to b."""
    steps = [
        ("mul", 0, 0, (3, 1, 1)),
        ("add", 1, 0, (3, 1, 1)),
        ("sum", 2, 0, ()),
        ("add", 3, 0, ()),
    ]
    graph = hwopt.import_model(Steps(steps).eval(), torch.randn(2, *SHAPE))
    folded = hwopt.apply(graph, "fold-affine", Context(debug=True))
    assert [node.op for node in folded.nodes()] == ["relu", "mul", "add", "add"]


def test_values_with_other_readers_stay():
    steps = [("mul", 0, 0, ()), ("add", 1, 0, ()), ("sum", 1, 2, ())]
    graph = hwopt.import_model(Steps(steps).eval(), torch.randn(2, *SHAPE))
    assert hwopt.apply(graph, "fold-affine") is graph


def test_constants_do_not_grow():
    """A product with a column and a sum with a row stay two small constants."""
    steps = [("mul", 0, 0, (4, 1)), ("add", 1, 0, (5,))]
    graph = hwopt.import_model(Steps(steps).eval(), torch.randn(2, *SHAPE))
    folded = hwopt.apply(graph, "fold-affine")
    assert folded is graph
