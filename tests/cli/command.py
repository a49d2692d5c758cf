"""`hwopt` as a user meets it: a process of its own, its exit code, both its streams.

The processes are forked from one that has imported what commands import, as that takes longer than
most of what the tests ask for.
"""

from __future__ import annotations

import atexit
import functools
import os
import subprocess
import sys
import tempfile
from multiprocessing import get_context
from multiprocessing.context import ForkServerContext
from pathlib import Path

#: They start no threads while they are imported: only such a process may be forked.
_IMPORTED = [
    *("hwopt.cli.main", "hwopt.cli.model", "hwopt.compiler.pipeline", "hwopt.job.job"),
    *("hwopt.report.study_page", "hwopt.search.evaluate", "torch._dynamo", "tvm.relax"),
]
_WITHOUT_THREADS = {"OPENBLAS_NUM_THREADS": "1"}


def hwopt(*arguments: object, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command, in a folder if one is given."""
    words = [*map(str, arguments)]
    with tempfile.TemporaryDirectory() as scratch:
        streams = [Path(scratch) / name for name in ("stdout", "stderr")]
        process = _context().Process(
            target=_run, args=(words, folder or Path.cwd(), dict(os.environ), streams)
        )
        process.start()
        process.join()
        texts = [path.read_text() for path in streams]
    assert process.exitcode is not None
    return subprocess.CompletedProcess(["hwopt", *words], process.exitcode, *texts)


def refused(*arguments: object, folder: Path | None = None) -> str:
    """Run a command and return the one sentence of its error."""
    result = hwopt(*arguments, folder=folder)
    lines = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    assert len(lines) == 1 and result.stderr.strip().endswith(lines[0])
    return lines[0]


@functools.cache
def _context() -> ForkServerContext:
    context = get_context("forkserver")
    context.set_forkserver_preload(_IMPORTED)
    before = dict(os.environ)
    os.environ.update(_WITHOUT_THREADS)
    try:
        first = context.Process()  # the server starts with it, in this environment
        first.start()
        first.join()
    finally:
        os.environ.clear()
        os.environ.update(before)
    return context


def _run(words: list[str], folder: Path, environment: dict[str, str], streams: list[Path]) -> None:
    """Become a process that was started with these words."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    opened = [os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND) for path in streams]
    for place, file in enumerate([nothing, *opened]):
        os.dup2(file, place)
    sys.stdout, sys.stderr = (os.fdopen(os.dup(place), "w") for place in (1, 2))
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    sys.argv = ["hwopt", *words]
    from hwopt.cli.main import main

    try:
        main()
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
