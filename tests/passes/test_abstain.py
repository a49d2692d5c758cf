"""Classifiers that say which inputs they answer, on the digits."""

import numpy as np
import pytest
import torch
from torch import nn

import hwopt
from hwopt import data, models, train
from hwopt.errors import HwoptError
from hwopt.passes.abstain import Abstain
from hwopt.routing.selective import choose_threshold, select


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


@pytest.fixture(scope="module")
def classifier(digits):
    torch.manual_seed(0)
    model = models.create("resnet8", input_shape=digits.input_shape, width=4)
    train.fit(model, digits, epochs=3, progress=False)
    return hwopt.import_model(model, torch.zeros(1, *digits.input_shape))


def of(module, samples):
    inputs, labels = next(data.batches(samples, 1000))
    with torch.no_grad():
        return inputs, module(inputs), labels.numpy()


@pytest.mark.slow
def test_from_training_to_an_artefact_that_abstains(classifier, digits):
    _, logits, labels = of(classifier.to_torch().eval(), digits.validation)
    chosen = choose_threshold([logits.softmax(1).numpy()], labels, error=0.05)
    graph = hwopt.apply(classifier, f"abstain{{threshold={chosen.threshold}}}")
    assert list(graph.outputs)[1:] == ["answers"]
    inputs, logits, labels = of(classifier.to_torch().eval(), digits.test)
    found, answers = hwopt.compile(graph, kernel_trials=0).predict(inputs.numpy())
    probabilities = logits.softmax(1).numpy()
    tied = np.abs(probabilities.max(1) - chosen.threshold) < 1e-5
    assert np.array_equal(answers[~tied], (probabilities.max(1) >= chosen.threshold)[~tied])
    assert np.allclose(found, logits, atol=1e-4)
    expected = select(probabilities, labels, chosen.threshold)
    assert answers.mean() == pytest.approx(expected.coverage, abs=tied.mean())
    wrong = (found.argmax(1) != labels) & answers
    assert wrong.sum() / answers.sum() <= 0.1 < (found.argmax(1) != labels).mean()


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_all_or_next_to_nothing_is_answered(classifier, digits, threshold):
    graph = hwopt.apply(classifier, f"abstain{{threshold={threshold}}}")
    _, (_, answers), _ = of(graph.to_torch().eval(), digits.test)
    assert answers.all() if threshold == 0 else answers.float().mean() < 0.05


def test_what_is_refused(classifier):
    with pytest.raises(HwoptError, match=r"threshold must be in \[0, 1\], not 1\.5"):
        Abstain(threshold=1.5)
    images = hwopt.import_model(nn.Conv2d(1, 2, 3), torch.zeros(1, 1, 8, 8))
    for graph in (images, hwopt.apply(classifier, "abstain")):
        with pytest.raises(HwoptError, match=r"it must return logits \(N, classes\) alone"):
            hwopt.apply(graph, "abstain")
