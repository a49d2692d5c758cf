"""``hwopt bench``: measure artefacts side by side."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hwopt import peers
from hwopt.cli import options
from hwopt.errors import HwoptError

if TYPE_CHECKING:
    from hwopt.compiler import Artifact
    from hwopt.targets import Target


@click.command("bench")
@click.argument("artifacts", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--runs", type=click.IntRange(1), default=500, show_default=True, help="Measured calls."
)
@click.option(
    "--peer",
    "peer_names",
    multiple=True,
    type=click.Choice(peers.names()),
    help="Measure the same graph elsewhere in the same run; may be repeated.",
)
@click.option(
    "--profile",
    "with_profile",
    is_flag=True,
    help="Time every kernel beside the machine's limits, and name the largest losses.",
)
@click.option(
    "--data",
    "data_name",
    help="Measure over the test images of a data set: of a routed model some take longer.",
)
@options.where_option
@options.json_option
def command(
    artifacts: tuple[Path, ...],
    runs: int,
    peer_names: tuple[str, ...],
    with_profile: bool,
    data_name: str | None,
    target: str | None,
    as_json: bool,
) -> None:
    """Measure ARTIFACTS in one run, alternating; ratios are to the first one.

    With --data one after the other, each over the same images.
    """
    import tempfile

    from hwopt.compiler import measure
    from hwopt.compiler.machines import alone_on
    from hwopt.report import largest_losses, print_table, profile_table

    loaded = _loaded(artifacts, target)
    if (peer_names or with_profile) and any(a.is_remote for a in loaded.values()):
        raise HwoptError("--peer and --profile measure on this machine, not on a board")
    threads = next(iter(loaded.values())).threads
    if data_name is not None:
        if peer_names or with_profile:
            raise HwoptError("--data goes with neither --peer nor --profile")
        _over_data(loaded, _target(loaded, target), data_name, runs, as_json)
        return
    with tempfile.TemporaryDirectory() as folder:
        calls: dict[str, peers.PeerCall] = {}
        for name, artifact in loaded.items():
            inputs = artifact.random_inputs()
            calls[name] = artifact.call(*inputs)
            for peer in peer_names:
                where = Path(folder) / Path(name).name
                calls[f"{name}, {peer}"] = peers.make(
                    peer, artifact.graph(), inputs, threads, where
                )
        with alone_on(_target(loaded, target)):
            latencies = measure(calls, threads=threads, runs=runs)
    profiles = {name: a.profile() for name, a in loaded.items()} if with_profile else {}
    first = next(iter(latencies.values())).median_ms
    if as_json:
        document: dict[str, Any] = {
            name: {**latency.to_json(), "ratio": latency.median_ms / first}
            for name, latency in latencies.items()
        }
        for name, kernels in profiles.items():
            document[name]["kernels"] = [dataclasses.asdict(kernel) for kernel in kernels]
        options.print_json(document)
        return
    for name, latency in latencies.items():
        click.echo(f"{name}: {latency}, ratio {latency.median_ms / first:.2f}")
    for name, kernels in profiles.items():
        click.echo(f"\n{name}")
        print_table(profile_table(kernels))
        for loss in largest_losses(kernels):
            click.echo(loss)


def _loaded(artifacts: tuple[Path, ...], target: str | None) -> dict[str, Artifact]:
    import hwopt

    loaded = {str(path): hwopt.load(path, target=target) for path in artifacts}
    threads = next(iter(loaded.values())).threads
    for name, artifact in loaded.items():
        if artifact.threads != threads:
            message = (
                f"{name} runs with {artifact.threads} threads and {artifacts[0]} with {threads}"
            )
            raise HwoptError(f"{message}: measure artefacts side by side only with equal threads")
    return loaded


def _target(loaded: dict[str, Artifact], name: str | None) -> Target:
    """Return what artefacts are measured on."""
    from hwopt import targets

    first = next(iter(loaded.values()))
    own = first.manifest.target.name if first.is_remote else targets.HOST
    return targets.get(name or own, threads=first.threads)


def _over_data(
    loaded: dict[str, Artifact], target: Target, data_name: str, runs: int, as_json: bool
) -> None:
    """Print the latency of every artefact over test images of a data set, drawn at random."""
    import numpy as np
    from torch.utils.data import Subset

    from hwopt import data
    from hwopt.compiler.machines import alone_on

    shape = next(iter(loaded.values())).manifest.inputs[0].shape
    images = data.load(data_name, image_size=data.image_size(shape)).test
    # Folders lie class by class.
    order = np.random.default_rng(0).permutation(len(images))  # type: ignore[arg-type]
    drawn = Subset(images, order.tolist())
    with alone_on(target):
        found = {name: artifact.benchmark(drawn, runs=runs) for name, artifact in loaded.items()}
    if as_json:
        options.print_json({name: latency.to_json() for name, latency in found.items()})
        return
    for name, latency in found.items():
        click.echo(f"{name}: {latency}")
