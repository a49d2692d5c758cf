import pytest
import torch
from torch import nn

import hwopt
from hwopt.errors import HwoptError
from hwopt.layers import cond


class Routed(nn.Module):
    """A small network that asks a larger one where it is not sure."""

    def __init__(self):
        super().__init__()
        self.small, self.large = nn.Linear(4, 3), nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 3))

    def forward(self, x):
        given = self.small(x)
        return cond(given.softmax(1).amax(1) < 0.5, self.large(x), given)


def test_rows_are_chosen_and_gradients_follow_the_choice():
    then, otherwise = (torch.randn(3, 2, requires_grad=True) for _ in range(2))
    predicate = torch.tensor([True, False, True])
    result = cond(predicate, then, otherwise)
    assert torch.equal(result, torch.stack([then[0], otherwise[1], then[2]]))
    result.sum().backward()
    assert torch.equal(then.grad, torch.tensor([[1.0, 1.0], [0.0, 0.0], [1.0, 1.0]]))
    assert torch.equal(otherwise.grad, 1 - then.grad)


@pytest.mark.parametrize(
    ("predicate", "then", "otherwise", "message"),
    [
        (torch.zeros(2), torch.zeros(2, 3), torch.zeros(2, 3), "must be bool, one a row"),
        (torch.zeros(3).bool(), torch.zeros(2, 3), torch.zeros(2, 3), "must be bool, one a row"),
        (torch.zeros(2).bool(), torch.zeros(2, 3), torch.zeros(2, 1), "must be alike"),
        (torch.zeros(2).bool(), torch.zeros(2, 3), torch.zeros(2, 3).int(), "must be alike"),
    ],
)
def test_what_does_not_fit_is_refused(predicate, then, otherwise, message):
    with pytest.raises(HwoptError, match=message):
        cond(predicate, then, otherwise)


def test_a_choice_is_a_node_like_any_other(golden, tmp_path):
    torch.manual_seed(0)
    model = Routed().eval()
    graph = hwopt.import_model(model, torch.randn(1, 4))
    golden("cond.txt", graph.to_text())
    assert hwopt.Graph.from_text(graph.to_text()).to_text() == graph.to_text()
    graph.save(tmp_path)
    x = torch.randn(64, 4)
    assert torch.equal(hwopt.Graph.load(tmp_path).to_torch().eval()(x), model(x))


def test_it_trains_both_ways():
    torch.manual_seed(0)
    module = hwopt.import_model(Routed(), torch.randn(1, 4)).to_torch()
    module(torch.randn(64, 4)).square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in module.parameters())
