"""``hwopt run``: call an artefact on data from a file."""

from __future__ import annotations

from pathlib import Path

import click

from hwopt.cli import options
from hwopt.errors import HwoptError


@click.command("run")
@click.argument("artifact", type=click.Path(path_type=Path))
@click.argument("inputs", nargs=-1, type=click.Path(path_type=Path))
@click.option("--output", type=click.Path(path_type=Path), help="Write the outputs to this .npz.")
@options.where_option
@options.json_option
def command(
    artifact: Path,
    inputs: tuple[Path, ...],
    output: Path | None,
    target: str | None,
    as_json: bool,
) -> None:
    """Run ARTIFACT on INPUTS: one .npy file an input, in order; random ones without."""
    import numpy as np

    import hwopt
    from hwopt.files import atomic_file

    loaded = hwopt.load(artifact, target=target)
    arrays = tuple(_read(path) for path in inputs) if inputs else loaded.random_inputs()
    results = loaded(*arrays)
    names = [spec.name for spec in loaded.manifest.outputs]
    outputs = dict(zip(names, results if isinstance(results, tuple) else (results,), strict=True))
    if output is not None:
        with atomic_file(output) as path, path.open("wb") as file:
            np.savez(file, **outputs)
    if as_json:
        options.print_json({name: value.tolist() for name, value in outputs.items()})
        return
    for name, value in outputs.items():
        click.echo(f"{name}: {value.dtype}{list(value.shape)}\n{value}")


def _read(path: Path):  # type: ignore[no-untyped-def]
    import numpy as np

    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise HwoptError(f"input {path} cannot be read as a .npy file: {error}") from None
