"""The time step of the Global layer: advection and diffusion of every channel on a torus."""

from __future__ import annotations

import torch
from torch import Tensor

from hwopt.errors import HwoptError
from hwopt.graph import composed

SCHEMA = (
    "(Tensor state, Tensor previous, Tensor velocity_h, Tensor velocity_w, Tensor? source=None, "
    "Tensor? diffusivity_h=None, Tensor? diffusivity_w=None, float diffusivity=1.0, "
    "float time_step=0.2, SymInt spacing=1) -> Tensor"
)


def advection_diffusion(
    state: Tensor,
    previous: Tensor,
    velocity_h: Tensor,
    velocity_w: Tensor,
    source: Tensor | None = None,
    diffusivity_h: Tensor | None = None,
    diffusivity_w: Tensor | None = None,
    diffusivity: float = 1.0,
    time_step: float = 0.2,
    spacing: int = 1,
) -> Tensor:
    """Return H(t + dt) of dH/dt = div(D grad H) + div(v H) + f from H(t) and H(t - dt).

    Leap-frog in time with the average of DuFort and Frankel at the centre of the diffusion, central
    differences in space; what leaves the image at one side enters it at the other. Source: Kag and
    Saligrama 2022 (Condensing CNNs with partial differential equations), as in the authors' code.

    Args:
        state: H(t), float (N, C, H, W).
        previous: H(t - dt), like the state; so are all other tensors.
        velocity_h, velocity_w: v along rows and columns of pixels, in pixels a unit of time. Steps
            stay bounded for any number of them if |v_h| + |v_w| is at most spacing / time_step.
        source: f; none if None.
        diffusivity_h, diffusivity_w: D, at least 0; None where it is the same everywhere.
        diffusivity: D where it is the same everywhere.
        time_step: dt.
        spacing: the distance of neighbours, in pixels.

    Returns:
        H(t + dt), like the state.

    Raises:
        HwoptError: if shapes differ.

    >>> impulse = torch.zeros(1, 1, 5, 5)
    >>> impulse[..., 2, 2] = 9
    >>> still = torch.zeros(1, 1, 5, 5)
    >>> advection_diffusion(impulse, impulse, still, still)[0, 0].round(decimals=4)
    tensor([[0., 0., 0., 0., 0.],
            [0., 0., 2., 0., 0.],
            [0., 2., 1., 2., 0.],
            [0., 0., 2., 0., 0.],
            [0., 0., 0., 0., 0.]])
    """
    fields = (previous, velocity_h, velocity_w, source, diffusivity_h, diffusivity_w)
    for field in fields:
        if field is not None and field.shape != state.shape:
            raise HwoptError(
                f"advection_diffusion: all tensors must be like the state, {tuple(state.shape)}, "
                f"not {tuple(field.shape)}: expand them"
            )

    def ahead(x: Tensor, dim: int) -> Tensor:
        return torch.roll(x, -spacing, dim)

    def behind(x: Tensor, dim: int) -> Tensor:
        return torch.roll(x, spacing, dim)

    scale = 2 * time_step / spacing**2
    spread_h = scale * (diffusivity if diffusivity_h is None else diffusivity_h)
    spread_w = scale * (diffusivity if diffusivity_w is None else diffusivity_w)
    result = previous * (1 - spread_h - spread_w)
    divergence: Tensor | float = 0.0
    for dim, spread, velocity in ((2, spread_h, velocity_h), (3, spread_w, velocity_w)):
        after, before = ahead(state, dim), behind(state, dim)
        flow = velocity * (time_step / spacing)
        result = result + spread * (after + before) + flow * (after - before)
        divergence = divergence + ahead(flow, dim) - behind(flow, dim)
    result = result + divergence * state
    if source is not None:
        result = result + 2 * time_step * source
    return result / (1 + spread_h + spread_w)


OPERATOR = composed.define(advection_diffusion, SCHEMA)
