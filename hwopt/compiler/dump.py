"""What a model is after every pass and every phase of the compiler, as numbered text files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwopt.files import atomic_file

if TYPE_CHECKING:
    import tvm

    from hwopt.graph import Graph
    from hwopt.passes import Pass


class Dump:
    """Writes files into a folder, in the order in which they are asked for.

    Args:
        folder: made if it is missing; files of an earlier dump are replaced.
    """

    def __init__(self, folder: str | Path) -> None:
        self._folder, self._count = Path(folder), 0
        for left in self._folder.glob("[0-9][0-9]-*.txt"):
            left.unlink()

    def graph(self, name: str, graph: Graph) -> None:
        """Write a graph in its text form, which parses back."""
        self._write(f"{name}.graph", graph.to_text())

    def passed(self, instance: Pass, graph: Graph) -> None:
        """Write a graph after a pass; for ``hwopt.apply(on_pass=...)``."""
        self.graph(instance.name, graph)

    def module(self, name: str, module: tvm.IRModule) -> None:
        """Write a module of Relax, and of the kernels that it calls, without constants."""
        self._write(f"{name}.relax", module.script(show_meta=False))

    def kernels(self, name: str, kernels: Mapping[str, Any]) -> None:
        """Write functions of loops, by name."""
        texts = (f"# {kernel}\n{func.script()}" for kernel, func in kernels.items())
        self._write(f"{name}.tir", "\n\n".join(texts))

    def _write(self, name: str, text: str) -> None:
        with atomic_file(self._folder / f"{self._count:02}-{name}.txt") as temporary:
            temporary.write_text(text.rstrip() + "\n", encoding="utf-8")
        self._count += 1
