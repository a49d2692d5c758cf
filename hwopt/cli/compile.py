"""``hwopt compile``: a model becomes an artefact."""

from __future__ import annotations

from pathlib import Path

import click

from hwopt.cli import options, progress
from hwopt.errors import HwoptError


@click.command("compile", help=f"Compile MODEL for a target. {options.MODEL_HELP}")
@click.argument("model")
@options.model_options
@click.option("--passes", default="", help="Passes to apply first, such as fold-batch-norm.")
@options.data_option
@options.target_option
@options.threads_option
@click.option("--batch", type=click.IntRange(1), default=1, show_default=True, help="Batch size.")
@options.trials_option
@options.seed_option
@click.option("--output", type=click.Path(path_type=Path), help="Folder.  [default: NAME.artifact]")
@click.option("--dry-run", is_flag=True, help="Print the graph after the passes; compile nothing.")
@options.plugin_option
@options.json_option
def command(
    model: str,
    input_shape: tuple[int, ...] | None,
    classes: int | None,
    model_options: tuple[str, ...],
    passes: str,
    data: str | None,
    target: str,
    threads: int | None,
    batch: int,
    trials: int | None,
    seed: int,
    output: Path | None,
    dry_run: bool,
    plugins: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Compile a model; the help text stands above."""
    options.load_plugins(plugins)
    import hwopt
    from hwopt import targets

    chosen = targets.get(target, threads=threads)
    graph = options.load_model(model, input_shape, classes, model_options, seed)
    graph = options.passed_graph(graph, passes, data, target, seed)
    if dry_run:
        click.echo(graph.to_text(), nl=False)
        return
    folder = output or Path(f"{graph.name}.artifact")
    with progress.tuning_progress() as tuning:
        artifact = hwopt.compile(
            graph,
            graph.example_inputs(batch),
            target=chosen,
            trials=trials,
            seed=seed,
            output=folder,
            progress=tuning,
        )
    try:
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
    for kernel in manifest.kernels:
        if kernel.road == "fallback":
            click.echo(f"note: kernel {kernel.name} has no tuned schedule (fallback)", err=True)
        if kernel.failures:
            count, last = len(kernel.failures), kernel.failures[-1]
            message = f"{count} candidates of kernel {kernel.name} failed, the last one: {last}"
            click.echo(f"note: {message}", err=True)
