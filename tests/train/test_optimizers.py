"""Optimizers by name in the training loop: what they learn, and what they refuse."""

import pytest
import torch
from torch import nn

from hwopt import data, train
from hwopt.errors import HwoptError
from hwopt.optim import BORAT
from tests.train.small_trainings import blobs, quiet_fit, small_model


@pytest.mark.parametrize(
    ("name", "rate", "options"),
    [
        ("alig", 0.1, {"max_norm": 20.0}),
        ("alig-plus", 0.1, {}),
        ("borat", 0.1, {"pieces": 3}),
        ("borat", 0.1, {"pieces": 5}),
        ("vcsg", 0.2, {}),
    ],
)
def test_optimizers_that_step_from_the_loss_learn_digits(name, rate, options) -> None:
    digits = data.load("digits")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 10))
    arguments = {"schedule": "constant", "label_smoothing": 0.0, "optimizer_options": options}
    quiet_fit(model, digits, epochs=15, learning_rate=rate, optimizer=name, **arguments)
    assert train.evaluate(model, digits.test).quality > 0.9


def test_an_epoch_of_borat_ends_with_an_update() -> None:
    model = small_model()
    made = []

    def factory(parameters, rate):
        made.append(BORAT(parameters, rate, pieces=5))
        return made[0]

    arguments = {"epochs": 1, "batch_size": 10, "learning_rate": 0.1, "label_smoothing": 0.0}
    quiet_fit(model, blobs(), optimizer=factory, **arguments)
    assert not any("center" in state for state in made[0].state.values())


def test_terms_act_where_the_optimizer_has_made_an_update() -> None:
    seen = []

    class Watch(train.Term):
        def start(self, model: nn.Module, samples: int) -> None:
            self.model = model

        def after_step(self, learning_rate: float) -> None:
            seen.append(self.model[0].weight.detach().clone())
            with torch.no_grad():
                self.model[0].weight[0].zero_()

    model = small_model()
    arguments = {"epochs": 1, "batch_size": 8, "learning_rate": 0.1, "label_smoothing": 0.0}
    options = {"pieces": 3, "momentum": 0.0}
    quiet_fit(
        model, blobs(), optimizer="borat", optimizer_options=options, terms=[Watch()], **arguments
    )
    assert len(seen) == 6  # of 12 batches
    # What a term did last is still there: no auxiliary point has taken it back.
    assert not model[0].weight[0].any() and model[0].weight[1].any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"optimizer": "sdg"}, "did you mean 'sgd'"),
        ({"optimizer": "borat", "optimizer_options": {"peices": 3}}, "did you mean 'pieces'"),
        ({"optimizer_options": {"weight_decay": 0.1}}, "weight_decay of sgd is what the training"),
        (
            {"optimizer": "alig-plus", "optimizer_options": {"num_samples": 3}},
            "num_samples of alig-plus is what the training gives it",
        ),
        ({"optimizer_options": {"momentum": -1}}, "sgd refuses its options: Invalid momentum"),
        (
            {"optimizer": "borat", "optimizer_options": {"max_lr": 3}},
            "max_lr of borat is what",
        ),
        ({"optimizer": "borat"}, "BORAT needs a loss that can become 0, .*label_smoothing=0.1"),
        (
            {
                "optimizer": "alig",
                "label_smoothing": 0.0,
                "terms": [train.SelfDistillation(small_model(), "kl")],
            },
            "ALIG needs a loss that can become 0, but not with the term self-distillation",
        ),
        (
            {
                "optimizer": "borat",
                "label_smoothing": 0.0,
                "optimizer_options": {"pieces": 5},
                "batch_size": 32,
            },
            "BORAT takes 4 batches of 32 for an update, more than the 96 samples have",
        ),
        (
            {"optimizer": "vcsg", "schedule": "constant", "terms": [train.L1Penalty(1.0)]},
            "VCSG does not go with the term",
        ),
        (
            {
                "optimizer": "alig",
                "label_smoothing": 0.0,
                "learning_rate": float("inf"),
                "terms": [train.L1Penalty(1.0)],
            },
            "ALIG goes with the term .* only if its learning rate is finite",
        ),
        ({"optimizer": "vcsg"}, "VCSG chooses its step sizes itself"),
        (
            {
                "optimizer": "alig-plus",
                "terms": [train.SelfDistillation(small_model(), "kl")],
            },
            "which is not known with the term self-distillation kl",
        ),
    ],
)
def test_what_optimizers_cannot_do(arguments: dict, message: str) -> None:
    with pytest.raises(HwoptError, match=message):
        quiet_fit(small_model(), blobs(), **arguments)
