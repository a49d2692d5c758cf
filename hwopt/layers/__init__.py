"""Trainable layers of our own, for models and for passes that substitute them."""

from hwopt.graph.advection_diffusion import OPERATOR as advection_diffusion
from hwopt.graph.anchors import OPERATOR as interpolate_anchors
from hwopt.graph.cond import OPERATOR as cond
from hwopt.layers.global_layer import GlobalLayer
from hwopt.layers.routers import Doubt, Entropy, Router
from hwopt.layers.spatial_interpolation import AnchorMix, SpatialInterpolation

__all__ = [
    "AnchorMix",
    "Doubt",
    "Entropy",
    "GlobalLayer",
    "Router",
    "SpatialInterpolation",
    "advection_diffusion",
    "cond",
    "interpolate_anchors",
]
