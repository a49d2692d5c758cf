"""``hwopt bench``: measure artefacts side by side."""

from __future__ import annotations

from pathlib import Path

import click

from hwopt.cli import options


@click.command("bench")
@click.argument("artifacts", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--runs", type=click.IntRange(1), default=500, show_default=True)
@click.option(
    "--peer",
    "peers",
    multiple=True,
    type=click.Choice(["onnxruntime", "torch", "torch.compile"]),
    help="Measure the same graph elsewhere in the same run; may be repeated.",
)
@click.option("--kernels", is_flag=True, help="List the kernels and how each was scheduled.")
@options.json_option
def command(
    artifacts: tuple[Path, ...], runs: int, peers: tuple[str, ...], kernels: bool, as_json: bool
) -> None:
    """Measure ARTIFACTS in one run, alternating; ratios are to the first one."""
    import functools
    import tempfile

    import hwopt
    from hwopt.compiler import measure
    from hwopt.optimize import peers as peer_calls

    loaded = {str(path): hwopt.load(path) for path in artifacts}
    threads = next(iter(loaded.values())).threads
    with tempfile.TemporaryDirectory() as folder:
        calls: dict[str, peer_calls.Call] = {}
        for name, artifact in loaded.items():
            inputs = artifact.random_inputs()
            calls[name] = functools.partial(artifact, *inputs)
            for peer in peers:
                where = Path(folder) / Path(name).name
                calls[f"{name}, {peer}"] = peer_calls.make(
                    peer, artifact.graph(), inputs, threads, where
                )
        latencies = measure(calls, threads=threads, runs=runs)
    first = next(iter(latencies.values())).median_ms
    if as_json:
        options.print_json(
            {
                name: {**latency.to_json(), "ratio": latency.median_ms / first}
                for name, latency in latencies.items()
            }
        )
        return
    for name, latency in latencies.items():
        click.echo(f"{name}: {latency}, ratio {latency.median_ms / first:.2f}")
    if kernels:
        for name, artifact in loaded.items():
            click.echo(f"\n{name}")
            for kernel in artifact.manifest.kernels:
                time = "not measured" if kernel.median_us is None else f"{kernel.median_us:.2f} us"
                click.echo(f"  {kernel.name}: {kernel.road}, {time}, {kernel.calls} calls")
