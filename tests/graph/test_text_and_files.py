from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import hwopt
from hwopt.errors import HwoptError
from hwopt.graph import Batch, Graph
from hwopt.graph.parser import _parse_value, _tokenize
from hwopt.graph.text import literal
from tests.networks import IMAGE, IMAGE_NETWORKS, Residual, SeveralOutputs, make, max_difference

scalars = st.one_of(
    st.integers(-(10**9), 10**9),
    st.floats(allow_nan=False),
    st.booleans(),
    st.none(),
    st.text(st.characters(codec="ascii", exclude_categories=["C"])),
    st.builds(Batch, st.integers(1, 64)),
)


@given(st.recursive(scalars, lambda inner: st.lists(inner).map(tuple)))
def test_attributes_round_trip(value):
    parsed = _parse_value(_tokenize(literal(value)))
    assert parsed == value and type(parsed) is type(value)


@pytest.mark.parametrize("network", IMAGE_NETWORKS)
def test_text_and_files_round_trip(network, tmp_path):
    x = torch.randn(2, *IMAGE)
    graph = hwopt.import_model(make(network), x)
    parsed = Graph.from_text(graph.to_text(), graph.parameters)
    graph.save(tmp_path)
    loaded = Graph.load(tmp_path)
    for other in (parsed, loaded):
        assert other.to_text() == graph.to_text()
        assert max_difference(other.to_torch().eval()(x), graph.to_torch().eval()(x)) == 0


def test_several_outputs_round_trip(tmp_path):
    graph = hwopt.import_model(make(SeveralOutputs), (torch.randn(2, 6), torch.randn(2, 2)))
    assert Graph.from_text(graph.to_text()).to_text() == graph.to_text()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "begins with"),
        ("graph g {\n  nonsense\n}", "line 2"),
        ("graph g {\n  r = relu(%x)\n  return o=%r\n}", "line 2.*not in the graph"),
        ("graph g {\n  input x: f32[N, 2]\n  r = rellu(%x)\n  return o=%r\n}", "rellu"),
        ("graph g {\n  input x: f32[N, 2]\n  r = relu(%x, a=1)\n  return o=%r\n}", "no argument"),
        (
            "graph g {\n  input x: f32[N, 2]\n  r = relu(%x)\n  return r\n}",
            "a return names outputs",
        ),
    ],
)
def test_bad_text_names_the_line(text, message):
    with pytest.raises(HwoptError, match=message):
        Graph.from_text(text)


def test_damaged_files_are_refused(tmp_path):
    graph = hwopt.import_model(make(Residual), torch.randn(1, *IMAGE))
    graph.save(tmp_path)
    weights, structure = tmp_path / "weights.safetensors", tmp_path / "graph.json"
    good = weights.read_bytes()
    weights.write_bytes(good[:100])
    with pytest.raises(HwoptError, match="damaged"):
        Graph.load(tmp_path)
    weights.write_bytes(good)
    document = json.loads(structure.read_text())
    structure.write_text(json.dumps({**document, "schema": 99}))
    with pytest.raises(HwoptError, match="schema 99"):
        Graph.load(tmp_path)
    del document["nodes"][0]["operands"]
    structure.write_text(json.dumps(document))
    with pytest.raises(HwoptError, match="damaged"):
        Graph.load(tmp_path)
    structure.unlink()
    with pytest.raises(HwoptError, match="does not exist"):
        Graph.load(tmp_path)


def test_weights_of_another_graph_are_refused(tmp_path):
    first, second = (
        hwopt.import_model(make(Residual, seed), torch.randn(1, *IMAGE)) for seed in (0, 1)
    )
    first.save(tmp_path / "a")
    second.save(tmp_path / "b")
    (tmp_path / "a" / "weights.safetensors").replace(tmp_path / "b" / "weights.safetensors")
    with pytest.raises(HwoptError, match=r"does not belong to graph\.json"):
        Graph.load(tmp_path / "b")


def test_too_many_arguments_in_the_text():
    text = (
        "graph g {\n  input x: f32[N, 4]\n  y: f32[N, 4] = relu(%x, %x, %x)\n  return output=%y\n}"
    )
    with pytest.raises(HwoptError, match="line 3 of the graph's text: relu takes fewer arguments"):
        Graph.from_text(text)


def test_a_graph_is_not_saved_into_an_artefact(tmp_path):
    graph = hwopt.import_model(make(Residual), torch.zeros(1, *IMAGE))
    hwopt.compile(graph, kernel_trials=0, output=tmp_path / "a")
    with pytest.raises(HwoptError, match="is an artefact: save the graph in another folder"):
        graph.save(tmp_path / "a")
    hwopt.load(tmp_path / "a")
    with pytest.raises(HwoptError, match="dev/null"):
        graph.save("/dev/null/x")


def test_complex_numbers_have_a_place_in_a_graph():
    class Spectrum(nn.Module):
        def forward(self, x):
            return torch.fft.rfft(x).abs()

    graph = hwopt.import_model(Spectrum(), torch.randn(1, 8))
    assert "c64[N, 5]" in graph.to_text()
    x = torch.randn(4, 8)
    assert torch.equal(graph.to_torch()(x), Spectrum()(x))
    assert hwopt.Graph.from_text(graph.to_text()).to_text() == graph.to_text()
