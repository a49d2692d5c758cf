"""Easy inputs by a small network, the others by an expert: accuracy beside mean measured latency.

    python -m benchmarks routing           # trainings: an hour
    python -m benchmarks routing_latency   # then, on a machine that does nothing else

Thresholds are chosen on held-out images for a coverage, the share of inputs that stay easy, and
everything is reported on the test set.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from torch.utils.data import Dataset, Subset

import hwopt
from benchmarks.experiment import Experiment, Key
from benchmarks.records import Records, mean_and_spread, measured_on
from benchmarks.routed_nets import BUDGET, ROUTERS, expert, routed, small
from hwopt import data, targets
from hwopt.passes.routing import RoutedValues, with_threshold
from hwopt.report import markdown
from hwopt.report.plots import curves, png
from hwopt.routing.routed_parts import answers, judged
from hwopt.routing.routes import choose_point, route_points
from hwopt.train import evaluate

SEEDS = (0, 1, 2)
COVERAGES = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
#: Whose latency is measured.
MEASURED = (0.6, 0.7, 0.8, 0.9)
#: Test images of a latency, in turns of some.
TIMED, TURN = 2000, 200
THREADS = 1
PICTURE = Path(__file__).parents[1] / "docs" / "images" / "routing.png"


def run(router: str, seed: int, **_: Any) -> dict[str, Any]:
    """Return coverage and accuracy on the test set of thresholds chosen for coverages."""
    images = data.load("fashion-mnist")
    graph = routed(router, seed)
    chosen = route_points(*judged(graph, images.validation))
    of_small, of_large, score = judged(graph, images.test)
    points = []
    for wanted in COVERAGES:
        threshold = choose_point(chosen, coverage=wanted).threshold
        asks = score > threshold
        right = np.where(asks, of_large, of_small)
        points.append([wanted, threshold, 1 - float(asks.mean()), float(right.mean())])
    return {
        "small": float(of_small.mean()),
        "expert": float(of_large.mean()),
        "small alone": evaluate(small(seed).to_torch(), images.test).quality,
        "points": points,
    }


def latency(router: str, seed: int, used_threads: int, **_: Any) -> dict[str, Any]:
    """Return mean latencies over test images, side by side, and whether the artefact is right."""
    test = data.load("fashion-mnist").test
    target = targets.get("host", threads=used_threads)
    graph = routed(router, seed)
    (found,) = Records("routing").find_all({"router": router, "seed": seed, **BUDGET})
    thresholds = {wanted: threshold for wanted, threshold, *_ in found["points"]}
    graphs = {"small": small(seed), "expert": expert(seed)}
    graphs |= {str(wanted): with_threshold(graph, thresholds[wanted]) for wanted in MEASURED}
    artifacts = {name: hwopt.compile(graph, target=target) for name, graph in graphs.items()}
    compared = str(MEASURED[1])
    return timed(artifacts, test) | {
        "equality": equality(artifacts[compared], graphs[compared], test)
    }


def timed(artifacts: Mapping[str, hwopt.Artifact], images: Dataset[Any]) -> dict[str, Any]:
    """Time all artefacts over the same images, a few of each in turn."""
    turns: dict[str, list[Any]] = {name: [] for name in artifacts}
    for start in range(0, TIMED, TURN):
        part = Subset(images, range(start, start + TURN))
        for name, artifact in artifacts.items():
            turns[name].append(artifact.benchmark(part))
    return {
        "mean_ms": {name: mean(one.mean_ms for one in found) for name, found in turns.items()},
        "p99_ms": {name: mean(one.p99_ms for one in found) for name, found in turns.items()},
        "easy_ms": {
            name: float(np.median([one.easy.median_ms for one in found if one.easy]))
            for name, found in turns.items()
        },
        "coverage": {name: mean(one.coverage for one in found) for name, found in turns.items()},
    }


def equality(artifact: hwopt.Artifact, graph: hwopt.Graph, images: Dataset[Any]) -> dict[str, Any]:
    """Compare routes and labels of an artefact and of torch on all images.

    Of inputs whose scores differ from the threshold by rounding alone either route is right.
    """
    of_small, of_large, score = (one.numpy() for one in answers(graph, images)[:3])
    threshold = RoutedValues.of(graph).threshold
    asks = score > threshold
    labels = np.where(asks[:, None], of_large, of_small).argmax(1)
    found, routes = [], []
    for inputs, _ in data.batches(images, 1):
        found.append(artifact(inputs.numpy()).argmax())
        routes.append(bool(artifact.asked))
    other_route = np.array(routes) != asks
    tied = np.abs(score - threshold) <= 1e-4 * np.maximum(1, np.abs(score))
    other_label = np.array(found) != labels
    return {
        "images": len(score),
        "other routes": int(other_route.sum()),
        "of these tied": int((other_route & tied).sum()),
        "other labels on one route": int((other_label & ~other_route).sum()),
    }


def section(runs: list[dict[str, Any]]) -> Iterator[str]:
    """Accuracy by router and coverage; latency; the picture."""
    yield (
        "## Routing\n\n`python -m benchmarks routing`, then `python -m benchmarks routing_latency`"
    )
    yield (
        "Fashion-MNIST. Small network: ResNet-8, half of its channels pruned; expert: ResNet-8 of "
        f"width {BUDGET['expert_width']}; both trained on {BUDGET['images']:,} images, then the "
        "small one, with the learned router or without one, on the other 15,000. Thresholds for a "
        "coverage are chosen on 5,000 further images. Test accuracy in percent, mean ± standard "
        f"deviation over seeds {', '.join(map(str, SEEDS))}; coverage as it is on the test set."
    )
    runs = [run for run in runs if all(run[key] == value for key, value in BUDGET.items())]
    rows, over_latency = [], {}
    timings = Records("routing_latency").find_all(BUDGET)
    for router in ROUTERS:
        found = [run for run in runs if run["router"] == router]
        if not found:
            continue
        rows.append([router, *(of_coverage(found, i) for i in range(len(COVERAGES)))])
        of_router = [one for one in timings if one["router"] == router]
        if of_router:
            over_latency[router] = trade_off(found, of_router)
    titles = ["router", *(f"{100 * wanted:.0f} % easy" for wanted in COVERAGES)]
    yield markdown(titles, rows)
    if runs:
        ends = [mean(100 * run[name] for run in runs) for name in ("small alone", "expert")]
        yield (
            f"The small network before its training with routers {ends[0]:.2f} %, the expert "
            f"{ends[1]:.2f} %. Asking at random lies on the line between the small network and the "
            "expert."
        )
    if over_latency:
        yield from of_latency(timings)
        figure = curves(over_latency, "mean latency, share of the expert's", "accuracy in %")
        PICTURE.write_bytes(png(figure))
        yield f"![Accuracy by mean latency](images/{PICTURE.name})"
    yield measured_on([*runs, *timings])


def of_coverage(runs: list[dict[str, Any]], place: int) -> str:
    """Return the accuracy at one of the coverages that were wanted."""
    points = [run["points"][place] for run in runs]
    coverage = 100 * mean(point[2] for point in points)
    return f"{mean_and_spread([100 * point[3] for point in points])} ({coverage:.1f})"


def trade_off(runs: list[dict[str, Any]], timings: list[dict[str, Any]]) -> dict[float, float]:
    """Return the mean accuracy by the mean share of the expert's latency."""
    found = {}
    for wanted in MEASURED:
        shares = [t["mean_ms"][str(wanted)] / t["mean_ms"]["expert"] for t in timings]
        points = [point for run in runs for point in run["points"] if point[0] == wanted]
        found[mean(shares)] = 100 * mean(point[3] for point in points)
    return found


