"""A library is built once for the same functions and target."""

import numpy as np
import pytest
import tvm
from tvm import te, tirx

from hwopt import targets
from hwopt.errors import HwoptError
from hwopt.targets.libraries import build_library

HOST = targets.get("host")


def add(constant):
    x = te.placeholder((16,), "float32", name="x")
    y = te.compute((16,), lambda i: x[i] + tirx.const(constant, "float32"), name="y")
    return te.create_prim_func([x, y])


def test_the_same_functions_are_built_once(tmp_path):
    path = build_library({"add": add(1.0)}, HOST, tmp_path)
    built = path.stat().st_mtime_ns
    assert build_library({"add": add(1.0)}, HOST, tmp_path) == path
    assert path.stat().st_mtime_ns == built
    x, y = np.arange(16, dtype="float32"), tvm.runtime.tensor(np.zeros(16, "float32"))
    tvm.runtime.load_module(str(path))["add"](tvm.runtime.tensor(x), y)
    assert np.array_equal(y.numpy(), x + 1)


def test_other_code_names_or_targets_are_other_libraries(tmp_path):
    paths = {
        build_library({"add": add(1.0)}, HOST, tmp_path),
        build_library({"add": add(2.0)}, HOST, tmp_path),
        build_library({"plus": add(1.0)}, HOST, tmp_path),
        build_library({"add": add(1.0)}, targets.get("x86-avx2"), tmp_path),
    }
    assert len(paths) == 4


@pytest.mark.parametrize("compiler", [None, "no-compiler"])
def test_without_a_linker_nothing_is_left(tmp_path, monkeypatch, compiler):
    monkeypatch.delenv("CXX", raising=False)
    if compiler:
        monkeypatch.setenv("CXX", str(tmp_path / compiler))
    monkeypatch.setenv("PATH", str(tmp_path))
    folder = tmp_path / "libraries"
    with pytest.raises(HwoptError, match="cannot be linked"):
        build_library({"add": add(3.0)}, HOST, folder)
    assert list(folder.iterdir()) == []
