"""What a model takes and returns: nested tensors, names, states, frozen weights."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import hwopt
from hwopt.errors import HwoptError
from hwopt.graph import Graph
from hwopt.passes import layers
from hwopt.train.penalties import L1Penalty


class Nested(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(4, 3)

    def forward(self, batch: dict[str, Tensor], rest: list[Tensor], scale: float = 1.0):
        first = self.layer(batch["x"]) * scale
        return {"scores": first, "parts": [first + rest[0], batch["y"] * 2], "none": None}


def _nested() -> dict[str, object]:
    rest = [torch.randn(2, 3), torch.randn(2, 1)]
    return {"batch": {"x": torch.randn(2, 4), "y": torch.randn(2, 5)}, "rest": rest, "scale": 2.0}


def test_nested_inputs_and_outputs_have_names():
    model, inputs = Nested().eval(), _nested()
    graph = hwopt.import_model(model, inputs)
    assert list(graph.inputs) == ["batch_x", "batch_y", "rest_0", "rest_1"]
    assert list(graph.outputs) == ["scores", "parts_0", "parts_1"]
    assert str(graph.inputs["batch_y"]) == "f32[N, 5]"
    with torch.no_grad():
        expected = [x for x in pytree.tree_leaves(model(**inputs)) if x is not None]
    flat = [x for x in pytree.tree_leaves(inputs) if isinstance(x, Tensor)]
    for found in (
        graph.to_torch().eval()(*flat),
        hwopt.compile(model, inputs, kernel_trials=0)(*flat),
    ):
        torch.testing.assert_close(list(found), expected)


def test_an_artifact_is_called_by_name():
    model, inputs = Nested().eval(), _nested()
    artifact = hwopt.compile(model, inputs, kernel_trials=0)
    x, y, one, two = (x for x in pytree.tree_leaves(inputs) if isinstance(x, Tensor))
    given = {"rest_1": two, "batch_y": y, "rest_0": one, "batch_x": x}
    found = artifact(given)
    assert list(found) == ["scores", "parts_0", "parts_1"]
    torch.testing.assert_close(found["parts_1"], 2 * y)
    with pytest.raises(HwoptError, match="input 'rest_1' is missing"):
        artifact({name: given[name] for name in list(given)[1:]})
    with pytest.raises(HwoptError, match="unknown input 'rest'"):
        artifact({**given, "rest": one})


def test_a_graph_is_compiled_with_examples_by_name():
    class Model(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return x - y

    examples = {"y": torch.ones(3, 2), "x": torch.zeros(3, 2)}
    graph = hwopt.import_model(Model(), examples)
    assert list(graph.inputs) == ["x", "y"]
    artifact = hwopt.compile(graph, examples, kernel_trials=0)
    assert artifact(examples)["output"].tolist() == [[-1.0, -1.0]] * 3


def test_outputs_of_one_name_are_numbered():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("total", torch.zeros(1, 2))

        def forward(self, x: Tensor) -> dict[str, object]:
            self.total += x
            return {"a b": x, "a": {"b": x + 1}, "total_next": x + 2}

    x = torch.ones(1, 2)
    graph = hwopt.import_model(Model(), x)
    assert list(graph.outputs) == ["a_b", "a_b_1", "total_next", "total_next_1"]
    assert graph.states == {"total": "total_next_1"}
    found = [float(y[0, 0]) for y in graph.to_torch()(x, 0 * x)]
    assert found == [1.0, 2.0, 3.0, 1.0]


def test_inputs_that_forward_does_not_take():
    with pytest.raises(HwoptError, match=r"Nested.forward.* does not take the inputs.*'batch'"):
        hwopt.import_model(Nested(), {"x": torch.zeros(1, 4)})


@dataclasses.dataclass
class Result:
    mean: Tensor
    spread: Tensor


def test_outputs_of_a_data_class():
    torch.export.register_dataclass(Result, serialized_type_name="tests.Result")

    class Model(nn.Module):
        def forward(self, x: Tensor) -> Result:
            return Result(x.mean(1), x.std(1))

    assert list(hwopt.import_model(Model(), torch.randn(2, 4)).outputs) == ["mean", "spread"]


class Counter(nn.Module):
    """A sum over calls, and how many there were."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("total", torch.zeros(1, 4))
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        self.total.add_(self.layer(x))
        self.calls += 1
        return self.total * y / self.calls


