"""``hwopt devices``: a tracker, the boards that it knows, and an emulated one."""

from __future__ import annotations

import contextlib
import logging
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import click

from hwopt.cli import options
from hwopt.targets.target import DEFAULT_TRACKER

tracker_option = click.option(
    "--tracker", default=DEFAULT_TRACKER, show_default=True, help="HOST:PORT of the tracker."
)


@click.group("devices")
def command() -> None:
    """Keep boards: a tracker hands out those that serve."""


@command.command("track")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(1, 65535), default=9190, show_default=True, help="Of the tracker."
)
def track(host: str, port: int) -> None:
    """Start a tracker, which boards report to and clients ask, until Ctrl-C."""
    from hwopt.targets.server import listen, track

    with _until_ctrl_c():
        track(listen(host, port))


@command.command("serve")
@tracker_option
@click.option("--key", required=True, help="What clients ask the tracker for; one kind, one key.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=9100,
    show_default=True,
    help="Of this machine.",
)
@click.option("--threads", type=click.IntRange(1), help="Of kernels.  [default: TVM's]")
def serve(tracker: str, key: str, host: str, port: int, threads: int | None) -> None:
    """Offer this machine to a tracker, until Ctrl-C.

    \b
    Without torch on the board:
        python -m hwopt.targets.server --tracker HOST:PORT --key KEY
    or TVM's own server:
        python -m tvm.exec.rpc_server --tracker HOST:PORT --key KEY --host 127.0.0.1
    """
    from hwopt.targets.server import serve

    with _until_ctrl_c():
        serve(tracker, key, host=host, port=port, threads=threads)


@command.command("list")
@tracker_option
@options.json_option
def list_devices(tracker: str, as_json: bool) -> None:
    """List the boards that a tracker knows, and how many are free."""
    from hwopt.targets.tracker import Tracker

    with Tracker(tracker) as connection:
        listings = connection.listings()
    if as_json:
        options.print_json([listing._asdict() for listing in listings])
        return
    if not listings:
        click.echo(f"the tracker {tracker} knows no boards: start `hwopt devices serve` on one")
    for key, addresses, free in listings:
        click.echo(f"{key:24} {len(addresses)} boards, {free} free  {', '.join(addresses)}")


@command.command("emulate")
@click.argument("machine", type=click.Choice(["aarch64"]))
@click.option(
    "--port", type=click.IntRange(1, 65535), default=9190, show_default=True, help="Of the tracker."
)
@click.option("--prepare-only", is_flag=True, help="Make the emulated system; start nothing.")
def emulate(machine: str, port: int, prepare_only: bool) -> None:
    """Start an emulated board, and a tracker if there is none, until Ctrl-C.

    The emulated system is made at the first start.

    Compile for it with --target emulated-aarch64. Its times are no device's.
    """
    from hwopt.targets import emulator
    from hwopt.targets.server import listen, track

    folder = emulator.prepare(click.echo)
    if prepare_only:
        click.echo(f"the emulated {machine} is in {folder}")
        return
    with _until_ctrl_c():
        if not _answers(f"127.0.0.1:{port}"):
            listening = listen("127.0.0.1", port)
            threading.Thread(target=track, args=[listening], daemon=True).start()
        server = ["-m", "hwopt.targets.server", "--tracker", f"127.0.0.1:{port}"]
        command = emulator.command(folder, *server, "--key", emulator.TARGET)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the board ends with this process
        board = subprocess.Popen(command)
        try:
            click.echo("the board is there in half a minute; Ctrl-C ends it")
            sys.exit(board.wait())
        finally:
            board.terminate()


def _answers(address: str) -> bool:
    """Return whether there is a tracker."""
    from hwopt.errors import HwoptError
    from hwopt.targets.tracker import Tracker

    try:
        with Tracker(address):
            return True
    except HwoptError:
        return False


@contextlib.contextmanager
def _until_ctrl_c() -> Iterator[None]:
    """Say what happens, until Ctrl-C, which is how a user ends it."""
    logging.getLogger("hwopt.devices").setLevel(logging.INFO)
    try:
        yield
    except KeyboardInterrupt:
        click.echo("ended", err=True)
