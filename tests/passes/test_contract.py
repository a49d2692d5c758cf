from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

import hwopt
from hwopt import passes
from hwopt.errors import HwoptError
from hwopt.graph import Node, Value
from hwopt.passes import Context, Pass, PassError, PassResult
from tests.networks import IMAGE, Residual, make


@pytest.fixture
def graph():
    return hwopt.import_model(make(Residual), torch.randn(1, *IMAGE))


@pytest.mark.parametrize("name", passes.names())
def test_every_pass_has_a_text_form_that_round_trips(name):
    (instance,) = passes.parse(name)
    assert passes.parse(str(instance)) == [instance]
    assert type(instance).__doc__ and instance.name == name


def test_options_of_every_kind_round_trip():
    text = (
        "prune-channels{ratio=0.25,ratios=[conv1:0.5],criterion=l1,multiple=8,minimum=2},"
        "eliminate-dead-code"
    )
    assert ",".join(map(str, passes.parse(text))) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prune-chanels", "did you mean 'prune-channels'"),
        ("prune-channels{ration=0.5}", "did you mean 'ratio'"),
        ("prune-channels{ratio=half}", "ratio must be a number, not 'half'"),
        ("prune-channels{ratio=1.0}", r"ratio must be in \[0, 1\)"),
        ("prune-channels{ratio=-0.1}", r"ratio must be in \[0, 1\)"),
        ("prune-channels{criterion=l3}", "did you mean 'l"),
        ("prune-channels{multiple=-1}", "multiple must be at least 0"),
        ("prune-channels{minimum=0}", "minimum must be at least 1"),
        ("prune-channels{ratios=[a:1.5]}", r"ratio of a must be in \[0, 1\)"),
        ("prune-channels{ratios=[a]}", "entries such as name:0.5"),
        ("prune-channels{ratio}", "has no value"),
        ("prune-channels{ratio=0.5", "cannot read"),
        ("fold-batch-norm,", "end with a comma"),
        ("eliminate-dead-code{keep_dropout=maybe}", "true or false"),
    ],
)
def test_bad_text_is_one_clear_sentence(text, message):
    with pytest.raises(HwoptError, match=message) as error:
        passes.parse(text)
    assert "\n" not in str(error.value)


def test_history_and_notes_are_kept(graph):
    context = Context()
    result = hwopt.apply(graph, "prune-channels{ratio=0.25},fold-batch-norm", context)
    assert result.history == ("prune-channels{ratio=0.25}", "fold-batch-norm")
    assert graph.history == ()
    assert {name for name, _ in context.notes} == {"prune-channels", "fold-batch-norm"}


@dataclass(frozen=True)
class Writes(Pass):
    name = "writes"

    def apply(self, graph, context):
        graph.set_parameter("fc.bias", torch.ones(4))
        return PassResult(graph.copy(), modified=True)


@dataclass(frozen=True)
class Lies(Pass):
    name = "lies"
    preserves_function = True

    def apply(self, graph, context):
        other = graph.copy()
        other.set_parameter("fc.bias", graph.parameter("fc.bias") + 1)
        return PassResult(other, modified=True)


@dataclass(frozen=True)
class Confused(Pass):
    name = "confused"

    def apply(self, graph, context):
        return PassResult(graph, modified=True)


@dataclass(frozen=True)
class CutsOutput(Pass):
    name = "cuts-output"

    def apply(self, graph, context):
        other = graph.copy()
        other.outputs["output"] = Value("mean")
        return PassResult(other, modified=True)


@dataclass(frozen=True)
class BreaksPromise(Pass):
    name = "breaks-promise"

    def ensures(self, graph):
        return passes.EliminateDeadCode().ensures(graph)

    def apply(self, graph, context):
        other = graph.copy()
        other._insert(Node("loose", "relu", {"self": Value("conv1")}))
        return PassResult(other, modified=True)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (Writes, "changed its input"),
        (Lies, "outputs differ by"),
        (Confused, "modified=True"),
        (CutsOutput, "changed the outputs"),
        (BreaksPromise, "loose is not used"),
    ],
)
def test_a_pass_that_breaks_its_contract_is_told_so(graph, broken, message):
    with pytest.raises(PassError, match=message):
        hwopt.apply(graph, broken(), Context(debug=True))


@dataclass(frozen=True)
class Needs(Pass):
    name = "needs"

    def requires(self, graph):
        return passes.FoldBatchNorm().ensures(graph)

    def apply(self, graph, context):
        return PassResult(graph, modified=False)


@dataclass(frozen=True)
class NeedsData(Pass):
    name = "needs-data"
    needs_data = True


def test_what_a_pass_requires_is_checked_before(graph):
    with pytest.raises(HwoptError, match="apply fold-batch-norm first"):
        hwopt.apply(graph, Needs())
    assert hwopt.apply(graph, ["fold-batch-norm", Needs()])
    with pytest.raises(HwoptError, match="needs data"):
        hwopt.apply(graph, NeedsData())


def test_who_looks_on_sees_every_pass_and_what_it_made(graph):
    seen = []
    after = hwopt.apply(
        graph,
        "fold-batch-norm,eliminate-dead-code",
        on_pass=lambda one, graph: seen.append((one.name, graph)),
    )
    assert [name for name, _ in seen] == ["fold-batch-norm", "eliminate-dead-code"]
    assert seen[-1][1] is after and not seen[0][1].nodes("batch_norm")
