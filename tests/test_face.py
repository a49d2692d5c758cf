"""What ``import hwopt`` alone offers."""

import subprocess
import sys
from pathlib import Path

import pytest

import hwopt
from hwopt import passes

FUNCTIONS = {"apply", "compile", "export_c", "import_model", "load", "optimize", "predict"}
PACKAGES = {"data", "models", "optim", "passes", "search", "targets", "train"}
CLASSES = {"Artifact", "Context", "Graph", "HwoptError", "Latency", "Target"}


def python(code):
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)


def test_everything_is_there_and_completes():
    assert set(dir(hwopt)) == FUNCTIONS | PACKAGES | CLASSES
    for name in FUNCTIONS:
        assert callable(getattr(hwopt, name)) and getattr(hwopt, name).__doc__
    for name in PACKAGES:
        package = getattr(hwopt, name)
        names = [one for one in dir(package) if not one.startswith("_")]
        assert names and all(getattr(package, one) is not None for one in names)
    assert issubclass(hwopt.HwoptError, Exception)
    with pytest.raises(AttributeError, match="module 'hwopt' has no attribute 'nothing'"):
        hwopt.nothing  # noqa: B018


@pytest.mark.slow
def test_nothing_heavy_is_imported_before_it_is_used():
    heavy = "{'torch', 'tvm', 'numpy', 'pydantic', 'optuna'}"
    python(f"import sys, hwopt; dir(hwopt); assert not {heavy} & set(sys.modules)")
    python("import hwopt, sys; hwopt.models.names(); assert 'torch' not in sys.modules")
    python("import hwopt; hwopt.search.run, hwopt.search.pick, hwopt.passes.PruneChannels(0.3)")


@pytest.mark.alone
def test_the_import_is_fast():
    def microseconds():
        command = [sys.executable, "-X", "importtime", "-c", "import hwopt"]
        lines = subprocess.run(command, capture_output=True, text=True).stderr.splitlines()
        return int(next(one for one in lines if one.endswith("| hwopt")).split("|")[1])

    assert min(microseconds() for _ in range(3)) < 100_000


def test_every_pass_of_the_room_is_a_class_of_its_package():
    room = Path(hwopt.passes.__file__).parent
    files = {f"hwopt.passes.{path.stem}" for path in room.glob("*.py")}
    assert set(hwopt.passes.OWN.values()) <= files
    for name in hwopt.passes.names():
        assert passes.registry.load(name).name == name
    for cls in hwopt.passes.OWN:
        assert getattr(hwopt.passes, cls).name in hwopt.passes.names()
    assert str(hwopt.passes.PruneChannels(ratio=0.25)) == "prune-channels{ratio=0.25}"