def of_latency(timings: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the table of latencies."""
    names = ["small", "expert", *map(str, MEASURED)]
    rows = []
    for router in ROUTERS:
        found = [one for one in timings if one["router"] == router]
        if not found:
            continue
        means = {name: mean(one["mean_ms"][name] for one in found) for name in names}
        way = mean(one["easy_ms"][names[3]] / one["easy_ms"]["small"] for one in found)
        cells = [f"{1000 * ms:.0f} ({ms / means['expert']:.2f})" for ms in means.values()]
        rows.append([router, *cells, f"{way:.2f}"])
    yield (
        f"Mean latency over {TIMED:,} test images, batch 1, {THREADS} thread, in µs (the share of "
        "the expert's); all artefacts of a line alternate in one run. The easy way beside the "
        "small network alone: medians."
    )
    columns = [f"{100 * wanted:.0f} % easy" for wanted in MEASURED]
    yield markdown(["router", "small", "expert", *columns, "easy way"], rows)
    checks = [one["equality"] for one in timings]
    sums = {name: sum(check[name] for check in checks) for name in checks[0]}
    yield (
        f"Artefacts beside torch on {sums['images']:,} images: {sums['other routes']} went another "
        f"way ({sums['of these tied']} of them tied at the threshold to 1e-4), and of the others "
        f"{sums['other labels on one route']} got another label."
    )


def keys(_: Namespace) -> Iterator[list[Key]]:
    """Yield all trainings, to be run side by side."""
    yield [{"router": router, "seed": seed} | BUDGET for router in ROUTERS for seed in SEEDS]


def latency_keys(chosen: Namespace) -> Iterator[Key]:
    """Yield what was trained, one after the other."""
    for some in keys(chosen):
        for key in some:
            yield key | {"used_threads": THREADS}


EXPERIMENTS = (
    Experiment(
        name="routing",
        about="easy inputs by a small network, the others by an expert: accuracy",
        chapter="routing",
        keys=keys,
        run=run,
        section=section,
        alone=False,
    ),
    Experiment(
        name="routing_latency",
        about="the mean latency of what `routing` has trained",
        chapter="routing",
        keys=latency_keys,
        run=latency,
    ),
)
