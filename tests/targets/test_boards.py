"""Boards over TVM's protocol: real servers on loopback, asked, broken and killed."""

import json
import logging
import os
import subprocess

import numpy as np
import psutil
import pytest
import torch
from torch import nn
from tvm import te, tirx

import hwopt
from hwopt.compiler.pipeline import to_kernels, unscheduled
from hwopt.errors import HwoptError
from hwopt.targets import boards, tuner, tvm_build
from hwopt.targets.boards import BoardLost
from hwopt.targets.database import RECORDS, KernelDatabase
from hwopt.targets.libraries import link
from hwopt.targets.measurer import WORKER, Measurer
from hwopt.targets.meta_schedule import MS_LOG
from hwopt.targets.tracker import Tracker
from tests.farm import farm
from tests.networks import lowered

FUNCTION = "int __tvm_ffi_main(void* self, void* arguments, int count, void* result) {{ {} }}\n"
CRASH = FUNCTION.format("*(volatile int*)0 = 1; return 0;")
HANG = FUNCTION.format("for (;;); return 0;")


@pytest.fixture(scope="module")
def one():
    """A farm with one board."""
    with farm() as found:
        found.serve("one")
        yield found
        boards.release()


@pytest.fixture
def target(one):
    boards.release()
    one.wait_for("one", 1)
    return one.target("one")


def compiled(folder, source):
    """Return a library of a C function that stands for a kernel."""
    path = folder / "kernel.so"
    command = ["gcc", "-O0", "-shared", "-fPIC", "-x", "c", "-", "-o", str(path)]
    subprocess.run(command, input=source.encode(), check=True)
    return path


def plus_one():
    x = te.placeholder((16,), "float32", name="x")
    y = te.compute((16,), lambda i: x[i] + tirx.const(1.0, "float32"), name="y")
    return te.create_prim_func([x, y])


def run_there(board, target):
    run_module(board, board.load_module(tvm_build.build_kernel(plus_one(), target), target))


def run_module(board, module):
    x, y = board.tensor(np.arange(16, dtype="float32")), board.tensor(np.zeros(16, "float32"))
    module["main"](x, y)
    assert np.array_equal(y.numpy(), np.arange(1, 17))


@pytest.mark.slow
def test_code_runs_there(target):
    board = boards.request(target)
    assert board.use_threads(1) == 1
    run_there(board, target)


@pytest.mark.slow
@pytest.mark.parametrize(("source", "message"), [(CRASH, "was lost"), (HANG, "took too long")])
def test_a_kernel_that_breaks_its_session_leaves_the_board(one, target, tmp_path, source, message):
    board = boards.request(target, seconds=3)
    module = board.load(compiled(tmp_path, source))
    with pytest.raises(BoardLost, match=message), board.errors():
        module["main"](board.tensor(np.zeros(1, "float32")))
    del board, module
    one.wait_for("one", 1)
    run_there(boards.request(target), target)


def test_a_board_is_one_clients_at_a_time(one, target):
    held = boards.request(target)
    heard = []
    with pytest.raises(HwoptError, match=r"busy \(waited 1 s\); start `hwopt devices serve"):
        boards.request(target, wait=1, waiting=heard.append)
    assert "no board with the key 'one'" in heard[0]
    del held
    boards.request(target, wait=10)


def test_no_tracker_and_no_board_are_one_sentence(one):
    with pytest.raises(HwoptError, match=r"no tracker answers at 127\.0\.0\.1:1 "):
        Tracker("127.0.0.1:1")
    with pytest.raises(HwoptError, match="is HOST:PORT, not 'nowhere'"):
        Tracker("nowhere")
    with pytest.raises(HwoptError, match=r"key 'none' .*: there is none"):
        boards.request(one.target("none"), wait=0)


def test_what_answers_and_is_no_tracker_is_named(one):
    with Tracker(one.tracker) as connection:
        (listing,) = connection.listings()
    with pytest.raises(HwoptError, match="no tracker answers"):
        Tracker(listing.addresses[0])


def test_an_artefact_runs_there(one, target, tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 5)).eval()
    x = torch.randn(2, 3, 8, 8)
    artifact = hwopt.compile(model, x, target=target, kernel_trials=0, output=tmp_path / "a")
    assert artifact.is_remote
    with torch.no_grad():
        expected = model(x)
    assert torch.allclose(artifact(x), expected, atol=1e-5)
    assert torch.allclose(
        artifact.predict(x.repeat(2, 1, 1, 1)[:3]), expected[[0, 1, 0]], atol=1e-5
    )
    boards.release()
    one.wait_for("one", 1)
    assert torch.allclose(artifact(x), expected, atol=1e-5)  # it asks for a board again
    latency = artifact.benchmark(runs=20)
    assert latency.median_ms > 0 and latency.threads == 1 and not latency.emulated
    assert not hwopt.load(tmp_path / "a").is_remote  # of this machine's kind


