"""How small cumulative l1 makes the LeNets: non-zeros, bytes on disk, accuracy.

    python -m benchmarks.l1_compression

Train with the penalty (Bi 2020), then mask the zeros and train on without it for a quarter of the
epochs (ours: "debiased"). With ``share-codebook{bits=5}`` besides, since the thesis may count
reduced word length, too.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any

import hwopt
from benchmarks import lenets
from benchmarks.records import Records, measured_on
from hwopt import train
from hwopt.report import markdown
from hwopt.train import L1Penalty

SEEDS = (0, 1, 2)
STRENGTHS = (0.0, 2.0, 5.0, 10.0, 20.0, 40.0, 80.0)
IMAGES = "fashion-mnist"
#: Points of accuracy that may be lost.
MOST_LOST = 0.5


def run(net: str, strength: float, form: str, seed: int) -> dict[str, Any]:
    """Train with the penalty; return sizes and accuracies."""
    training, test = lenets.load(IMAGES)
    graph = hwopt.import_model(lenets.net(net, seed), training[:1][0])
    options = lenets.options(net, IMAGES, seed) | {"weight_decay": 0.0}
    options["epochs"] *= 2
    module = graph.to_torch()
    train.fit(module, training, terms=[L1Penalty(strength, form)], **options)
    sparse = graph.with_weights_of(module)
    figures = {"accuracy": train.evaluate(module, test).accuracy}
    text = "prune-weights{criterion=zero},condense" if strength else ""
    masked = hwopt.apply(sparse, text)
    module = masked.to_torch()
    options |= {"epochs": options["epochs"] // 4, "learning_rate": options["learning_rate"] / 2}
    train.fit(module, training, **options)
    final = masked.with_weights_of(module)
    coded = hwopt.apply(final, "share-codebook{bits=5}")
    return {
        **figures,
        "debiased": train.evaluate(module, test).accuracy,
        "coded": train.evaluate(coded.to_torch(), test).accuracy,
        "weights": sum(t.numel() for t in graph.parameters.values() if t.dim() > 1),
        "nonzeros": sum(int(t.count_nonzero()) for t in final.parameters.values() if t.dim() > 1),
        "dense_bytes": stored(graph),
        "bytes": stored(final),
        "coded_bytes": stored(coded),
    }


def stored(graph: hwopt.Graph) -> int:
    """Return the bytes of a graph's weights on disk."""
    with tempfile.TemporaryDirectory() as folder:
        graph.save(folder)
        return (Path(folder) / "weights.safetensors").stat().st_size


def section(runs: list[dict[str, Any]]) -> Iterator[str]:
    """The sweep, and the largest compression within the loss that is allowed."""
    yield "## Cumulative l1: how small\n\n`python -m benchmarks.l1_compression`"
    yield (
        "Fashion-MNIST, means over seeds. Ratios are of weights (biases not counted) to non-zeros, "
        "and of the dense file to the stored one (values and packed positions); `coded` has 32 "
        "values a layer besides."
    )
    rows = []
    for net in lenets.NETS:
        for form in ("cumulative", "proximal"):
            for strength in STRENGTHS:
                found = [
                    r for r in runs if (r["net"], r["form"], r["strength"]) == (net, form, strength)
                ]
                if not found:
                    continue
                average = functools.partial(_mean, found)
                rows.append(
                    [
                        net,
                        form,
                        f"{strength:g}",
                        *(
                            f"{100 * average(name):.2f}"
                            for name in ("accuracy", "debiased", "coded")
                        ),
                        f"{mean(r['weights'] / r['nonzeros'] for r in found):.1f}x",
                        f"{mean(r['dense_bytes'] / r['bytes'] for r in found):.1f}x",
                        f"{mean(r['dense_bytes'] / r['coded_bytes'] for r in found):.1f}x",
                        str(len(found)),
                    ]
                )
    titles = [
        "net",
        "form",
        "C",
        "accuracy",
        "debiased",
        "coded",
        "weights",
        "bytes",
        "bytes coded",
    ]
    yield markdown([*titles, "seeds"], rows)
    yield measured_on(runs)


def _mean(found: list[dict[str, Any]], name: str) -> float:
    return mean(record[name] for record in found)


def main() -> None:
    keys = [
        {"net": net, "strength": strength, "form": "cumulative", "seed": seed}
        for seed in SEEDS
        for net in lenets.NETS
        for strength in STRENGTHS
    ]
    Records("l1_compression").run_all(keys, run)


if __name__ == "__main__":
    main()