def test_buffers_that_change_are_states():
    torch.manual_seed(0)
    model = Counter().eval()
    one, two = torch.randn(1, 4), torch.randn(3, 4)
    graph = hwopt.import_model(model, (one, two))
    assert list(graph.inputs) == ["x", "y", "total", "calls"]
    assert graph.states == {"total": "total_next", "calls": "calls_next"}
    assert list(graph.outputs) == ["output", "total_next", "calls_next"]
    again = Graph.from_text(graph.to_text(), graph.parameters)
    assert again.states == graph.states and again.to_text() == graph.to_text()
    artifact = hwopt.compile(graph, (one, two), kernel_trials=0)
    stream = artifact.stream()
    model.total.zero_()
    model.calls.zero_()
    for _ in range(10):
        x = torch.randn(1, 4)
        with torch.no_grad():
            torch.testing.assert_close(stream(x, two), model(x, two))
    stream.reset()
    torch.testing.assert_close(stream(one, two), artifact.stream()(one, two))


def test_states_live_through_files(tmp_path):
    graph = hwopt.import_model(Counter(), (torch.randn(1, 4), torch.randn(3, 4)))
    graph.save(tmp_path)
    assert Graph.load(tmp_path).states == graph.states


def test_a_state_that_does_not_begin_with_zeros_is_refused():
    model = Counter()
    model.calls += 3
    with pytest.raises(HwoptError, match="changes its buffer 'calls', which is not zero at first"):
        hwopt.import_model(model, (torch.randn(1, 4), torch.randn(3, 4)))


def test_an_artifact_without_states_has_no_stream():
    artifact = hwopt.compile(nn.Linear(2, 2), torch.zeros(1, 2), kernel_trials=0)
    with pytest.raises(HwoptError, match="no states of its own"):
        artifact.stream()


def test_frozen_weights_stay_frozen(tmp_path):
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    model[0].requires_grad_(False)
    graph = hwopt.import_model(model, torch.zeros(1, 4))
    assert "frozen 0.weight: f32[4, 4]" in graph.to_text()
    assert graph.is_frozen("0.weight") and not graph.is_trainable("0.weight")
    assert graph.num_parameters() == 4 * 4 + 4 + 2 * 4 + 2
    graph.save(tmp_path)
    for same in Graph.load(tmp_path), Graph.from_text(graph.to_text(), graph.parameters):
        assert same.to_text() == graph.to_text()
    trained = graph.to_torch()
    torch.optim.SGD(trained.parameters(), lr=1.0)
    trained(torch.ones(1, 4)).sum().backward()
    moved = {name for name, p in trained.named_parameters() if p.grad is not None}
    assert moved == {"2.weight", "2.bias"}
    pruned = hwopt.apply(graph, "prune-channels{ratio=0.5}")
    assert pruned.is_frozen("0.weight") and pruned.parameter("0.weight").shape == (2, 4)
    np.testing.assert_array_equal(model[0].weight.shape, (4, 4))


def test_penalties_and_folding_leave_frozen_weights_alone():
    model = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))
    model[0].requires_grad_(False)
    graph = hwopt.import_model(model, torch.zeros(1, 3, 4, 4))
    trained = graph.to_torch()
    before = {name: p.detach().clone() for name, p in trained.named_parameters()}
    penalty = L1Penalty(10.0, weights=layers.weights(graph))
    penalty.start(trained, samples=10)
    penalty.after_step(learning_rate=0.01)
    moved = {n for n, p in trained.named_parameters() if not torch.equal(p, before[n])}
    assert moved == {"2.weight"}
    folded = hwopt.apply(graph, "fold-batch-norm")
    assert folded.is_frozen("0.weight") and folded.is_frozen("0.bias")
