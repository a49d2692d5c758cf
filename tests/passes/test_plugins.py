from __future__ import annotations

from pathlib import Path

import pytest
import torch

import hwopt
from hwopt import passes
from hwopt.errors import HwoptError
from tests.networks import IMAGE, SqueezeExcite, make, max_difference

PLUGIN = Path(__file__).parents[1] / "plugin"


@pytest.mark.slow
@pytest.mark.usefixtures("installed_plugin")
def test_an_installed_pass_is_discovered_listed_applied_and_compiled():
    assert "replace-activation" in passes.names()
    assert passes.registry.source("replace-activation") == "hwopt-plugin-example"
    graph = hwopt.import_model(make(SqueezeExcite), torch.randn(1, *IMAGE))
    changed = hwopt.apply(graph, "replace-activation{by=hardswish},prune-channels")
    assert not changed.nodes("silu") and len(changed.nodes("hardswish")) == 2
    artifact = hwopt.compile(changed, kernel_trials=0)
    assert artifact.manifest.passes[0] == "replace-activation{by=hardswish}"
    x = torch.randn(1, *IMAGE)
    assert max_difference(artifact(x), changed.to_torch().eval()(x)) <= 1e-4


def test_a_single_file(tmp_path):
    source = (PLUGIN / "hwopt_plugin_example" / "replace_activation.py").read_text()
    file = tmp_path / "mine.py"
    file.write_text(source.replace("replace-activation", "my-activation"))
    assert passes.load_file(file) == ["my-activation"]
    assert "my-activation" in passes.names()
    graph = hwopt.import_model(make(SqueezeExcite), torch.randn(1, *IMAGE))
    assert not hwopt.apply(graph, "my-activation").nodes("silu")


BASE_AND_PASS = """
from hwopt.passes import Pass

class Base(Pass):
    pass

class Mine(Base):
    name = {name!r}
"""


def test_a_file_may_define_bases_but_not_take_names(tmp_path):
    file, other, taken = tmp_path / "a" / "mine.py", tmp_path / "b" / "mine.py", tmp_path / "c.py"
    for path, name in ((file, "first"), (other, "second"), (taken, "prune-channels")):
        path.parent.mkdir(exist_ok=True)
        path.write_text(BASE_AND_PASS.format(name=name))
    assert passes.load_file(file) == passes.load_file(file) == ["first"]
    assert passes.load_file(other) == ["second"] and "" not in passes.names()
    assert passes.registry.load("first").__module__ != passes.registry.load("second").__module__
    with pytest.raises(HwoptError, match="'prune-channels', which is there: rename it"):
        passes.load_file(taken)
    other.write_text(BASE_AND_PASS.format(name="first"))
    with pytest.raises(HwoptError, match="'first', which is there"):
        passes.load_file(other)


@pytest.mark.parametrize(
    ("text", "message"),
    [("1/0", "ZeroDivisionError"), ("x = 1", "defines no"), (None, "not exist")],
)
def test_a_bad_file_is_one_clear_sentence(tmp_path, text, message):
    file = tmp_path / "bad.py"
    if text is not None:
        file.write_text(text)
    with pytest.raises(HwoptError, match=message):
        passes.load_file(file)
