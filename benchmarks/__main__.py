"""Runs an experiment: ``python -m benchmarks NAME [OPTIONS]``, or ``--list``."""

from __future__ import annotations

import os
import sys

from benchmarks.experiment import experiment, experiments
from hwopt.errors import HwoptError, unknown_name

USAGE = "usage: python -m benchmarks NAME [OPTIONS], python -m benchmarks --list"


def main(arguments: list[str]) -> int:
    """Run the experiment that is named; what is wrong is one sentence and exit code 2."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        return 0 if arguments else 2
    name, *rest = arguments
    if name == "--list":
        try:
            show()
            print(end="", flush=True)
        except BrokenPipeError:  # the reader went away; what is left would be written at the exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 141  # as a shell reports it
        return 0
    try:
        found = experiment(name)
        if found is None:
            raise unknown_name("experiment", name, experiments())
        found.start(rest)
    except HwoptError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def show() -> None:
    """Print all experiments by chapters, with the number of their lines."""
    chapter = ""
    for one in experiments().values():
        if one.chapter != chapter:
            chapter = one.chapter
            print(f"\n{chapter}")
        lines = len(one.records.read())
        print(f"  {one.name:24} {one.about}" + (f" ({lines} lines)" if lines else ""))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
