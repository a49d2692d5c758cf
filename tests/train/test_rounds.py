from __future__ import annotations

import itertools
import shutil

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import hwopt
from hwopt import train
from hwopt.errors import HwoptError
from hwopt.passes import Context
from hwopt.train import SelfDistillation

OPTIONS = {"epochs": 1, "batch_size": 16, "progress": False, "learning_rate": 0.05}


def data(samples=128):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(samples, 10, generator=generator)
    return TensorDataset(inputs, (inputs[:, 0] > 0).long())


@pytest.fixture
def graph():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(10, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 2)
    )
    return hwopt.import_model(model, torch.randn(1, 10))


def share_of_zeros(graph):
    weights = [t for t in graph.parameters.values() if t.dim() > 1]
    return 1 - sum(int(t.count_nonzero()) for t in weights) / sum(t.numel() for t in weights)


@pytest.mark.parametrize("growth", ["uniform", "geometric", "cubic"])
def test_the_share_grows_round_by_round(graph, growth):
    seen = []

    def terms(pruned):
        seen.append(pruned)
        return [SelfDistillation(graph.to_torch(), share=0.3)]

    options = {"rounds": 4, "growth": growth, "terms": terms, **OPTIONS}
    result = train.fit_in_rounds(graph, data(), "prune-weights{ratio=0.8}", **options)
    zeros = [share_of_zeros(one) for one in seen]
    expected = hwopt.passes.rounds.shares(0.8, 4, growth)
    assert zeros == pytest.approx(expected, abs=2e-3)
    assert share_of_zeros(result) == pytest.approx(0.8, abs=2e-3)
    for first, second in itertools.pairwise(seen):
        for name, mask in first.masks.items():
            assert not (second.masks[name] & ~mask).any()  # what is pruned stays so


def test_a_call_killed_while_it_cleans_up_goes_on(graph, tmp_path, monkeypatch):
    folder, options = tmp_path / "rounds", {"rounds": 2, **OPTIONS}
    remove, removed = shutil.rmtree, []

    def killed(path):
        if removed:
            raise KeyboardInterrupt
        removed.append(path)
        remove(path)

    text = "prune-weights{ratio=0.5}"
    train.fit_in_rounds(graph, data(), text, folder=folder, **options)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(shutil, "rmtree", killed)
        train.remove_rounds(folder)
    assert len(removed) == 1 and any(folder.glob("round-*"))
    resumed = train.fit_in_rounds(graph, data(), text, folder=folder, **options)
    whole = train.fit_in_rounds(graph, data(), text, **options)
    for name, tensor in whole.parameters.items():
        assert torch.equal(tensor, resumed.parameter(name))
    train.remove_rounds(folder)
    assert not folder.exists()


def test_one_round_is_passes_and_training(graph):
    pruned = hwopt.apply(graph, "prune-weights{ratio=0.5}")
    module = pruned.to_torch()
    train.fit(module, data(), **OPTIONS)
    once = train.fit_in_rounds(graph, data(), "prune-weights{ratio=0.5}", **OPTIONS)
    for name, tensor in pruned.with_weights_of(module).parameters.items():
        assert torch.equal(tensor, once.parameter(name))


def test_a_killed_call_goes_on_where_it_was(graph, tmp_path):
    class Killed(BaseException):
        pass

    calls = []

    def killing(pruned):
        calls.append(len(calls))
        if len(calls) == 3:
            raise Killed
        return []

    text, options = "prune-weights{ratio=0.8}", {"rounds": 4, **OPTIONS}
    folder = tmp_path / "rounds"
    with pytest.raises(Killed):
        train.fit_in_rounds(graph, data(), text, terms=killing, folder=folder, **options)
    assert sorted(p.name for p in folder.glob("round-?")) == ["round-1", "round-2"]
    with pytest.raises(HwoptError, match="something else than rounds of these passes"):
        train.fit_in_rounds(graph, data(), "prune-weights{ratio=0.7}", folder=folder, **options)
    calls.append("resumed")
    given = {"terms": killing, "folder": folder, "context": Context()}
    resumed = train.fit_in_rounds(graph, data(), text, **given, **options)
    assert calls == [0, 1, 2, "resumed", 4, 5]
    context = Context()
    whole = train.fit_in_rounds(graph, data(), text, context=context, **options)
    assert given["context"].notes == context.notes
    for name, tensor in whole.parameters.items():
        assert torch.equal(tensor, resumed.parameter(name))


def test_rounds_have_checkpoints_of_their_own(graph, tmp_path):
    with pytest.raises(HwoptError, match="give folder, not checkpoint"):
        train.fit_in_rounds(graph, data(), "condense", checkpoint=tmp_path / "c", **OPTIONS)


def test_a_folder_keeps_the_rounds_of_one_training(graph, tmp_path):
    class Stop(Exception):
        pass

    def stop(stats):
        raise Stop

    arguments = {"rounds": 2, "folder": tmp_path / "rounds"}
    with pytest.raises(Stop):
        train.fit_in_rounds(graph, data(), "condense", on_epoch=stop, **arguments, **OPTIONS)
    with pytest.raises(HwoptError, match="something else than rounds of these passes"):
        train.fit_in_rounds(graph, data(), "condense", **arguments, **{**OPTIONS, "epochs": 2})
    train.fit_in_rounds(graph, data(), "condense", **arguments, **OPTIONS)
