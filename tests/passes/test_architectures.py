"""Every architecture prunes to half of its MACs, trains, saves, loads, compiles, matches torch."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import hwopt
from benchmarks.architectures import ARCHITECTURES, CLASSES, example
from hwopt.graph import Graph
from hwopt.passes import Context
from tests.networks import max_difference, randomize

#: What a ratio of one half leaves of tiny groups is more than half of the MACs.
RATIOS = {"resnext": 0.6, "mixer": 0.45, "reshapes": 0.5}


@pytest.mark.slow
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_whole_way(name, tmp_path):
    torch.manual_seed(0)
    graph = hwopt.import_model(randomize(ARCHITECTURES[name]()).eval(), example(name, 1))
    ratio = RATIOS.get(name, 0.4)
    pruned = hwopt.apply(graph, f"prune-channels{{ratio={ratio}}}", Context(debug=True))
    assert pruned.macs() <= 0.5 * graph.macs()

    module = pruned.to_torch()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.01)
    before = [p.detach().clone() for p in module.parameters()]
    targets = torch.arange(4) % CLASSES
    nn.functional.cross_entropy(module(example(name, 4)), targets).backward()
    optimizer.step()
    assert any(not torch.equal(p, old) for p, old in zip(module.parameters(), before, strict=True))

    pruned.with_weights_of(module).save(tmp_path / "graph")
    loaded = Graph.load(tmp_path / "graph")
    artifact = hwopt.compile(loaded, kernel_trials=0)
    x = example(name, 1, seed=2)
    expected = module.eval()(x)
    assert max_difference(artifact(x), expected) <= 1e-4 * max(1.0, expected.abs().max().item())
