"""Branches, loops and regions of a model are written out, or refused by name."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch._higher_order_ops.map import map as torch_map
from torch._higher_order_ops.scan import scan
from torch._higher_order_ops.while_loop import while_loop

import hwopt
from hwopt.errors import HwoptError


class Two(nn.Module):
    """Two layers, for models that choose between them or repeat one."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)


def _same(model: nn.Module, *inputs: Tensor, batch: int | None = None) -> hwopt.Graph:
    """Import and compile a model, compare both with it, and return the graph."""
    model.eval()
    graph = hwopt.import_model(model, inputs)
    artifact = hwopt.compile(graph, inputs, kernel_trials=0)
    for sign in (1, -1):
        given = [sign * x if x.is_floating_point() else x for x in inputs]
        with torch.no_grad():
            expected = model(*given)
        for found in (graph.to_torch().eval()(*given), artifact(*given)):
            torch.testing.assert_close(found, expected)
    return graph


def test_a_branch_of_rows():
    class Model(Two):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cond(x.sum() > 0, self.first, lambda x: self.second(x).relu(), (x,))

    graph = _same(Model(), torch.ones(3, 4))
    assert len(graph.nodes("cond")) == 1


def test_a_branch_of_numbers_and_a_nested_one():
    class Model(Two):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            def inner(x: Tensor) -> tuple[Tensor, Tensor]:
                return torch.cond(x[0, 0] > 2, lambda x: (x + 1, x.sum()), _plain, (x,))

            return torch.cond(x.sum() > 0, inner, lambda x: (-x, x.mean()), (x,))

    def _plain(x: Tensor) -> tuple[Tensor, Tensor]:
        return x * 2, x.max()

    _same(Model(), torch.ones(2, 4))
    _same(Model(), torch.full((2, 4), 3.0))


@pytest.mark.slow
def test_a_loop_over_rows():
    class Model(Two):
        def forward(self, x: Tensor) -> Tensor:
            return torch_map(lambda row: self.first(row).tanh(), x)

    class WithOther(Model):
        def forward(self, x: Tensor, other: Tensor) -> Tensor:  # type: ignore[override]
            return super().forward(x) + other

    _same(WithOther(), torch.randn(3, 4), torch.randn(1, 4))
    _same(Model(), torch.randn(3, 4))


@pytest.mark.slow
def test_a_scan_carries_and_collects():
    class Model(Two):
        def forward(self, x: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
            def step(carried: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
                after = self.first(carried + row).tanh()
                return after, after * row

            return scan(step, start, x, dim=0)

    _same(Model(), torch.randn(5, 4), torch.randn(4))


def test_a_loop_whose_turns_are_known():
    class Model(Two):
        def forward(self, x: Tensor) -> Tensor:
            def body(turn: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
                return turn + 1, self.first(x).relu() + turn

            return while_loop(lambda turn, x: turn < 3, body, (torch.tensor(0), x))[1]

    assert len(_same(Model(), torch.randn(2, 4)).nodes("linear")) == 3


def test_a_loop_that_data_ends_is_refused():
    class Model(Two):
        def forward(self, x: Tensor) -> Tensor:
            return while_loop(lambda x: x.sum() < 10, lambda x: (x * 2,), (x,))[0]

    with pytest.raises(HwoptError, match="how often the loop runs depends on the numbers"):
        hwopt.import_model(Model(), torch.ones(2, 4))


def test_regions_without_gradients_are_seen_through():
    class Model(Two):
        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                x = self.first(x)
            with torch.autocast("cpu", enabled=False):
                x = self.second(x)
            return x.relu_()

    _same(Model(), torch.randn(2, 4))


def test_autocast_is_refused():
    class Model(Two):
        def forward(self, x: Tensor) -> Tensor:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return self.first(x).float()

    with pytest.raises(HwoptError, match=r"test_control_flow.py.*autocast computes in bfloat16"):
        hwopt.import_model(Model(), torch.randn(2, 4))


def test_writing_in_a_branch():
    class Model(Two):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cond(x.sum() > 0, lambda x: self.first(x).relu_(), torch.neg, (x,))

    _same(Model(), torch.ones(2, 4))
