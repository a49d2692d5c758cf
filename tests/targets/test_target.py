import dataclasses
import subprocess
import sys

import pytest

from hwopt import targets
from hwopt.errors import HwoptError
from hwopt.targets.probe import probe
from hwopt.targets.target import Target


@pytest.fixture(autouse=True)
def own_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HWOPT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_host_has_the_lanes_of_its_registers():
    host = targets.get("host")
    assert host.float_lanes == host.vector_bits // 32
    assert host.cores >= 1
    assert host.tvm["num-cores"] == host.cores
    assert targets.check(host) == []


@pytest.mark.parametrize("name", ["host", *targets.builtin_names()])
def test_toml_round_trips(name, tmp_path):
    target = targets.get(name)
    path = tmp_path / "copy.toml"
    path.write_text(target.to_toml())
    assert targets.get(path) == target


def test_user_targets_are_listed_and_found(own_folder):
    folder = own_folder / "targets"
    folder.mkdir(parents=True)
    (folder / "mine.toml").write_text(targets.get("x86-avx2").to_toml().replace("x86-avx2", "mine"))
    assert "mine" in targets.names()
    assert targets.get("mine").name == "mine"


def test_unknown_target_names_the_nearest():
    with pytest.raises(HwoptError, match="did you mean 'x86-avx2'"):
        targets.get("x86-avx")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("threads =", "thread ="), "did you mean 'threads'"),
        (("threads = ", "threads = true #"), "'threads' must be of type int, not bool"),
        (("vector_bits = 256", "vector_bits = 0"), "'vector_bits' must be at least 1"),
        (('runner = "local"', 'runner = "remote"'), "unknown runner 'remote'"),
        (('runner = "local"', 'runner = "rpc"'), "needs the 'key' that its board has"),
        (("memory_bytes = ", "memory_bytes = 0 # "), "'memory_bytes' must be at least 1"),
        (("flash_bytes = 0", "flash_bytes = -1"), "'flash_bytes' must be at least 0"),
        (('kind = "llvm"', ""), "needs the key 'kind'"),
        (("[tvm]", "[tvm"), "not valid TOML"),
    ],
)
def test_a_wrong_file_is_one_sentence(tmp_path, change, message):
    path = tmp_path / "bad.toml"
    path.write_text(targets.get("x86-avx2").to_toml().replace(*change))
    with pytest.raises(HwoptError, match=message):
        targets.get(path)


def test_a_missing_file_is_one_sentence(tmp_path):
    with pytest.raises(HwoptError, match="does not exist"):
        targets.get(tmp_path / "none.toml")


def test_fingerprint_changes_with_what_changes_kernels():
    target = targets.get("x86-avx2")
    same = dataclasses.replace(target, name="other", description="other")
    assert same.fingerprint() == target.fingerprint()
    for changed in (
        dataclasses.replace(target, threads=target.threads + 1),
        dataclasses.replace(target, cpu="another"),
        dataclasses.replace(target, emulated=True),
        dataclasses.replace(target, tvm={**target.tvm, "mcpu": "x86-64"}),
    ):
        assert changed.fingerprint() != target.fingerprint()


@pytest.mark.parametrize("name", targets.builtin_names())
def test_shipped_targets_say_what_they_are(name):
    target = targets.get(name)
    assert target.description
    assert target.cores >= target.threads
    assert target.l1_bytes <= target.l2_bytes
    assert (target.machine in ("aarch64", "riscv64")) == (target.isa in ("neon", "rvv"))


def test_what_is_out_of_reach_is_a_problem():
    problems = targets.check(targets.get("raspberry-pi-4"))
    assert any("see `hwopt targets add`" in problem for problem in problems)
    away = dataclasses.replace(targets.get("host"), runner="rpc", key="k", tracker="127.0.0.1:1")
    assert any("no tracker answers" in problem for problem in targets.check(away))
    nothing = dataclasses.replace(targets.get("host"), compiler="no-such-compiler")
    assert any("no-such-compiler" in problem for problem in targets.check(nothing))


@pytest.mark.parametrize(
    ("name", "changes", "reason"),
    [
        ("raspberry-pi-4", {}, "nothing says how to reach raspberry-pi-4 to measure on it"),
        ("cortex-m4", {}, "takes C, no artefact, and is not measured: see `hwopt export --c`"),
        ("cuda", {}, "the GPU cuda is not measured from here: `hwopt compile` for it"),
        ("host", {"isa": "sve"}, "this machine has no sve"),
        ("host", {"compiler": "no-such-compiler"}, "the compiler no-such-compiler, .* not inst"),
        ("host", {"runner": "rpc", "key": "k", "tracker": "127.0.0.1:1"}, "no tracker answers"),
    ],
)
def test_what_nothing_can_be_measured_on_is_refused(name, changes, reason):
    target = dataclasses.replace(targets.get(name), **changes)
    with pytest.raises(HwoptError, match=reason):
        targets.require(target)
    targets.require(targets.get("host", threads=10_000))  # slow, but possible


def test_probing_reads_what_this_machine_has():
    host = targets.get("host")
    wrong = dataclasses.replace(host, name="mine", cpu="another", l1_bytes=1, memory_bytes=1)
    found = probe(wrong)
    assert dataclasses.replace(found, description=host.description) == dataclasses.replace(
        host, name="mine"
    )
    with pytest.raises(HwoptError, match="nothing says how to reach raspberry-pi-4"):
        probe(targets.get("raspberry-pi-4"))


def test_saved_targets_are_found():
    mine = dataclasses.replace(targets.get("raspberry-pi-4"), name="mine", runner="rpc", key="pi")
    targets.save(mine)
    assert targets.get("mine") == mine


def test_check_names_every_problem():
    wrong = dataclasses.replace(
        targets.get("host"), isa="sve", threads=10_000, tvm={"kind": "no-such-kind"}
    )
    assert len(targets.check(wrong)) == 3


def test_the_facade_imports_neither_tvm_nor_torch():
    code = (
        "import sys, hwopt.targets as t; t.get('host'); t.names(); "
        "assert not {'tvm', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_targets_are_values():
    assert isinstance(targets.get("host"), Target)
    assert targets.get("host") == targets.get("host")
