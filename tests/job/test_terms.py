"""From recipes to terms."""

import pytest
import torch

import hwopt
from hwopt import models
from hwopt.errors import HwoptError
from hwopt.job.keys import Binary, Constraints
from hwopt.job.recipe import Training, Variant
from hwopt.job.trainer import make_terms
from hwopt.train import BinaryPull

TRAINING = Training(epochs=3, batch_size=10)


@pytest.fixture(scope="module")
def graph():
    return hwopt.import_model(models.create("resnet8", width=4), torch.zeros(1, 3, 32, 32))


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("bnew", f"BinaryPull 3 {BinaryPull.strength_for(35.0, 100, 3, 1)} 1"),
        ("straight-through", "StraightThrough 3"),
        ("tanh-annealing", f"TanhAnnealing 3 {1.01 ** (1000 / 3)}"),
        ("bop", "Bop 3 0.0001 1e-08"),
    ],
)
def test_every_method_of_binary_training_is_a_term(method, expected, graph):
    growth = 35.0 if method == "bnew" else None
    variant = Variant(binary=Binary(method=method, growth=growth))
    binary = hwopt.apply(graph, "binarize")
    (term,) = make_terms(TRAINING, binary, 1000, variant, graph)
    assert str(term) == expected
    first, real = variant.binary.first_phase(TRAINING, variant)
    (term,) = make_terms(first, binary, 1000, real, graph)
    assert str(term) == f"BinaryPull {first.epochs} 0.0 0" and first.epochs == 5


def test_constraints_are_one_term(graph):
    levels = Constraints(class_marginal=0.1, sharpness=0.5, strength=2.0)
    (term,) = make_terms(TRAINING.model_copy(update={"constraints": levels}), graph, 1000)
    assert str(term) == "constrained 2.0 0.0: ClassMarginal 0.1, Sharpness 0.5 radius 0.05"
    assert term.epochs == TRAINING.epochs


def test_a_network_without_binary_layers_is_refused(graph):
    with pytest.raises(HwoptError, match="apply binarize first"):
        make_terms(TRAINING, graph, 1000, Variant(binary=Binary()), graph)
