"""What a training shows: a moving bar on a terminal, one line an epoch elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from hwopt.train.history import EpochStats


class TrainingProgress:
    """Writes to the error stream, so that results on the output stream stay clean."""

    def __init__(self, epochs: int, done: int, enabled: bool) -> None:
        """Show ``epochs``, ``done`` of them already done."""
        self._enabled = enabled
        self._console = Console(stderr=True, highlight=False)
        self._epochs = epochs
        self._shown = time.monotonic()
        self._bar: Progress | None = None
        if enabled and self._console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[figures]}"),
                TimeRemainingColumn(),
                console=self._console,
            )
            self._task = self._bar.add_task("training", total=epochs, completed=done, figures="")

    def __enter__(self) -> TrainingProgress:
        """Start the bar."""
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the bar, also after an error."""
        if self._bar:
            self._bar.stop()

    def step(self, epoch: int, share: float, figures: Callable[[], str]) -> None:
        """Move the bar to a share of ``epoch``; ``figures()`` gives the text beside it."""
        if self._bar is None:
            return
        # Ten times a second is as often as rich draws.
        if share < 1 and time.monotonic() - self._shown < 0.1:
            return
        self._shown = time.monotonic()
        self._bar.update(
            self._task,
            completed=epoch - 1 + share,
            description=f"epoch {epoch}/{self._epochs}",
            figures=figures(),
        )

    def epoch(self, stats: EpochStats) -> None:
        """Say how an epoch went."""
        if self._enabled:
            self._console.print(str(stats).replace(":", f"/{self._epochs}:", 1))