def kernels(target):
    module = lowered(nn.Conv2d(16, 16, 3, padding=1), (torch.zeros(1, 16, 12, 12),))
    return unscheduled(to_kernels(module, target))


def measured(folder):
    """Return which candidates a database has times of."""
    (path,) = folder.rglob(RECORDS)
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert all(record["fastest_us"] and not record["error"] for record in records)
    return {(r["kernel"], r["template"], json.dumps(r["config"])) for r in records}


@pytest.mark.slow
def test_a_board_killed_while_tuning_leaves_its_candidates_to_the_others(tmp_path, monkeypatch):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 4, 1)).eval()
    x = torch.randn(1, 16, 12, 12)
    with farm() as three:
        three.serve("three", 3)
        target = three.target("three")
        killed_at = []

        def kill(_done, _total, _name, best):
            if best is not None and three.servers[0].poll() is None:
                for process in psutil.Process(three.servers[0].pid).children():
                    process.kill()
                three.servers[0].kill()
                three.servers[0].wait()
                killed_at.append(len(measured(tmp_path / "disturbed")))

        def tuned(folder, progress=None):
            monkeypatch.setenv("HWOPT_HOME", str(folder))
            artifact = hwopt.compile(model, x, target=target, kernel_trials=8, progress=progress)
            return artifact, [(k.road, k.median_us) for k in artifact.manifest.kernels]

        disturbed, choices = tuned(tmp_path / "disturbed", kill)
        assert 1 <= killed_at[0] < len(measured(tmp_path / "disturbed"))
        with Tracker(three.tracker) as connection:
            (listing,) = connection.listings()
        assert len(listing.addresses) == 2
        # No result is lost: all candidates have times, as in a run that nothing disturbs.
        tuned(tmp_path / "undisturbed")
        assert measured(tmp_path / "disturbed") == measured(tmp_path / "undisturbed")
        assert max(k.candidates_measured for k in disturbed.manifest.kernels) == 8
        assert not any(k.failures for k in disturbed.manifest.kernels)
        # Nothing is measured again, the choice is the same, and so is what it computes.
        again, chosen_again = tuned(tmp_path / "disturbed")
        assert chosen_again == choices
        assert not any(k.candidates_measured for k in again.manifest.kernels)
        with torch.no_grad():
            expected = model(x)
        for artifact in (disturbed, again):
            assert torch.allclose(artifact(x), expected, atol=1e-5)
        boards.release()


@pytest.mark.slow
def test_tuning_without_a_board_ends_with_a_sentence(one, tmp_path, monkeypatch):
    target = one.target("none")
    monkeypatch.setattr(Measurer.__init__, "__defaults__", (20.0, 60.0, WORKER, 1.0))
    with pytest.raises(HwoptError, match="cannot be measured: no board with the key 'none'"):
        tuner.choose(
            kernels(target), target, kernel_trials=2, database=KernelDatabase(target, tmp_path)
        )


@pytest.mark.slow
def test_a_kernel_without_a_template_is_searched_there(target, tmp_path, monkeypatch):
    listener = logging.NullHandler()
    monkeypatch.setattr(logging.getLogger(MS_LOG), "handlers", [listener])
    module = lowered(nn.Conv3d(2, 4, 3), (torch.randn(1, 2, 5, 6, 6),))
    found = unscheduled(to_kernels(module, target))
    choices = tuner.choose(
        found, target, kernel_trials=2, database=KernelDatabase(target, tmp_path)
    )
    assert any(choice.road == "search" and choice.median_us for choice in choices.values())
    assert logging.getLogger(MS_LOG).handlers == [listener]


@pytest.mark.slow
def test_many_requests_leave_nothing_behind(one, target, tmp_path):
    library = tmp_path / "plus_one.so"
    link(tvm_build.build_kernel(plus_one(), target), library, target)
    server = psutil.Process(one.servers[0].pid)
    this = psutil.Process(os.getpid())

    def run():
        board = boards.request(target)
        run_module(board, board.load(library))

    for _ in range(10):
        run()
    one.wait_for("one", 1)
    before = [(p.num_fds(), p.memory_info().rss) for p in (this, server)]
    for _ in range(25):
        run()
    one.wait_for("one", 1)
    for process, (files, memory) in zip((this, server), before, strict=True):
        assert process.num_fds() <= files + 2
        assert process.memory_info().rss < memory + 8 * 2**20
    assert not server.children()
