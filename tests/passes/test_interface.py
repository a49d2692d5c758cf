"""Passes that change what a network takes and returns: pixels in, answers out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import hwopt
from hwopt import passes
from hwopt.errors import HwoptError


def classifier(dense: bool = False) -> hwopt.Graph:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 5, 3, padding=1)]
    end = [] if dense else [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return hwopt.import_model(nn.Sequential(*layers, *end).eval(), torch.zeros(1, 3, 8, 12))


def called(graph, *inputs):
    with torch.no_grad():
        return graph.to_torch().eval()(*inputs)


def compiled(graph, tmp_path, *inputs):
    artifact = hwopt.compile(graph, kernel_trials=0, output=tmp_path / "artifact")
    found = artifact(*(one.numpy() for one in inputs))
    outputs = found if isinstance(found, tuple) else (found,)
    return [torch.from_numpy(np.array(one)) for one in outputs]


def drawn(make, *arguments, seed=1, **options):
    return make(*arguments, generator=torch.Generator().manual_seed(seed), **options)


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ("mean=[0.4,0.5,0.6],std=[0.2,0.3,0.1]", (8, 12, 3)),
        ("layout=channels-first,swap=true", (3, 8, 12)),
        ("size=[20,16]", (20, 16, 3)),
    ],
)
def test_pixels_become_what_the_network_took(options, shape, tmp_path):
    graph = classifier()
    taking = passes.apply(graph, f"take-pixels{{{options}}}")
    pixels = drawn(torch.randint, 256, (1, *shape), dtype=torch.uint8)
    values = pixels.double() / 255
    values = values.flip(1) if "swap" in options else values.permute(0, 3, 1, 2)
    if "size" in options:
        values = nn.functional.interpolate(values, (8, 12), mode="bilinear")
    numbers = torch.tensor([[0.4, 0.5, 0.6], [0.2, 0.3, 0.1]], dtype=torch.float64)
    mean, std = numbers.view(2, 3, 1, 1) if "mean" in options else (0.5, 0.5)
    expected = called(graph, ((values - mean) / std).float())
    torch.testing.assert_close(called(taking, pixels), expected, rtol=1e-5, atol=1e-5)
    (found,) = compiled(taking, tmp_path, pixels)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert [node.name for node in graph.nodes()] == [
        node.name for node in taking.nodes() if not node.name.startswith("take_pixels")
    ]
    assert taking.history == (*graph.history, f"take-pixels{{{options}}}")


def test_masks_codebooks_and_frozen_weights_stay():
    graph = passes.apply(classifier(), "prune-weights{ratio=0.5},share-codebook{bits=2}")
    taking = passes.apply(graph, "take-pixels")
    assert taking.masks.keys() == graph.masks.keys() and taking.codebooks == graph.codebooks
    for name, tensor in graph.parameters.items():
        assert torch.equal(taking.parameter(name), tensor)
        assert taking.is_trainable(name) == graph.is_trainable(name)


@pytest.mark.parametrize("dense", [False, True])
def test_answers_are_the_largest_probabilities(dense, tmp_path):
    graph = classifier(dense)
    x = drawn(torch.randn, 1, 3, 8, 12)
    probabilities = called(graph, x).softmax(1)
    answering = passes.apply(graph, "give-answers{top=2}")
    assert list(answering.outputs) == ["probabilities", "classes"]
    expected, classes = probabilities.topk(2, 1)
    found = compiled(answering, tmp_path / "two", x)
    torch.testing.assert_close(found[0], expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(found[1], classes) and found[1].dtype == torch.int64
    (every,) = compiled(passes.apply(graph, "give-answers{top=0}"), tmp_path / "all", x)
    torch.testing.assert_close(every, probabilities, rtol=1e-4, atol=1e-5)


class Detector(nn.Module):
    """Boxes and scores of every cell of an image, in one output or in two."""

    def __init__(self, classes: int, together: bool, centered: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Conv2d(3, 4 + classes, 3, stride=4)
        self.together, self.centered = together, centered

    def forward(self, image):
        found = self.layer(image).flatten(2)
        place, size = found[:, :2], found[:, 2:4].abs() + 1
        boxes = torch.cat([place, size if self.centered else place + size], 1)
        scores = found[:, 4:].sigmoid()
        return torch.cat([boxes, scores], 1) if self.together else (boxes.mT, scores)


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("centered", [True, False])
def test_the_surest_boxes_are_chosen(together, centered, tmp_path):
    detector = Detector(3, together, centered).eval()
    graph = hwopt.import_model(detector, torch.zeros(1, 3, 32, 32))
    names = "" if together else "boxes={},scores={},".format(*graph.outputs)
    options = f"overlap=0.3,least=0.5,most=10,centered={str(centered).lower()}"
    suppressing = passes.apply(graph, f"suppress-boxes{{{names}{options}}}")
    image = drawn(torch.randn, 2, 3, 32, 32)
    with torch.no_grad():
        outputs = detector(image)
    boxes, scores = (outputs[:, :4].mT, outputs[:, 4:]) if together else outputs
    best, classes = scores.max(1)
    chosen = [greedy(*one, 0.3, centered)[:10] for one in zip(boxes, best, classes, strict=True)]
    counts = [len(one) for one in chosen]
    assert all(1 < count < int((one > 0.5).sum()) for count, one in zip(counts, best, strict=True))
    both = [(0, place) for place in chosen[0]] + [(1, place) for place in chosen[1]]
    rows = tuple(torch.tensor(both).T)
    one_image = compiled(suppressing, tmp_path, image[:1])
    for found, of in ((called(suppressing, image), both), (one_image, both[: counts[0]])):
        images, at, how, kinds, count = found
        total = int(count)
        assert total == len(of) and len(at) == 10 * (1 + of[-1][0])
        picked = tuple(axis[:total] for axis in rows)
        assert torch.equal(images[:total], picked[0])
        torch.testing.assert_close(at[:total], boxes[picked], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(how[:total], best[picked], rtol=1e-4, atol=1e-5)
        assert torch.equal(kinds[:total], classes[picked])
        assert not at[total:].any() and not kinds[total:].any()


def test_large_boxes_of_different_classes_leave_each_other():
    class Two(nn.Module):
        def forward(self, image):
            boxes = image.new_tensor([[450.0, 450, 440, 440], [451, 451, 441, 441]])[None]
            scores = image.new_tensor([[0.9, 0.0], [0.0, 0.8]])[None]
            return boxes + image.mean(), scores

    graph = hwopt.import_model(Two(), torch.zeros(1, 3, 4, 4))
    names = "boxes={},scores={}".format(*graph.outputs)
    apart = passes.apply(graph, f"suppress-boxes{{{names},centered=true,most=2}}")
    *_, count = called(apart, torch.zeros(1, 3, 4, 4))
    assert int(count) == 2
    with pytest.raises(HwoptError, match="has no scores behind the four numbers"):
        only = hwopt.import_model(nn.Unflatten(1, (6, 4)), torch.zeros(1, 24))
        passes.apply(only, "suppress-boxes")


def greedy(boxes, scores, classes, overlap, centered):
    """Return the boxes that are kept, the surest first, in plain Python."""
    if centered:
        boxes = torch.cat([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], 1)
    kept = []
    for one in scores.argsort(descending=True).tolist():
        rivals = [k for k in kept if classes[k] == classes[one]]
        if scores[one] > 0.5 and all(shared(boxes[one], boxes[k]) <= overlap for k in rivals):
            kept.append(one)
    return kept


def shared(a, b):
    """Return the intersection of two boxes over their union."""
    low, high = torch.maximum(a[:2], b[:2]), torch.minimum(a[2:], b[2:])
    common = (high - low).clamp(min=0).prod()
    areas = [(one[2:] - one[:2]).prod() for one in (a, b)]
    return common / (areas[0] + areas[1] - common)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("take-pixels{mean=[0.1,0.2]}", "images have 3 channels, and mean has 2 numbers"),
        ("take-pixels{std=[0]}", "std must be positive"),
        ("take-pixels{size=[3]}", r"size is \[height,width\]"),
        ("take-pixels,take-pixels", "not one batch of images in float32"),
        ("give-answers{top=9}", "there are 5 classes, so none of 9"),
        ("give-answers,give-answers", "not logits"),
        ("suppress-boxes", r"are not \(N, boxes, numbers\)"),
        ("suppress-boxes{boxes=boxs,scores=output}", "unknown output 'boxs'"),
        ("suppress-boxes{boxes=output}", "boxes and scores both outputs"),
        ("suppress-boxes{boxes=output,scores=output}", "are not"),
    ],
)
def test_what_does_not_fit_is_refused(text, message):
    with pytest.raises(HwoptError, match=message):
        passes.apply(classifier(), text)
