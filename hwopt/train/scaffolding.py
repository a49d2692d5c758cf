"""Scaffolded distillation: a guide tells the student which of the teacher's lessons to leave."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from hwopt.data import run_model
from hwopt.errors import HwoptError
from hwopt.train.readings import Readings, last_linear
from hwopt.train.teacher import TeacherTerm


class Scaffolding(TeacherTerm):
    """Distil a teacher, but for what is too hard for the student (DiSK).

    A guide g in (0, 1) of every input is learned with the student and gone afterwards: near 1 the
    teacher's answer counts nothing. With the softened answers t and s, over the set A of the
    teacher's ``classes`` most probable ones and the label, there is minimised

        (1 - share) * task loss + share * (T_t T_s * mean sum_A -t log(s + g) + mean log(1 + |A| g))
        + strength * max(0, sum g min(cross entropy, highest) / errors - budget).

    Strength and budget follow the epochs: :func:`strength_at`, :func:`budget_at`. The guide reads
    what the teacher's last linear layer does. Source: Kag et al. 2023 (Scaffolding a student to
    instill knowledge).

    Our reading, where the authors' student begins from a checkpoint and takes turns with the guide:
    both take their steps together; in the first epochs the student learns the task alone, while the
    guide looks on; and the budget is the guide's to keep: no gradient of it goes to the student,
    whose steps it made ever larger the fewer errors there were.

    Args:
        teacher: maps inputs to logits; it is copied.
        epochs: of the training.
        share: in [0, 1].
        classes: K, those of the teacher's that count.
        teacher_temperature, student_temperature: T_t and T_s.
        highest: the cross entropy above which an input is not harder.
        width: of the guide's layers.
        rate: of the guide's AdamW.
        first: share of the epochs in which the student learns the task alone.

    Raises:
        HwoptError: if a number is out of range, or the teacher has no linear layer.
    """

    alone = True  # the guide would be another in every process
    needs_classes = True
    epochs: int

    def __init__(
        self,
        teacher: nn.Module,
        epochs: int,
        share: float = 0.9,
        classes: int = 10,
        teacher_temperature: float = 4.0,
        student_temperature: float = 3.5,
        highest: float = 5.0,
        width: int = 64,
        rate: float = 1e-3,
        first: float = 1 / 3,
    ) -> None:
        if not 0 <= first <= 1:
            raise HwoptError(f"Scaffolding: first must be between 0 and 1, not {first}")
        if min(classes, width) < 1 or min(teacher_temperature, student_temperature, highest) <= 0:
            raise HwoptError(
                "Scaffolding: classes, width, temperatures and highest must be positive, not "
                f"{classes}, {width}, {teacher_temperature}, {student_temperature} and {highest}"
            )
        super().__init__(teacher, [], share)
        self.place = (last_linear(self.teacher), "input")
        self.epochs, self.classes, self.highest = epochs, classes, highest
        self.temperatures = teacher_temperature, student_temperature
        self.width, self.rate, self.first = width, rate, first

    def __str__(self) -> str:
        numbers = (
            self.share,
            self.classes,
            *self.temperatures,
            self.highest,
            self.width,
            self.rate,
            self.first,
        )
        return f"scaffolding {' '.join(map(str, numbers))}"

    def start(self, model: nn.Module, samples: int) -> None:
        """Listen to the teacher; the guide is made in the first step, as wide as its features."""
        super().start(model, samples)
        self._features = Readings(self.teacher, [self.place])
        self._guide: nn.Sequential | None = None
        self._epoch = 0

    def start_epoch(self, learning_rate: float) -> None:
        """Go on in the schedules."""
        self._epoch += 1

    def loss(self, loss: Tensor, inputs: Any, outputs: Any, targets: Any) -> Tensor:
        """Return the sum above; in the first epochs the task's and, for the guide alone, the rest.

        See the class.
        """
        looks_on = max(0, self._epoch - 1) < round(self.first * self.epochs)
        rest = self._rest(inputs, outputs.detach() if looks_on else outputs, targets)
        return loss + rest if looks_on else (1 - self.share) * loss + rest

    def _rest(self, inputs: Any, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return what is learned from the teacher, and the budget."""
        with torch.no_grad():
            taught = run_model(self.teacher, self.task.feed(inputs))
        features = self._features.of(self.place).flatten(1)
        if self._guide is None:
            self._make_guide(features.shape[1])
        assert self._guide is not None
        guide = self._guide(features)[:, 0].sigmoid()
        teacher, student = self.temperatures
        among = most_probable(taught, targets, self.classes)
        lowest = taught.amin(1, keepdim=True)
        lessons = (torch.where(among, taught, lowest) / teacher).softmax(1) * among
        answers = (outputs / student).softmax(1)
        taken = teacher * student * cross_entropy_beside(answers, lessons, guide, among)
        normal = torch.log1p(among.sum(1) * guide).mean()
        hard = functional.cross_entropy(outputs.detach(), taught.argmax(1), reduction="none")
        errors = (outputs.argmax(1) != targets).sum()
        strength, budget = self._schedules()
        left = left_out(guide, hard, errors, self.highest) - budget
        kept = strength * left.clamp(min=0)
        return self.share * (taken + normal) + kept

    def after_step(self, learning_rate: float) -> None:
        """Take a step with the guide."""
        self._optimizer.step()
        self._optimizer.zero_grad()

    def note(self) -> str:
        """Return the schedules' numbers."""
        strength, budget = self._schedules()
        return f"budget {budget:.3g}, strength {strength:.3g}"

    def state(self) -> dict[str, Any]:
        """Return the guide."""
        assert self._guide is not None
        return {
            "epoch": self._epoch,
            "guide": dict(self._guide.state_dict()),
            "optimizer": self._optimizer.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self._epoch = state["epoch"]
        self._make_guide(state["guide"]["0.weight"].shape[1])
        assert self._guide is not None
        self._guide.load_state_dict(state["guide"])
        self._optimizer.load_state_dict(state["optimizer"])

    def finish(self) -> None:
        """Stop listening."""
        super().finish()
        self._features.stop()

    def _schedules(self) -> tuple[float, float]:
        """Return strength and budget; the first epoch is their zeroth."""
        epoch = self._epoch - 1
        return strength_at(epoch, self.epochs), budget_at(epoch, self.epochs)

    def _make_guide(self, features: int) -> None:
        layers = [nn.Linear(features, self.width), nn.ReLU(), nn.Linear(self.width, self.width)]
        self._guide = nn.Sequential(*layers, nn.ReLU(), nn.Linear(self.width, 1))
        self._optimizer = torch.optim.AdamW(self._guide.parameters(), self.rate)


def most_probable(logits: Tensor, targets: Tensor, classes: int) -> Tensor:
    """Return which are the most probable classes of each row, or its label: bool (N, all classes).

    >>> most_probable(torch.tensor([[3.0, 2.0, 1.0]]), torch.tensor([2]), 1)
    tensor([[ True, False,  True]])
    """
    among = torch.zeros_like(logits, dtype=torch.bool)
    among.scatter_(1, logits.topk(min(classes, logits.shape[1]), 1).indices, True)
    return among.scatter_(1, targets[:, None], True)


def cross_entropy_beside(answers: Tensor, lessons: Tensor, guide: Tensor, among: Tensor) -> Tensor:
    """Return the mean over rows of sum -t log(s + g), a scalar.

    Args:
        answers, lessons: probabilities s and t, (N, classes).
        guide: g, (N,).
        among: the classes that count, bool (N, classes).

    >>> s, t = torch.tensor([[0.1, 0.9]]), torch.tensor([[1.0, 0.0]])
    >>> cross_entropy_beside(s, t, torch.tensor([0.4]), torch.ones(1, 2).bool())
    tensor(0.6931)
    """
    beside = answers + guide[:, None] * among
    return -(lessons * beside.clamp(min=1e-12).log()).sum(1).mean()


def left_out(guide: Tensor, hard: Tensor, errors: Tensor | int, highest: float) -> Tensor:
    """Return sum g min(hardness, highest) over the number of errors, at least 1: a scalar.

    >>> guide, hard = torch.tensor([0.0, 0.5, 1.0, 0.0]), torch.tensor([0.2, 3.0, 7.0, 0.1])
    >>> left_out(guide, hard, errors=2, highest=5.0)
    tensor(3.2500)
    """
    return (guide * hard.clamp(max=highest)).sum() / max(1, int(errors))


def strength_at(epoch: int, epochs: int) -> float:
    """Return the budget's strength: from 1 to 5 in a quarter of the epochs, and then anew.

    The authors' quarter is 50 epochs.

    >>> [round(strength_at(epoch, 200), 3) for epoch in (0, 25, 49, 50)]
    [1.0, 3.0, 4.996, 1.0]
    """
    period = max(1, epochs // 4)
    return 1 + 4 * _rise(epoch % period, period)


def budget_at(epoch: int, epochs: int) -> float:
    """Return the budget: from 0.6 to 0.4 in a tenth of the epochs, and then anew from 0.9 of that.

    The authors' tenth is 20 epochs. What it begins from never goes below 0.4.

    >>> [round(budget_at(epoch, 200), 3) for epoch in (0, 10, 19, 20)]
    [0.6, 0.5, 0.401, 0.54]
    """
    period = max(1, epochs // 10)
    lowest = 0.4
    highest = max(lowest, 0.6 * 0.9 ** (epoch // period))
    return highest - (highest - lowest) * _rise(epoch % period, period)


def _rise(step: int, period: int) -> float:
    """Return half a cosine from 0 to 1."""
    return (1 - math.cos(math.pi * step / period)) / 2
