"""What a terminal shows while kernels are tuned and a job goes on; on the error stream."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from hwopt.targets.progress import Progress as TuningProgress


@contextlib.contextmanager
def tuning_progress() -> Iterator[TuningProgress]:
    """Yield a callback for ``hwopt.compile``: kernels done, current kernel, best, time left."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    progress = Progress(
        TextColumn("compiling"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    task = progress.add_task("", total=None, visible=False)
    with progress:

        def update(done: int, total: int, kernel: str, best_us: float | None) -> None:
            best = f" {best_us:.1f} us" if best_us is not None else ""
            if done == 0 or done >= total:
                progress.reset(task)  # the time of what compiles now, not of what came before
            shown = f"{kernel}{best}"
            visible = done < total
            progress.update(task, completed=done, total=total, description=shown, visible=visible)

        yield update


def report_step(name: str, reused: bool) -> None:
    """Say that a step of a job begins, or that its result was there already."""
    import click

    click.echo(f"{'= ' if reused else '> '}{name}{' (done before)' if reused else ''}", err=True)
