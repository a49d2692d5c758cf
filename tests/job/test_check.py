"""Artefact and torch on the same samples, where rounding can turn signs."""

import pytest
import torch
from torch.utils.data import TensorDataset

import hwopt
from hwopt import models
from hwopt.errors import HwoptError
from hwopt.job.check import TURNED, check
from hwopt.tasks import Classification

SAMPLES = 1000


def binary(seed):
    """Return a binary network whose norms have seen numbers."""
    torch.manual_seed(seed)
    model = models.create("single_conv_resnet20", input_shape=(1, 12, 12))
    graph = hwopt.import_model(model, torch.zeros(1, 1, 12, 12))
    module = hwopt.apply(graph, "binarize").to_torch().train()
    with torch.no_grad():
        module(torch.randn(64, 1, 12, 12))
    graph = hwopt.apply(graph, "binarize").with_weights_of(module)
    return hwopt.apply(graph, "freeze-binary")


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    return hwopt.compile(binary(0), kernel_trials=0, output=tmp_path_factory.mktemp("check") / "a")


@pytest.fixture(scope="module")
def samples():
    torch.manual_seed(1)
    return TensorDataset(torch.randn(SAMPLES, 1, 12, 12), torch.zeros(SAMPLES))


@pytest.mark.slow
def test_a_few_turned_signs_are_counted(artifact, samples):
    result = check(artifact, binary(0), samples, Classification(), SAMPLES)
    assert result["samples"] == SAMPLES
    assert result["turned"] <= TURNED * SAMPLES
    assert result["max_difference"] <= 1e-4
    assert result["same_answer"] >= SAMPLES - result["turned"]


def test_other_weights_are_refused(artifact, samples):
    with pytest.raises(HwoptError, match="differs from torch"):
        check(artifact, binary(2), samples, Classification(), SAMPLES)
