"""``hwopt devices`` as a user meets it: trackers, boards and the emulator are real processes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest

from hwopt.targets import emulator, gpu
from tests.cli.command import hwopt, refused
from tests.devices import needs

WARNING = "whoever reaches 0.0.0.0:"


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextlib.contextmanager
def started(*arguments):
    """Run a command that goes on until it is interrupted; yield its process."""
    command = [sys.executable, "-m", "hwopt.cli.main", "devices", *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes, preexec_fn=heeds_ctrl_c) as p:
        try:
            yield p
        finally:
            p.kill()


def heeds_ctrl_c():
    """A shell has what it starts in the background ignore Ctrl-C, and that is inherited."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def interrupted(process):
    """Interrupt it as Ctrl-C does; return its exit code and what it said on standard error."""
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    return process.returncode, said


def listed(port, key, seconds):
    """Return the tracker's entry of a key as soon as a board of it is free."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        answer = hwopt("devices", "list", "--tracker", f"127.0.0.1:{port}", "--json")
        entries = json.loads(answer.stdout) if answer.returncode == 0 else []
        for entry in entries:
            if entry["key"] == key and entry["free"]:
                return entry
        time.sleep(0.5)
    raise TimeoutError(f"no free board {key} within {seconds} s")


def listening_on(process):
    """Return the addresses that a process and its children accept connections on."""
    family = [process, *process.children(recursive=True)]
    return {
        connection.laddr.ip
        for one in family
        for connection in one.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("track", ["--host", "[default: 127.0.0.1]", "[default: 9190", "until Ctrl-C"]),
        (
            "serve",
            ["--key", "[required]", "[default: 127.0.0.1]", "python -m hwopt.targets.server"],
        ),
        ("list", ["--tracker", "[default: 127.0.0.1:9190]", "--json"]),
        ("emulate", ["{aarch64}", "--prepare-only", "Its times are no device's"]),
    ],
)
def test_help_says_what_a_user_needs(command, words):
    shown = hwopt("devices", command, "--help")
    assert shown.returncode == 0
    for word in words:
        assert word in " ".join(shown.stdout.split())


@pytest.mark.slow
def test_a_tracker_and_a_board_stay_on_loopback_and_end_with_ctrl_c():
    port = free_port()
    with (
        started("track", "--port", port) as tracker,
        started("serve", "--tracker", f"127.0.0.1:{port}", "--key", "mine") as board,
    ):
        entry = listed(port, "mine", 60)
        assert all(address.startswith("127.0.0.1:") for address in entry["addresses"])
        for process in (tracker, board):
            assert listening_on(psutil.Process(process.pid)) == {"127.0.0.1"}
        shown = hwopt("devices", "list", "--tracker", f"127.0.0.1:{port}").stdout
        assert shown.startswith("mine ") and "1 boards, 1 free" in shown
        assert f"port {port} is taken" in refused("devices", "track", "--port", port)
        for process in (board, tracker):
            code, said = interrupted(process)
            assert code == 0 and said.endswith("ended\n")
            assert "Traceback" not in said and "whoever reaches" not in said


@pytest.mark.slow
def test_a_tracker_without_boards_says_what_to_do():
    port = free_port()
    with started("track", "--port", port):
        end = time.monotonic() + 60
        while (shown := hwopt("devices", "list", "--tracker", f"127.0.0.1:{port}")).returncode:
            assert time.monotonic() < end, shown.stderr
        assert "knows no boards: start `hwopt devices serve` on one" in shown.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", [("track",), ("serve", "--tracker", "127.0.0.1:9", "--key", "k")]
)
def test_an_address_that_others_reach_is_warned_of(command):
    with started(*command, "--host", "0.0.0.0", "--port", free_port()) as process:
        line = next(line for line in process.stderr if "whoever" in line)
        assert WARNING in line and "no passwords" in line and "go through a tunnel" in line


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("list", "--tracker", "nowhere"), "is HOST:PORT, not 'nowhere'"),
        (("list", "--tracker", "127.0.0.1:9"), "start one with `hwopt devices track`"),
        (("serve", "--tracker", "nowhere", "--key", "k"), "is HOST:PORT, not 'nowhere'"),
        (("track", "--host", "192.0.2.1"), "cannot listen on 192.0.2.1:9190"),
    ],
)
def test_what_is_wrong_is_one_sentence(command, message):
    assert message in refused("devices", *command)


def test_neither_a_gpu_nor_a_microcontroller_is_a_board():
    assert "cuda is a GPU" in refused("targets", "add", "mine", "--like", "cuda")
    assert "cortex-m4 takes C" in refused("targets", "add", "mine", "--like", "cortex-m4")
    check = hwopt("targets", "check", "cuda")
    assert (check.returncode == 0) == gpu.is_there()
    assert ("no NVIDIA GPU" in check.stdout) == (not gpu.is_there())


@pytest.mark.slow
@needs("an emulated AArch64")
def test_an_emulated_board_is_one_command(tmp_path):
    """What it starts ends with it."""
    prepared = hwopt("devices", "emulate", "aarch64", "--prepare-only")
    assert prepared.returncode == 0, prepared.stderr
    assert str(emulator.prepare()) in prepared.stdout
    port = free_port()
    with started("emulate", "aarch64", "--port", port) as process:
        entry = listed(port, emulator.TARGET, 120)
        assert len(entry["addresses"]) == 1
        (board,) = [
            one
            for one in psutil.Process(process.pid).children()
            if emulator.QEMU in " ".join(one.cmdline())
        ]
        os.kill(process.pid, signal.SIGTERM)
        process.communicate(timeout=30)
        board.wait(timeout=30)
        assert not board.is_running()
