"""What an experiment is: keys, a function that runs one, and a section of the page of results."""

from __future__ import annotations

import argparse
import functools
import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import benchmarks
from benchmarks.records import Records

Key = dict[str, Any]
#: Where a section stands on the page of results: in this order, and by name within each.
CHAPTERS = (
    "the main job",
    "compression",
    "binary layers",
    "training",
    "routing",
    "prediction and search",
    "kernels",
    "peers",
    "compiler",
    "robustness",
    "networks of others",
)


@dataclass(frozen=True)
class Experiment:
    """One experiment: ``python -m benchmarks NAME``.

    Attributes:
        name: of the experiment, and of the file of its lines.
        about: in a line, for ``--list``.
        chapter: of the page of results; one of :data:`CHAPTERS`.
        keys: from the options to what is run, in order; a list is run side by side, in as many
            processes as there are cores. They are asked for one after the other, so that later
            ones may depend on the lines of earlier ones. Those that have a line are not run again.
        run: called with the values of a key by their names; returns the figures of its line. For a
            list it must be a function of a module.
        section: from the lines to parts in Markdown.
        alone: it compares times: nothing else may run beside it.
        options: adds what the command takes.
        main: in place of ``keys`` and ``run``, for those that go another way about it: called with
            the options.
    """

    name: str
    about: str
    chapter: str
    keys: Callable[[argparse.Namespace], Iterable[Key | list[Key]]] | None = None
    run: Callable[..., dict[str, Any]] | None = None
    section: Callable[[list[dict[str, Any]]], Iterator[str]] | None = None
    alone: bool = True
    options: Callable[[argparse.ArgumentParser], None] | None = None
    main: Callable[[argparse.Namespace], None] | None = None

    def __post_init__(self) -> None:
        if self.chapter not in CHAPTERS:
            raise ValueError(f"{self.name}: there is no chapter {self.chapter!r}")
        if (self.main is None) == (self.keys is None or self.run is None):
            raise ValueError(f"{self.name} takes either keys with run, or main")

    @property
    def records(self) -> Records:
        """The lines."""
        return Records(self.name)

    def start(self, arguments: Sequence[str]) -> None:
        """Run what has no line yet."""
        parser = argparse.ArgumentParser(
            prog=f"python -m benchmarks {self.name}", description=self.about
        )
        if self.options is not None:
            self.options(parser)
        chosen = parser.parse_args(arguments)
        if self.main is not None:
            self.main(chosen)
            return
        assert self.keys is not None and self.run is not None
        for key in self.keys(chosen):
            if isinstance(key, list):
                self.records.run_all(key, self.run)
            else:
                self.records.run(key, functools.partial(self.run, **key))


def experiment(name: str) -> Experiment | None:
    """Return the experiment of that name, importing its module only; None if there is none."""
    for file in sorted(Path(__file__).parent.glob("*.py")):
        if f'name="{name}"' in file.read_text():
            loaded = importlib.import_module(f"benchmarks.{file.stem}")
            found = [one for one in getattr(loaded, "EXPERIMENTS", ()) if one.name == name]
            if found:
                return found[0]
    return None


def experiments() -> dict[str, Experiment]:
    """Return all experiments by name: those that modules of this folder call ``EXPERIMENTS``."""
    found: dict[str, Experiment] = {}
    for module in pkgutil.iter_modules(benchmarks.__path__):
        if module.name.startswith("_"):
            continue
        loaded = importlib.import_module(f"benchmarks.{module.name}")
        found |= {one.name: one for one in getattr(loaded, "EXPERIMENTS", ())}
    order = {chapter: place for place, chapter in enumerate(CHAPTERS)}
    return dict(sorted(found.items(), key=lambda item: (order[item[1].chapter], item[0])))
