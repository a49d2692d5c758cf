"""Kinds of outputs that a network can imitate: how far from the teacher's, and how alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from torch import Generator, Tensor

Kind = Literal["classes", "shares", "masks", "vectors", "numbers"]
#: Beside a value that is smaller than this, relative errors mean nothing.
_TINY = 1e-12


class OutputKind:
    """Base: what is said, and what the teacher says of the same samples, float (N, ...)."""

    def loss(self, said: Tensor, taught: Tensor, temperature: float) -> Tensor:
        """Return what training makes small, (N,); zero where both are the same."""
        raise NotImplementedError(f"{type(self).__name__} defines no loss")

    def agreement(self, said: Tensor, taught: Tensor) -> Tensor:
        """Return how alike both are, in [0, 1], (N,)."""
        raise NotImplementedError(f"{type(self).__name__} defines no agreement")

    def slope(self, taught: Tensor, temperature: float, generator: Generator) -> Tensor:
        """Return random slopes at what is taught, (N, ...).

        Their second moment is the second derivative of the loss there, where the network gains
        nothing by a first one.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no slope")


class Classes(OutputKind):
    """Logits (N, C, ...): divergence of softened ones; share of the same largest one."""

    def loss(self, said: Tensor, taught: Tensor, temperature: float) -> Tensor:
        """Return the divergence, times the squared temperature."""
        from torch.nn.functional import log_softmax

        log_said, log_taught = (log_softmax(one / temperature, 1) for one in (said, taught))
        parts = (log_taught.exp() * (log_taught - log_said)).sum(1)
        return _mean(parts) * temperature**2

    def agreement(self, said: Tensor, taught: Tensor) -> Tensor:
        """Return the share of positions with the same largest one."""
        return _mean((said.argmax(1) == taught.argmax(1)).double())

    def slope(self, taught: Tensor, temperature: float, generator: Generator) -> Tensor:
        """Return probabilities less a drawn label's: the gradient of its cross entropy."""
        shares = (taught / temperature).softmax(1)
        return (shares - _drawn(shares, generator)) / _positions(taught) ** 0.5


class Shares(Classes):
    """Probabilities (N, C, ...): divergence; share of the same largest one."""

    def loss(self, said: Tensor, taught: Tensor, temperature: float) -> Tensor:
        """Return the divergence."""
        log_said, log_taught = (one.clamp(min=_TINY).log() for one in (said, taught))
        return _mean((taught * (log_taught - log_said)).sum(1))

    def slope(self, taught: Tensor, temperature: float, generator: Generator) -> Tensor:
        """Return the gradient of the cross entropy of a drawn label."""
        drawn = _drawn(taught, generator)
        return -drawn / taught.clamp(min=_TINY) / _positions(taught) ** 0.5


class Masks(OutputKind):
    """Logits of yes and no: binary cross entropy; intersection over union of what is yes."""

    def loss(self, said: Tensor, taught: Tensor, temperature: float) -> Tensor:
        """Return the cross entropy to probabilities, less the least that there is."""
        from torch.nn import functional

        wanted = taught.sigmoid()
        parts = functional.binary_cross_entropy_with_logits(said, wanted, reduction="none")
        # What certainty is not there is not asked for: imitating exactly is no loss.
        least = functional.binary_cross_entropy(wanted, wanted, reduction="none")
        return _mean(parts - least)

    def agreement(self, said: Tensor, taught: Tensor) -> Tensor:
        """Return the intersection over union, 1 where nothing is yes."""
        one, other = said.reshape(len(said), -1) > 0, taught.reshape(len(said), -1) > 0
        both, either = (one & other).sum(1).double(), (one | other).sum(1).double()
        return (both / either.clamp(min=1)).masked_fill(either == 0, 1.0)

    def slope(self, taught: Tensor, temperature: float, generator: Generator) -> Tensor:
        """Return probabilities less drawn answers."""
        import torch

        wanted = taught.sigmoid()
        return (wanted - torch.bernoulli(wanted, generator=generator)) / _size(taught) ** 0.5


class Vectors(OutputKind):
    """Embeddings (N, ...): 1 - cosine; the cosine."""

    def loss(self, said: Tensor, taught: Tensor, temperature: float) -> Tensor:
        """Return 1 - cosine."""
        from torch.nn.functional import cosine_similarity

        return 1 - cosine_similarity(said.flatten(1), taught.flatten(1))

    def agreement(self, said: Tensor, taught: Tensor) -> Tensor:
        """Return the cosine, at least 0."""
        return 1 - self.loss(said, taught, 1.0).clamp(max=1)

    def slope(self, taught: Tensor, temperature: float, generator: Generator) -> Tensor:
        """Return noise across the direction, over the length."""
        from torch.nn.functional import normalize

        along = normalize(taught.flatten(1), dim=1, eps=_TINY)
        noise = _noise(along, generator)
        across = noise - (noise * along).sum(1, keepdim=True) * along
        length = taught.flatten(1).norm(dim=1, keepdim=True).clamp(min=_TINY)
        return (across / length).view_as(taught)


class Numbers(OutputKind):
    """Any (N, ...): squared error beside the variance; 1 - relative error."""

    def loss(self, said: Tensor, taught: Tensor, temperature: float) -> Tensor:
        """Return the mean squared error over the variance of all that is taught."""
        return _mean((said - taught).square()) / _variance(taught)

    def agreement(self, said: Tensor, taught: Tensor) -> Tensor:
        """Return 1 - the norm of the difference over that of what is taught, at least 0."""
        one, other = said.reshape(len(said), -1), taught.reshape(len(said), -1)
        error = (one - other).norm(dim=1) / other.norm(dim=1).clamp(min=_TINY)
        return (1 - error).clamp(min=0)

    def slope(self, taught: Tensor, temperature: float, generator: Generator) -> Tensor:
        """Return noise."""
        scale = (2 / (_size(taught) * _variance(taught))) ** 0.5
        return _noise(taught, generator) * scale


#: What is known of each kind.
KINDS: Mapping[str, OutputKind] = dict(
    zip(get_args(Kind), (Classes(), Shares(), Masks(), Vectors(), Numbers()), strict=True)
)


def kind_of(output: Tensor) -> Kind:
    """Return what an output is taken for where nobody says; see the task ``imitate``."""
    if output.dim() not in (2, 4, 5) or output.shape[1] < 2:
        return "numbers"
    sums = output.detach().sum(1)
    is_shares = bool((output >= 0).all()) and bool(((sums - 1).abs() < 1e-3).all())
    return "shares" if is_shares else "classes"


def _mean(parts: Tensor) -> Tensor:
    return parts.reshape(len(parts), -1).mean(1)


def _size(output: Tensor) -> int:
    return output[0].numel()


def _positions(output: Tensor) -> int:
    """Return how many answers a sample has."""
    return output[0, 0].numel()


def _variance(taught: Tensor) -> Tensor:
    return taught.var(unbiased=False).clamp(min=_TINY)


def _noise(like: Tensor, generator: Generator) -> Tensor:
    import torch

    return torch.randn(like.shape, generator=generator, dtype=like.dtype)


def _drawn(shares: Tensor, generator: Generator) -> Tensor:
    """Return ones where labels are, which are drawn by their probabilities (N, C, ...)."""
    import torch

    last = shares.movedim(1, -1)
    labels = torch.multinomial(last.reshape(-1, last.shape[-1]), 1, generator=generator)
    ones = torch.zeros_like(last.reshape(-1, last.shape[-1])).scatter_(1, labels, 1.0)
    return ones.view_as(last).movedim(-1, 1)
