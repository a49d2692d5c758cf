from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import distributed, nn
from torch.utils.data import TensorDataset

import hwopt
from hwopt import train
from hwopt.allocation.latency_budget import LatencyBudget
from hwopt.errors import HwoptError
from hwopt.train.processes import ProcessGroup

SCRIPT = Path(__file__).with_name("parallel_training.py")
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["sgd", "borat"])
def test_two_processes_learn_what_one_does(tmp_path, optimizer):
    for name, launcher in (("one", []), ("two", TORCHRUN)):
        (tmp_path / name).mkdir()
        command = [sys.executable, *launcher, str(SCRIPT), str(tmp_path / name), optimizer]
        subprocess.run(command, check=True, timeout=300)
    one, first, second = (
        json.loads((tmp_path / name).read_text())
        for name in ("one/0.json", "two/0.json", "two/1.json")
    )
    assert first == second  # bit for bit, with the masks of the first
    assert first["losses"] == pytest.approx(one["losses"], rel=1e-3)
    assert first["accuracies"] == pytest.approx(one["accuracies"], abs=5e-3)
    zeros = 0
    for name, weights in one["weights"].items():
        alone, together = torch.tensor(weights), torch.tensor(first["weights"][name])
        assert torch.allclose(alone, together, atol=1e-2)
        zeros += int(((alone == 0) & (together == 0)).sum())
    assert zeros >= 0.45 * (8 * 16 + 392 * 10)
    assert one["losses"][-1] < one["losses"][0]


@pytest.mark.slow
def test_statistics_of_batch_norms_end_alike(tmp_path):
    command = [sys.executable, *TORCHRUN, str(SCRIPT), str(tmp_path), "sgd", "norm"]
    subprocess.run(command, check=True, timeout=300)
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    assert any(name.endswith("running_mean") for name in first["weights"])
    assert first["accuracies"][-1] > 0.5


@pytest.fixture
def group(tmp_path):
    """A group of this process alone."""
    store = distributed.FileStore(str(tmp_path / "store"), 1)
    distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def test_a_group_of_one_is_one_process(group):
    processes = ProcessGroup()
    assert (processes.count, processes.rank) == (1, 0)
    assert processes.share(torch.arange(4)).tolist() == [0, 1, 2, 3]
    assert processes.totals(1.0, 2.0) == [1.0, 2.0]


def test_what_goes_with_one_process_only_is_refused(monkeypatch):
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(distributed, "get_rank", lambda: 1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    dataset = TensorDataset(torch.zeros(8, 4), torch.zeros(8, dtype=torch.long))
    graph = hwopt.import_model(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)), torch.zeros(1, 4))
    budget = LatencyBudget(graph, lambda graphs: [1.0 for _ in graphs], 6, share=0.5)
    for options, message in (
        ({"batch_size": 7}, "batch_size is 7, which 2 processes cannot share evenly"),
        ({"batch_size": 8, "optimizer": "alig-plus"}, "ALIGPlus trains in one process only"),
        ({"batch_size": 8, "terms": [budget]}, "latency budget .* trains in one process only"),
    ):
        with pytest.raises(HwoptError, match=message):
            train.fit(model, dataset, epochs=6, schedule="constant", progress=False, **options)
