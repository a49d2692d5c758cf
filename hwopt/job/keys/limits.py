"""``limits``: what the best model must not exceed."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field, PositiveInt

from hwopt.job.keys.base import Strict


class Limits(Strict):
    """What a model must not exceed on its target.

    Attributes:
        ms: latency in milliseconds.
        memory_bytes: of the values inside the model.
        bytes: of weights and code.
    """

    ms: float | None = Field(default=None, gt=0)
    memory_bytes: PositiveInt | None = None
    bytes: PositiveInt | None = None

    @property
    def asks(self) -> bool:
        """Whether there is any."""
        return bool(self.model_dump(exclude_none=True))

    def exceeded(self, ms: float, memory_bytes: int | None, size: int) -> Iterator[str]:
        """Yield, as text, what a model takes beyond a limit.

        Args:
            ms: of a call.
            memory_bytes: as above; None where it is not known.
            size: of weights and code, in bytes.

        >>> list(Limits(ms=2, bytes=1000).exceeded(2.5, None, 900))
        ['2.5 ms of 2']
        """
        found = (
            (ms, self.ms, "ms"),
            (memory_bytes, self.memory_bytes, "bytes of memory"),
            (size, self.bytes, "bytes of weights and code"),
        )
        for value, most, unit in found:
            if value is not None and most is not None and value > most:
                yield (
                    f"{value:,.5g} {unit} of {most:,.5g}"
                    if unit == "ms"
                    else (f"{value:,} {unit} of {most:,}")
                )
