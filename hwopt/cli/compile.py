"""``hwopt compile``: a model becomes an artefact."""

from __future__ import annotations

from pathlib import Path

import click

from hwopt.cli import model, options, progress
from hwopt.errors import HwoptError


@click.command("compile", help=f"Compile MODEL for a target. {model.HELP}")
@model.given_model
@options.target_option
@options.threads_option
@click.option("--batch", type=click.IntRange(1), default=1, show_default=True, help="Batch size.")
@options.kernel_trials_option
@click.option("--output", type=click.Path(path_type=Path), help="Folder.  [default: NAME.artifact]")
@click.option(
    "--check/--no-check",
    default=True,
    show_default=True,
    help="Run it beside torch, and write nothing that computes something else.",
)
@click.option(
    "--dump",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Write the graph after every pass, Relax after every phase, and the kernels, as text.",
)
@click.option("--dry-run", is_flag=True, help="Print the graph after the passes; compile nothing.")
@options.json_option
def command(
    given: model.Given,
    target: str,
    threads: int | None,
    batch: int,
    kernel_trials: int | None,
    output: Path | None,
    check: bool,
    dump: Path | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Compile a model; the help text stands above."""
    import hwopt
    from hwopt import targets
    from hwopt.compiler.dump import Dump
    from hwopt.compiler.machines import alone_on

    chosen = targets.get(target, threads=threads)
    texts = None if dump is None else Dump(dump)
    graph = given.graph(target, texts)
    if dry_run:
        click.echo(graph.to_text(), nl=False)
        return
    folder = output or Path(f"{graph.name}.artifact")
    with progress.tuning_progress() as tuning:
        artifact = hwopt.compile(
            graph,
            graph.example_inputs(batch),
            target=chosen,
            kernel_trials=kernel_trials,
            seed=given.making.seed,
            output=folder,
            check=check,
            progress=tuning,
            dump=texts,
        )
    try:
        with alone_on(chosen):
            latency = artifact.benchmark()
    except HwoptError as error:  # the device is not within reach; the artefact is there
        latency = None
        click.echo(f"note: not measured: {error}", err=True)
    manifest = artifact.manifest
    if as_json:
        document = {"path": str(folder), "latency": latency and latency.to_json()}
        options.print_json({**document, **manifest.model_dump(mode="json")})
        return
    measured = latency or "not measured"
    click.echo(f"{folder}: {artifact.bytes():,} bytes, {measured}")
    click.echo(
        f"{manifest.parameters:,} parameters, {manifest.macs / 1e6:.2f} M MACs, "
        f"{len(manifest.kernels)} kernels, {artifact.workspace_bytes() / 1000:,.0f} KB for values, "
        f"compiled in {manifest.compile_seconds:.1f} s"
    )
    if manifest.compared is not None and manifest.compared.reason and check:
        click.echo(f"note: not compared with torch: {manifest.compared.reason}", err=True)
    for kernel in manifest.kernels:
        if kernel.road == "fallback":
            click.echo(f"note: kernel {kernel.name} has no tuned schedule (fallback)", err=True)
        if kernel.failures:
            count, last = len(kernel.failures), kernel.failures[-1]
            message = f"{count} candidates of kernel {kernel.name} failed, the last one: {last}"
            click.echo(f"note: {message}", err=True)
