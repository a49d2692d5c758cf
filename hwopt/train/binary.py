"""How the weights of binary layers come to be +1 and -1: without latent weights, and with.

All are terms of a training (``fit(terms=...)``), so that any optimizer moves the other parameters.
Each leaves +1 and -1 when it is done, but for a pull without frozen epochs, such as the first phase
of BNEW; ``freeze-binary`` makes that last.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import torch
from scipy.optimize import brentq
from torch import Tensor, nn

from hwopt.errors import HwoptError
from hwopt.graph.binary import sign
from hwopt.train.terms import Term


class BinaryTerm(Term):
    """Base: finds the weights of the binary layers.

    Args:
        weights: their names, such as ``hwopt.passes.layers.binary_weights(graph)``.
        epochs: of the training.

    Raises:
        HwoptError: if there is no weight, or the model has not all of them.
    """

    epochs: int

    def __init__(self, weights: Collection[str], epochs: int) -> None:
        if not weights:
            raise HwoptError(
                "there is no binary layer to train: apply binarize first, and freeze-binary only "
                "after the training"
            )
        self.names, self.epochs = tuple(weights), epochs
        self.epoch = 0

    def __str__(self) -> str:
        return f"{type(self).__name__} {self.epochs}"

    def start(self, model: nn.Module, samples: int) -> None:
        """Find the weights and clamp them to [-1, 1]."""
        self.epoch = 0
        self.owners = []
        for name in self.names:
            path, _, leaf = name.rpartition(".")
            try:
                owner = model.get_submodule(path)
                getattr(owner, leaf)
            except AttributeError:
                message = f"the weights are of another model: it has no {name!r}"
                raise HwoptError(message) from None
            self.owners.append((owner, leaf))
        self.weights: list[Tensor] = [getattr(owner, leaf) for owner, leaf in self.owners]
        self.clamp()

    @torch.no_grad()
    def clamp(self) -> None:
        """Keep the weights between -1 and 1."""
        for weight in self.weights:
            weight.clamp_(-1, 1)

    def start_epoch(self, learning_rate: float) -> None:
        """Count the epochs from 1."""
        self.epoch += 1

    def after_step(self, learning_rate: float) -> None:
        """Keep the weights between -1 and 1."""
        self.clamp()

    @torch.no_grad()
    def project(self) -> None:
        """Put the signs in the place of the weights."""
        for weight in self.weights:
            weight.copy_(sign(weight))

    def state(self) -> dict[str, Any]:
        """Return the number of epochs that were done."""
        return {"epoch": self.epoch}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.epoch = state["epoch"]


class BinaryPull(BinaryTerm):
    """BNEW: pull real weights apart until they are +1 and -1, then hold them (Paren et al. 2022).

    After every step, not multiplied by the learning rate: w <- clamp(w + 2 rho w, -1, 1), a
    gradient step on -rho |w|^2 and a projection to the box; rho grows over the epochs e of E as
    min(strength (e + 1) / E, 1). In the last epochs the weights are their signs and are trained no
    more. With a strength of 0 it is the first phase: binary activations, real weights in [-1, 1].

    Args:
        weights: names of the binary layers' weights.
        epochs: of the training.
        strength: of the pull; 1e-4 for 1000 epochs of 352 steps in the paper's code. What counts is
            its sum over all steps: see :meth:`strength_for`.
        frozen: epochs at the end with the weights held; 20 of 1000 there.

    >>> model = nn.Linear(2, 1, bias=False)
    >>> _ = model.weight.data.copy_(torch.tensor([[0.1, -0.5]]))
    >>> pull = BinaryPull(["weight"], epochs=1, strength=0.5, frozen=0)
    >>> pull.start(model, samples=1)
    >>> pull.start_epoch(0.0)
    >>> pull.after_step(0.0)
    >>> model.weight.tolist()
    [[0.20000000298023224, -1.0]]
    """

    def __init__(
        self, weights: Collection[str], epochs: int, strength: float = 1e-4, frozen: int = 1
    ) -> None:
        super().__init__(weights, epochs)
        if strength < 0:
            raise HwoptError(f"the strength of the pull must be at least 0, not {strength}")
        if not 0 <= frozen <= epochs:
            raise HwoptError(f"frozen epochs must be 0 to {epochs}, all there are, not {frozen}")
        self.strength, self.frozen = strength, frozen

    def __str__(self) -> str:
        return f"{super().__str__()} {self.strength} {self.frozen}"

    @staticmethod
    def strength_for(growth: float, steps: int, epochs: int, frozen: int = 0) -> float:
        """Return the strength with which weights grow by exp(growth) in all, gradients aside.

        The paper's schedule for CIFAR comes to 35, so that every weight that is not zero ends at
        +1 or -1; that for ImageNet to 2.3.

        Args:
            growth: of the logarithm of a weight, at least 0.
            steps: in an epoch.
            epochs, frozen: of the training; see above.

        >>> round(BinaryPull.strength_for(35.2, steps=352, epochs=1000), 6)
        0.0001
        """
        ramp = np.arange(1, epochs - frozen + 1) / epochs

        def missing(strength: float) -> float:
            return growth - steps * float(np.log1p(2 * np.minimum(strength * ramp, 1.0)).sum())

        if growth <= 0 or not len(ramp):
            return 0.0
        # A strength of ``epochs`` is a pull of 1 from the first epoch on: there is no more.
        if missing(epochs) > 0:
            return float(epochs)
        return float(brentq(missing, 0.0, epochs, xtol=1e-12))

    def start_epoch(self, learning_rate: float) -> None:
        """Freeze the weights when their time has come."""
        super().start_epoch(learning_rate)
        if self.epoch > self.epochs - self.frozen:
            self._freeze()

    @torch.no_grad()
    def after_step(self, learning_rate: float) -> None:
        """Pull and clamp."""
        if self.epoch > self.epochs - self.frozen:
            return
        rho = min(self.strength * self.epoch / self.epochs, 1.0)
        for weight in self.weights:
            weight.mul_(1 + 2 * rho).clamp_(-1, 1)

    def _freeze(self) -> None:
        self.project()
        for weight in self.weights:
            # Without a gradient no optimizer moves it, by momentum neither.
            weight.requires_grad_(False)
            weight.grad = None

    def finish(self) -> None:
        """Let the weights be trained again."""
        for weight in self.weights:
            weight.requires_grad_(True)
