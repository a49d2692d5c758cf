"""The Global layer: features move and spread over the image, as a differential equation says."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from hwopt.errors import HwoptError
from hwopt.graph.advection_diffusion import OPERATOR as advection_diffusion

#: The largest velocity in each of two directions, of spacing / time step, with which any number of
#: steps stays bounded: the two together must stay below 1.
COURANT = 0.45


class GlobalLayer(nn.Module):
    """Solve dH/dt = div(D grad H) + div(v H) + f for a few steps, channel by channel.

    f is the input, where H also begins unless another start is given. Velocities, and with
    ``diffusivity=None`` diffusivities, are depthwise 3x3 convolutions of the start with batch norm,
    limited to what keeps the steps stable (our choice; the authors have batch norms with a large
    epsilon). The result passes a batch norm and a ReLU. Without biases these are 46 parameters a
    channel, 24 with a constant diffusivity. Source: Kag and Saligrama 2022 (Condensing CNNs with
    partial differential equations), as in the authors' code.

    Args:
        channels: C of the input.
        steps: K; what lies up to K x spacing pixels away is reached.
        diffusivity: D where it is constant; it is learned if None.
        time_step: dt.
        spacing: the distance of neighbours, in pixels.
        source: whether f is there.
        activation: whether a ReLU stands at the end.

    Raises:
        HwoptError: if a number is out of range.

    >>> import torch
    >>> layer = GlobalLayer(16)
    >>> layer(torch.randn(2, 16, 8, 8)).shape, sum(p.numel() for p in layer.parameters())
    (torch.Size([2, 16, 8, 8]), 736)
    """

    def __init__(
        self,
        channels: int,
        steps: int = 1,
        *,
        diffusivity: float | None = None,
        time_step: float = 0.2,
        spacing: int = 1,
        source: bool = True,
        activation: bool = True,
    ) -> None:
        super().__init__()
        check(steps, diffusivity, time_step, spacing)
        self.steps, self.time_step, self.spacing = steps, time_step, spacing
        self.constant_diffusivity, self.has_source = diffusivity, source
        fastest = COURANT * spacing / time_step
        self.velocity_h, self.velocity_w = (
            _field(channels, nn.Hardtanh(0.0, fastest)) for _ in range(2)
        )
        if diffusivity is None:
            self.diffusivity_h, self.diffusivity_w = (_field(channels, nn.ReLU()) for _ in range(2))
        self.norm = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU() if activation else nn.Identity()

    def forward(self, x: Tensor, start: Tensor | None = None) -> Tensor:
        """Map float (N, C, H, W) to the same shape; ``start`` is H(0), the input if None."""
        state, previous = x if start is None else start, x
        u, v = self.velocity_h(state), self.velocity_w(state)
        source = x if self.has_source else None
        if self.constant_diffusivity is None:
            spreads = self.diffusivity_h(state), self.diffusivity_w(state), 1.0
        else:
            spreads = None, None, self.constant_diffusivity
        for _ in range(self.steps):
            following = advection_diffusion(
                state, previous, u, v, source, *spreads, self.time_step, self.spacing
            )
            state, previous = following, state
        result: Tensor = self.relu(self.norm(state))
        return result


def check(steps: int, diffusivity: float | None, time_step: float, spacing: int) -> None:
    """Check the numbers of a Global layer.

    Raises:
        HwoptError: if one is out of range; it is named.
    """
    for name, value, least in (("steps", steps, 0), ("spacing", spacing, 1)):
        if value < least:
            raise HwoptError(f"{name} of a Global layer must be at least {least}, not {value}")
    if not time_step > 0:
        raise HwoptError(f"time_step of a Global layer must be above 0, not {time_step}")
    if diffusivity is not None and not diffusivity >= 0:
        raise HwoptError(f"diffusivity of a Global layer must be at least 0, not {diffusivity}")


def _field(channels: int, limit: nn.Module) -> nn.Sequential:
    conv = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
    modules = {"conv": conv, "bn": nn.BatchNorm2d(channels), "limit": limit}
    return nn.Sequential(OrderedDict(modules))
