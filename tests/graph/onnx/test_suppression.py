"""Non-maximum suppression beside ONNX Runtime's: as many rows as can be, and a count."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import helper

import hwopt
from hwopt.errors import HwoptError
from tests.graph.onnx.files import write

BOXES, CLASSES = 40, 3


def _inputs(seed: int, centered: bool, corners: int = 2) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    places = generator.uniform(0, 10, (corners, BOXES, 2))
    sizes = generator.uniform(1, 5, places.shape) * (1 if centered else generator.choice([-1, 1]))
    second = sizes if centered else places + sizes
    scores = generator.uniform(0, 1, (corners, CLASSES, BOXES)).round(2)
    boxes = np.concatenate([places, second], -1)
    return {"boxes": boxes.astype("float32"), "scores": scores.astype("float32")}


def _file(folder, limits: dict[str, float], centered: bool = False):
    node = helper.make_node(
        "NonMaxSuppression", ["boxes", "scores", *limits], ["rows"], center_point_box=int(centered)
    )
    weights = {n: np.array([v], "int64" if n == "most" else "float32") for n, v in limits.items()}
    shapes = {"boxes": ["n", BOXES, 4], "scores": ["n", CLASSES, BOXES]}
    return write(folder / "n.onnx", [node], shapes, {"rows": "int64"}, weights)


@pytest.mark.slow
@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize(
    "limits",
    [
        {"most": 5, "overlap": 0.3, "least": 0.4},
        {"most": 100, "overlap": 0.5},
        {"most": 7, "overlap": 0.0, "least": 0.99},
        {"most": 3},
        {},
    ],
)
def test_the_same_rows_as_onnx_runtime(tmp_path, limits, centered):
    path = _file(tmp_path, limits, centered)
    given = _inputs(len(limits), centered)
    graph = hwopt.import_model(path, {n: torch.from_numpy(x) for n, x in given.items()})
    assert list(graph.outputs) == ["rows", "rows_count"]
    artifact = hwopt.compile(
        graph, {n: torch.from_numpy(x) for n, x in given.items()}, kernel_trials=0
    )
    for seed in range(3):
        given = _inputs(seed, centered)
        (expected,) = onnxruntime.InferenceSession(path).run(None, given)
        in_torch = graph.to_torch()(*map(torch.from_numpy, given.values()))
        for found, total in (artifact(*given.values()), in_torch):
            rows, count = np.asarray(found), int(total)
            assert len(rows) == 2 * CLASSES * min(limits.get("most", 0), BOXES)
            np.testing.assert_array_equal(rows[:count], expected)
            assert (rows[count:] == -1).all()


def test_a_limit_that_is_an_input_is_refused(tmp_path):
    node = helper.make_node("NonMaxSuppression", ["boxes", "scores", "most"], ["rows"])
    shapes = {"boxes": [1, 4, 4], "scores": [1, 1, 4], "most": ("int64", [1])}
    path = write(tmp_path / "n.onnx", [node], shapes, ["rows"])
    with pytest.raises(HwoptError, match="a limit that depends on an input"):
        hwopt.import_model(path)
