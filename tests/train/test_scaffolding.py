import math

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from hwopt import train
from hwopt.errors import HwoptError
from hwopt.train.scaffolding import (
    Scaffolding,
    budget_at,
    cross_entropy_beside,
    left_out,
    most_probable,
    strength_at,
)
from tests.train.small_trainings import at_once_and_resumed, equal


def samples(count=256):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(count, 4, generator=generator)
    return TensorDataset(inputs, (inputs[:, 0] > 0).long() + (inputs[:, 1] > 0).long())


def network(width, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 3))


def fit(model, term, **options):
    settings = {"epochs": 4, "learning_rate": 0.05, "batch_size": 32, "progress": False}
    return train.fit(model, samples(), terms=[term], label_smoothing=0.0, **settings | options)


ALL = torch.ones(1, 2, dtype=torch.bool)
ANSWER, LESSON = torch.tensor([[0.1, 0.9]]), torch.tensor([[1.0, 0.0]])


@pytest.mark.parametrize(("guide", "expected"), [(0.0, 2.302585), (0.4, 0.693147)])
def test_numbers_of_the_card(guide, expected):
    found = cross_entropy_beside(ANSWER, LESSON, torch.tensor([guide]), ALL)
    assert found.item() == pytest.approx(expected, abs=1e-6)
    normal = math.log1p(2 * guide)
    assert found.item() + normal == pytest.approx(2.302585 if not guide else 1.280934, abs=1e-6)


def test_only_with_the_normal_the_loss_stays_above_the_entropy_of_the_lesson():
    generator = torch.Generator().manual_seed(0)
    below = 0
    for _ in range(200):
        lesson, answer = (torch.randn(1, 5, generator=generator).softmax(1) for _ in range(2))
        guide = torch.rand(1, generator=generator)
        entropy = -(lesson * lesson.log()).sum().item()
        found = cross_entropy_beside(answer, lesson, guide, torch.ones(1, 5).bool()).item()
        assert found + math.log1p(5 * guide.item()) >= entropy - 1e-6
        below += found < entropy
    assert below > 50


def test_what_is_left_out_is_counted_by_errors_of_which_there_may_be_none():
    guide, hard = torch.tensor([0.0, 0.5, 1.0, 0.0]), torch.tensor([0.2, 3.0, 7.0, 0.1])
    assert left_out(guide, hard, 2, highest=5.0).item() - 0.4 == pytest.approx(2.85)
    assert left_out(guide, hard, 0, highest=5.0).isfinite()


def test_the_classes_that_count():
    logits = torch.tensor([[4.0, 3.0, 2.0, 1.0], [1.0, 2.0, 3.0, 4.0]])
    found = most_probable(logits, torch.tensor([3, 3]), 2)
    assert found.tolist() == [[True, True, False, True], [False, False, True, True]]


def test_masking_leaves_little_on_classes_that_do_not_count():
    """With the lowest logit in their place; a factor of zero would leave a quarter."""
    logits = torch.tensor([[8.0, 4.0, 2.0, -3.0, -5.0]])
    among = most_probable(logits, torch.tensor([0]), 2)
    lessons = (torch.where(among, logits, logits.amin(1, keepdim=True)) / 4).softmax(1)
    product = (logits * among / 4).softmax(1)
    assert (lessons * among).sum().item() > (product * among).sum().item()
    assert (product * among).sum().item() == pytest.approx(0.771, abs=1e-3)


def test_schedules_of_the_card():
    assert [round(strength_at(e, 200), 3) for e in (0, 25, 49, 50)] == [1.0, 3.0, 4.996, 1.0]
    assert [round(budget_at(e, 200), 3) for e in (0, 10, 19, 20)] == [0.6, 0.5, 0.401, 0.54]
    for epoch in range(200):
        assert 0.4 <= budget_at(epoch, 200) <= 0.6
    assert strength_at(3, 2) == 1.0  # trainings of few epochs have schedules, too


def test_without_a_guide_it_is_distillation():
    teacher, student = network(32, 1), network(8)
    term = Scaffolding(teacher, epochs=1, share=1.0)
    term.start(student, 1)
    inputs, targets = samples(16).tensors
    outputs = student(inputs)
    term.loss(torch.zeros(()), inputs, outputs, targets)
    with torch.no_grad():
        term._guide[-1].weight.zero_()
        term._guide[-1].bias.fill_(-100.0)  # g = 0
    found = term.loss(torch.zeros(()), inputs, outputs, targets)
    lessons, answers = (teacher(inputs) / 4.0).softmax(1), (outputs / 3.5).log_softmax(1)
    expected = 4.0 * 3.5 * -(lessons * answers).sum(1).mean()
    torch.testing.assert_close(found, expected)


def test_the_teacher_stays_and_the_guide_learns():
    teacher, student = network(32, 1), network(8)
    before = [parameter.clone() for parameter in teacher.parameters()]
    term = Scaffolding(teacher, epochs=4)
    guides = []
    fit(student, term, on_epoch=lambda _: guides.append(term._guide[0].weight.detach().clone()))
    assert not torch.equal(guides[0], guides[-1])
    for one, other in zip(before, term.teacher.parameters(), strict=True):
        assert torch.equal(one, other)
    assert {name for name, _ in student.named_parameters()} == {
        *("0.weight", "0.bias", "2.weight", "2.bias")
    }
    assert not student._forward_pre_hooks and not term.teacher[2]._forward_pre_hooks


def test_at_first_the_student_learns_the_task_alone_and_the_guide_looks_on():
    alone, beside = network(8), network(8)
    train.fit(
        alone,
        samples(),
        epochs=2,
        learning_rate=0.05,
        batch_size=32,
        label_smoothing=0.0,
        progress=False,
    )
    term = Scaffolding(network(32, 1), epochs=2, first=1.0)
    fit(beside, term, epochs=2)
    for one, other in zip(alone.parameters(), beside.parameters(), strict=True):
        torch.testing.assert_close(one, other)
    assert term._optimizer.state


def test_the_budget_is_the_guides_to_keep():
    teacher, student = network(32, 1), network(8)
    term = Scaffolding(teacher, epochs=1, share=0.0)
    term.start(student, 1)
    inputs, targets = samples(16).tensors
    term.loss(torch.zeros(()), inputs, student(inputs), targets).backward()
    assert all(p.grad is None or not p.grad.any() for p in student.parameters())
    assert any(p.grad is not None and p.grad.any() for p in term._guide.parameters())


def test_a_training_resumes_exactly(tmp_path):
    def once(checkpoint, on_epoch):
        model, term = network(8), Scaffolding(network(32, 1), epochs=4)
        fit(model, term, checkpoint=checkpoint, on_epoch=on_epoch)
        return model

    assert equal(*at_once_and_resumed(once, tmp_path))


def test_what_cannot_be_is_said_in_one_sentence():
    with pytest.raises(HwoptError, match="must be positive"):
        Scaffolding(network(8), epochs=1, classes=0)
    with pytest.raises(HwoptError, match="share of distillation"):
        Scaffolding(network(8), epochs=1, share=2.0)
    with pytest.raises(HwoptError, match="first must be between 0 and 1, not 2"):
        Scaffolding(network(8), epochs=1, first=2)
    with pytest.raises(HwoptError, match="no linear layer"):
        Scaffolding(nn.Sequential(nn.ReLU()), epochs=1)
