"""A network taught by another one: kinds of outputs, losses, agreement."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from hwopt import tasks, train
from hwopt.data import Batch
from hwopt.errors import HwoptError
from tests.tasks.test_tasks import quality, random

N = 20


@pytest.mark.parametrize("kind", ["classes", "shares", "masks", "vectors", "numbers"])
def test_doing_the_same_is_no_loss_and_full_agreement(kind):
    taught, other = random(N, 4, seed=1), random(N, 4, seed=2)
    if kind == "shares":
        taught, other = taught.softmax(1), other.softmax(1)
    task, batch = tasks.Imitation(kinds=(kind,)), Batch(None, taught)
    task.check(taught, batch)
    assert task.loss(taught, batch).abs().max() < 1e-6
    assert quality(task, taught, batch) == pytest.approx(1.0)
    assert task.loss(other, batch).min() >= 0 and task.loss(other, batch).mean() > 0.05
    assert quality(task, other, batch) < 0.8


def test_the_agreement_of_every_kind():
    def agreement(kind, said, taught):
        return quality(tasks.Imitation(kinds=(kind,)), said, Batch(None, taught))

    assert agreement("classes", torch.eye(2), torch.tensor([[3.0, 1.0], [2.0, 1.0]])) == 0.5
    masks = torch.tensor([[1.0, 1.0, -1.0, -1.0]]), torch.tensor([[1.0, -1.0, 1.0, -1.0]])
    assert agreement("masks", *masks) == pytest.approx(1 / 3)
    assert agreement("masks", -torch.ones(1, 4), -torch.ones(1, 4)) == 1.0
    said, taught = torch.tensor([[3.0, 4.0]]), torch.tensor([[1.0, 0.0]])
    assert agreement("vectors", said, taught) == pytest.approx(0.6)
    assert agreement("numbers", torch.tensor([[1.5]]), torch.tensor([[2.0]])) == 0.75
    assert agreement("numbers", torch.tensor([[9.0]]), torch.tensor([[2.0]])) == 0.0


def test_the_divergence_is_torchs():
    said, taught = random(N, 5), random(N, 5, seed=1)
    found = tasks.Imitation(temperature=3.0).loss(said, Batch(None, taught))
    logs = (functional.log_softmax(one / 3.0, 1) for one in (said, taught))
    wanted = functional.kl_div(*logs, reduction="none", log_target=True).sum(1) * 9
    torch.testing.assert_close(found, wanted)


def test_kinds_are_read_off_what_is_taught():
    shapes = ((N, 3), (N, 3), (N, 1), (N, 2, 4, 4), (N, 9, 9))
    logits, other, *rest = (random(*shape) for shape in shapes)
    outputs = logits, other.softmax(1), *rest
    found = tasks.Imitation().kinds_of(outputs)
    assert found == ("classes", "shares", "numbers", "classes", "numbers")
    assert tasks.find("imitate{kinds=[vectors,masks]}").kinds_of(outputs) == ("vectors", "masks")


def test_a_student_learns_without_labels():
    torch.manual_seed(0)
    teacher = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 4))
    student = nn.Sequential(nn.Linear(8, 12), nn.Tanh(), nn.Linear(12, 4))
    task = tasks.Imitation().learned_from(lambda: teacher)
    samples = torch.utils.data.TensorDataset(random(2000, 8))
    before = train.evaluate(student, samples, task)
    kept = [parameter.clone() for parameter in teacher.parameters()]
    train.fit(student, samples, task, epochs=10, batch_size=50, augment=None, progress=False)
    after = train.evaluate(student, samples, task)
    assert before.quality < 0.6 and after.quality > 0.9
    assert after.interval()[0] > before.interval()[1]
    assert after.worse_by(before) < 0 < before.worse_by(after)
    assert all(map(torch.equal, kept, teacher.parameters()))


def test_what_cannot_be_imitated_is_refused():
    samples = torch.utils.data.TensorDataset(random(20, 8))
    with pytest.raises(HwoptError, match="there is no network to imitate"):
        train.evaluate(nn.Linear(8, 4), samples, "imitate")
    task = tasks.Imitation().learned_from(lambda: nn.Linear(8, 3))
    with pytest.raises(HwoptError, match=r"the model gives \[\[20, 4\]\], its teacher"):
        train.evaluate(nn.Linear(8, 4), samples, task)
    task = tasks.Imitation(kinds=("classes", "numbers")).learned_from(lambda: nn.Linear(8, 3))
    with pytest.raises(HwoptError, match="has 1 outputs, but kinds are of 2"):
        train.evaluate(nn.Linear(8, 3), samples, task)
    with pytest.raises(HwoptError, match="temperature must be positive"):
        tasks.find("imitate{temperature=0}")
