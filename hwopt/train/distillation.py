"""Self-distillation: a network that is pruned learns from its own unpruned copy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from hwopt.errors import HwoptError, check_choice
from hwopt.train.readings import Place, last_linear
from hwopt.train.teacher import TeacherTerm

DistillationForm = Literal["attention", "cross-correlation", "cosine", "kl", "mse"]


def cross_correlation(student: Tensor, teacher: Tensor, off_diagonal: float = 5e-3) -> Tensor:
    """Return sum_i (1 - C_ii)^2 + off_diagonal * sum_{i != j} C_ij^2, a scalar.

    C is the correlation over the batch of every feature of the student with every one of the
    teacher (Barlow Twins' form, our reading of O'Neill et al. 2021). A feature that is constant
    over the batch has a correlation of zero.

    Args:
        student, teacher: features, float32 (N, d); N should be several times d.
        off_diagonal: weight of the decorrelating part.

    >>> import torch
    >>> z = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    >>> cross_correlation(z, z).item(), cross_correlation(-z, z).item()
    (0.0, 8.0)
    """
    first, second = (_standardized(features.flatten(1)) for features in (student, teacher))
    matrix = first.T @ second
    diagonal = matrix.diagonal()
    rest = (matrix**2).sum() - (diagonal**2).sum()
    return ((1 - diagonal) ** 2).sum() + off_diagonal * rest


def cosine(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean over the batch of 1 - cosine of the features' angle, a scalar."""
    return (1 - functional.cosine_similarity(student.flatten(1), teacher.flatten(1))).mean()


def attention(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean squared distance of where both look, a scalar.

    That is the mean square over the channels at every position, as a vector of length 1 (Zagoruyko
    and Komodakis 2017, section 3.1). Student and teacher may have other numbers of channels.

    Args:
        student, teacher: features, float32 (N, channels, ...), of as many positions.

    >>> import torch
    >>> teacher = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])
    >>> attention(teacher[:, :1], teacher).item(), attention(teacher.flip(2), teacher).item()
    (0.0, 2.0)
    """
    maps = [
        functional.normalize(one.square().mean(1).flatten(1), dim=1) for one in (student, teacher)
    ]
    return (maps[0] - maps[1]).square().sum(1).mean()


def divergence(student: Tensor, teacher: Tensor, temperature: float = 2.0) -> Tensor:
    """Return the Kullback-Leibler divergence of softened logits, times temperature squared."""
    log_student, log_teacher = (
        functional.log_softmax(logits / temperature, 1) for logits in (student, teacher)
    )
    mean = functional.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)
    return mean * temperature**2


_OF_FEATURES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "attention": attention,
    "cross-correlation": cross_correlation,
    "cosine": cosine,
    "mse": functional.mse_loss,
}


class SelfDistillation(TeacherTerm):
    """Minimise (1 - share) * task loss + share * distance to the unpruned network.

    The teacher is the model as it is given here: a fixed copy in eval mode. ``cross-correlation``,
    ``cosine`` and ``mse`` compare features, by default the input of the last linear layer, and
    ``attention`` where features are large, whatever channels are left; ``kl`` compares logits.
    Source: O'Neill et al. 2021 (self-distilled pruning); the forms are our reading of its abstract,
    but for ``attention``, see there.

    Args:
        teacher: maps inputs to outputs as the student does; it is copied.
        form: the distance.
        share: gamma, in [0, 1]; 0 is training without a teacher.
        layer: the submodule whose input are the features, or several.

    Raises:
        HwoptError: if the share is out of range, or there is no such layer.
    """

    def __init__(
        self,
        teacher: nn.Module,
        form: DistillationForm = "cross-correlation",
        share: float = 0.5,
        layer: str | Sequence[str] | None = None,
    ) -> None:
        check_choice("form of distillation", form, get_args(DistillationForm))
        if form != "kl" and not layer:
            layer = last_linear(teacher)
        layers = [layer] if isinstance(layer, str) else [*(layer or ())]
        places = [] if form == "kl" or share == 0 else [(one, "input") for one in layers]
        super().__init__(teacher, places, share)
        self.form, self.layers = form, layers
        self.needs_classes = form == "kl"

    def __str__(self) -> str:
        return f"self-distillation {self.form} {self.share} {' '.join(self.layers)}"

    def distance(self, outputs: Any, taught: Any) -> Tensor:
        """Return the distance of features, or of logits."""
        if self.form == "kl":
            return divergence(outputs, taught)
        return torch.stack([self._distance(place) for place in self.places]).mean()

    def _distance(self, place: Place) -> Tensor:
        student, teacher = self.read(place)
        shapes = [tuple(one.shape[1:]) for one in (student, teacher)]
        if self.form == "attention":
            if student.dim() < 3:
                raise HwoptError(f"the features at {place[0]!r} have no positions to look at")
            shapes = [shape[1:] for shape in shapes]
        if shapes[0] != shapes[1]:
            raise HwoptError(
                f"the features at {place[0]!r} have the shape {shapes[0]}, those of the teacher "
                f"{shapes[1]}: distil with form kl, which compares logits, with form attention, or "
                "at another layer"
            )
        return _OF_FEATURES[self.form](student, teacher)


def _standardized(features: Tensor) -> Tensor:
    """Subtract the batch's mean and divide by the norm; what is constant becomes zero."""
    centred = features - features.mean(0)
    return centred / centred.norm(dim=0).clamp(min=1e-12)
