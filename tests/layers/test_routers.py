import math

import pytest
import torch

from hwopt.errors import HwoptError
from hwopt.layers import Doubt, Entropy, Router


def test_entropy_and_doubt_order_answers_from_sure_to_unsure():
    logits = torch.tensor([[9.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    for score in (Entropy()(logits), Doubt()(logits)):
        assert score[0] < score[1] < score[2]
    assert Entropy()(logits)[2].item() == pytest.approx(math.log(3))
    assert Doubt()(logits)[2].item() == pytest.approx(2 / 3)
    assert Entropy()(torch.tensor([[1000.0, 0.0]])).item() == 0  # without a NaN


@pytest.mark.parametrize("classes", [4, 10, 100])
def test_the_inputs_of_a_router(classes):
    torch.manual_seed(0)
    router = Router(classes, 32).eval()
    top = min(classes, 10)
    assert router.inputs == 1 + top**2 + 64
    logits, features = torch.randn(5, classes), torch.randn(5, 32)
    margins = router.margins(logits)
    assert margins.shape == (5, top, top)
    assert torch.equal(margins, -margins.transpose(1, 2))
    permuted = logits[:, torch.randperm(classes)]
    torch.testing.assert_close(router(permuted, features), router(logits, features))


def test_numbers_out_of_range_are_refused():
    with pytest.raises(HwoptError, match="must be at least 1, not 10, 8, 0 and 48"):
        Router(10, 8, top=0)
