"""Interpolation between anchors: what it reproduces, and what stands where."""

import pytest
import torch

from hwopt.errors import HwoptError
from hwopt.graph.anchors import OPERATOR as INTERPOLATE


def zeros_and_weight(height, width, weight=0.0, channels=1):
    return torch.zeros(1, channels, height, width), torch.full((channels, 1, 1), weight)


def at_anchors(x, stride):
    return x[:, :, ::stride, ::stride]


@pytest.mark.parametrize("stride", [1, 2, 3, 4])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 5), (8, 9), (13, 4)])
def test_constants_and_affine_maps_are_reproduced(stride, height, width):
    cheap, weight = zeros_and_weight(height, width)
    constant = torch.full((1, 1, height, width), 0.3)
    assert torch.equal(INTERPOLATE(at_anchors(constant, stride), cheap, weight, stride), constant)
    rows, columns = torch.arange(height).view(-1, 1), torch.arange(width)
    affine = (2.0 * rows - 3.0 * columns + 1.0).view(1, 1, height, width)
    result = INTERPOLATE(at_anchors(affine, stride), cheap, weight, stride)
    last = ((height - 1) // stride * stride + 1, (width - 1) // stride * stride + 1)
    inside = (..., slice(last[0]), slice(last[1]))
    assert torch.allclose(result[inside], affine[inside], rtol=0, atol=1e-5)


@pytest.mark.parametrize("stride", [2, 3])
@pytest.mark.parametrize("weight", [0.0, 0.4, 1.0])
def test_anchors_stand_where_they_are_for_every_weight(stride, weight):
    cheap = torch.randn(2, 3, 7, 8)
    anchors = torch.randn_like(at_anchors(cheap, stride))
    result = INTERPOLATE(anchors, cheap, torch.full((3, 1, 1), weight), stride)
    assert torch.equal(at_anchors(result, stride), anchors)


def test_a_weight_of_one_leaves_the_cheap_pixels_and_of_zero_none_of_them():
    cheap = torch.randn(2, 3, 7, 8, requires_grad=True)
    anchors = torch.randn(2, 3, 4, 4)
    elsewhere = torch.ones(7, 8, dtype=torch.bool)
    elsewhere[::2, ::2] = False
    result = INTERPOLATE(anchors, cheap, torch.ones(3, 1, 1), 2)
    assert torch.equal(result[..., elsewhere], cheap[..., elsewhere])
    (gradient,) = torch.autograd.grad(
        INTERPOLATE(anchors, cheap, torch.zeros(3, 1, 1), 2).sum(), cheap
    )
    assert not gradient.any()


def test_equals_torchs_interpolation_between_aligned_corners():
    anchors = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    expected = torch.nn.functional.interpolate(
        anchors, size=(10, 13), mode="bilinear", align_corners=True
    )
    cheap, weight = torch.zeros_like(expected), torch.zeros(3, 1, 1, dtype=torch.float64)
    assert torch.allclose(INTERPOLATE(anchors, cheap, weight, 3), expected, rtol=0, atol=1e-14)


def test_a_stride_of_one_gives_the_anchors_themselves():
    anchors, cheap = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    assert torch.equal(INTERPOLATE(anchors, cheap, torch.full((3, 1, 1), 0.5), 1), anchors)


def test_gradients_are_those_of_finite_differences():
    def random(*shape):
        return torch.rand(*shape, dtype=torch.float64, requires_grad=True)

    tensors = (random(1, 2, 2, 3), random(1, 2, 4, 5), random(2, 1, 1))
    assert torch.autograd.gradcheck(lambda *t: INTERPOLATE(*t, 2), tensors)


@pytest.mark.parametrize(
    ("anchors", "weight"),
    [((1, 3, 6, 5), (3, 1, 1)), ((1, 3, 3, 3), (3, 1)), ((1, 3, 3, 3), (1, 1, 1))],
)
def test_shapes_that_do_not_fit_are_refused(anchors, weight):
    with pytest.raises(HwoptError, match=r"anchors must be \(1, 3, 3, 3\) and weights \(3, 1, 1\)"):
        INTERPOLATE(torch.zeros(anchors), torch.zeros(1, 3, 6, 5), torch.zeros(weight), 2)
