"""Trains a network with masks, alone or as one of several processes; see test_processes.py."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch
from torch import distributed, nn

import hwopt
from hwopt import data, train


def main(folder: Path, optimizer: str, norm: bool) -> None:
    rank = int(os.environ.get("RANK", 0))
    torch.manual_seed(rank)  # the first one's weights count
    norms = [nn.BatchNorm2d(8), nn.Dropout(0.1)] if norm else []
    layers = [nn.Conv2d(1, 8, 4, stride=4), *norms, nn.ReLU(), nn.Flatten(), nn.Linear(392, 10)]
    graph = hwopt.import_model(nn.Sequential(*layers), torch.zeros(1, 1, 28, 28))
    # Which weights are masked is up to the process, too, before they begin alike.
    graph = hwopt.apply(graph, "prune-weights{ratio=0.5}")
    module = graph.to_torch()
    if "RANK" in os.environ:
        # Not before `import_model`: what torch imports there would hold the group until the end of
        # the process, which its threads do not always survive.
        distributed.init_process_group("gloo")
    history = train.fit(
        module,
        data.load("digits"),
        epochs=3,
        batch_size=64,
        learning_rate=0.1,
        optimizer=optimizer,
        schedule="constant",
        label_smoothing=0.0,
        terms=[train.L1Penalty(1.0)],
        threads=1,
        progress=False,
        checkpoint=folder / "checkpoint.safetensors",
    )
    weights = {name: tensor.tolist() for name, tensor in module.state_dict().items()}
    losses = [stats.loss for stats in history.epochs]
    accuracies = [stats.quality for stats in history.epochs]
    found = {"losses": losses, "accuracies": accuracies, "weights": weights}
    (folder / f"{rank}.json").write_text(json.dumps(found))
    if distributed.is_initialized():
        distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], norm="norm" in sys.argv[3:])
