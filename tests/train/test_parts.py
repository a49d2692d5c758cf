"""Schedules, optimizers, augmentation, evaluation, checkpoints."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import TensorDataset

from hwopt import train
from hwopt.errors import HwoptError
from hwopt.train import augment, checkpoint, optimizers, schedules


@pytest.mark.parametrize("name", ["one-cycle", "cosine", "linear", "constant"])
def test_schedules_stay_between_0_and_1(name: str) -> None:
    schedule = schedules.find(name)
    factors = [schedule(step / 100) for step in range(100)]
    assert max(factors) == 1.0 and min(factors) > 0


def test_shift_and_flip_matches_the_slow_way() -> None:
    images = torch.randn(64, 3, 9, 7)
    result = train.shift_and_flip(images, torch.Generator().manual_seed(5), pixels=2)
    padded = functional.pad(images, (2, 2, 2, 2), mode="replicate")
    seen = set()
    for image, moved in zip(padded, result, strict=True):
        matches = [
            (y, x, flip)
            for y in range(5)
            for x in range(5)
            for flip in (False, True)
            if torch.equal(moved, _crop(image, y, x, flip))
        ]
        assert len(matches) == 1
        seen.add(matches[0])
    assert len(seen) > 25


def _crop(image: torch.Tensor, y: int, x: int, flip: bool) -> torch.Tensor:
    crop = image[:, y : y + 9, x : x + 7]
    return crop.flip(2) if flip else crop


def test_flip_mirrors_about_half() -> None:
    images = torch.randn(200, 2, 3, 5)
    result = train.flip(images, torch.Generator().manual_seed(0))
    kept = [torch.equal(a, b) for a, b in zip(images, result, strict=True)]
    mirrored = [torch.equal(a.flip(2), b) for a, b in zip(images, result, strict=True)]
    assert all(a != b for a, b in zip(kept, mirrored, strict=True))
    assert 70 < sum(mirrored) < 130


def test_shift_never_mirrors() -> None:
    images = torch.arange(50.0).expand(100, 1, 3, 50)
    moved = train.shift(images, torch.Generator().manual_seed(0))
    assert (moved.diff(dim=3) >= 0).all()


def test_unknown_names() -> None:
    for find, message in (
        (schedules.find, "did you mean 'one-cycle'"),
        (augment.find, "unknown augmentation"),
        (lambda name: optimizers.build(name, nn.Linear(1, 1), 0.1, 0.0), "unknown optimizer"),
    ):
        with pytest.raises(HwoptError, match=message):
            find("one_cycle")


def test_frozen_parameters_are_left_out() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[0].requires_grad_(False)
    groups = optimizers.build("adamw", model, 0.1, 0.01).param_groups
    assert sum(len(group["params"]) for group in groups) == 2
    with pytest.raises(HwoptError, match="nothing to train"):
        optimizers.build("sgd", model.requires_grad_(False), 0.1, 0.0)


def test_evaluate_by_hand() -> None:
    model = nn.Identity().train()
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0]])
    labels = torch.tensor([0, 1, 1])
    result = train.evaluate(model, TensorDataset(logits, labels), batch_size=2)
    assert result.quality == pytest.approx(2 / 3) and result.samples == 3
    assert result.loss == pytest.approx(functional.cross_entropy(logits, labels).item())
    assert model.training


def test_evaluate_numbers() -> None:
    x = torch.randn(5, 4)
    result = train.evaluate(nn.Identity(), TensorDataset(x, x + 0.5), "regression")
    assert (result.loss, result.quality) == (pytest.approx(0.25), pytest.approx(0.5))
    assert result.interval() == (pytest.approx(0.5), pytest.approx(0.5))


@pytest.mark.parametrize(
    ("outputs", "targets", "message"),
    [
        (torch.zeros(2, 3), torch.tensor([0, 3]), "label 3, but the model has only 3 outputs"),
        (torch.zeros(2, 3), torch.zeros(2, 3), "name the task"),
    ],
)
def test_evaluate_refuses(outputs: torch.Tensor, targets: torch.Tensor, message: str) -> None:
    with pytest.raises(HwoptError, match=message):
        train.evaluate(nn.Identity(), TensorDataset(outputs, targets))


def test_evaluate_refuses_an_empty_set_and_two_outputs() -> None:
    with pytest.raises(HwoptError, match="empty"):
        train.evaluate(nn.Identity(), TensorDataset(torch.zeros(0, 2), torch.zeros(0).long()))
    with pytest.raises(HwoptError, match="returns 2 outputs"):
        model = nn.MultiheadAttention(2, 1)
        model.forward = lambda x: (x, x)  # type: ignore[method-assign, assignment]
        train.evaluate(model, TensorDataset(torch.zeros(1, 2), torch.zeros(1).long()))


def test_checkpoint_round_trip(tmp_path: Path) -> None:
    tied = torch.randn(3, 4)
    content = {
        "numbers": [1, 2.5, None, True, "text", float("inf")],
        "state": {0: {"step": torch.tensor(3.0), "betas": (0.9, 0.99)}, 1: {}},
        "tensors": [tied, tied.t(), torch.zeros(0), torch.randn(2).bfloat16()],
    }
    checkpoint.save(tmp_path / "c.safetensors", content)
    loaded = checkpoint.load(tmp_path / "c.safetensors")
    assert loaded["numbers"] == content["numbers"]
    assert list(loaded["state"]) == [0, 1] and loaded["state"][0]["betas"] == (0.9, 0.99)
    for before, after in zip(content["tensors"], loaded["tensors"], strict=True):
        assert before.dtype == after.dtype and torch.equal(before, after)
    assert [path.name for path in tmp_path.iterdir()] == ["c.safetensors"]


def test_checkpoint_errors(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    with pytest.raises(HwoptError, match="does not exist"):
        checkpoint.load(path)
    with pytest.raises(HwoptError, match=r"state/0 is a set, which a checkpoint cannot hold"):
        checkpoint.save(path, {"state": {0: {1, 2}}})
    assert not path.exists()
    checkpoint.save(path, {"weights": torch.randn(100)})
    whole = path.read_bytes()
    for damaged in (whole[:-1], whole[:20], b"", b"x" * 50):
        path.write_bytes(damaged)
        with pytest.raises(HwoptError, match="damaged"):
            checkpoint.load(path)


def test_names_without_torch() -> None:
    assert all(hasattr(train, name) for name in train.__all__)
    with pytest.raises(AttributeError):
        train.no_such_name  # noqa: B018
