"""Runs an experiment: ``python -m benchmarks NAME [OPTIONS]``, or ``--list``."""

from __future__ import annotations

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
        chapter = ""
        for one in experiments().values():
            if one.chapter != chapter:
                chapter = one.chapter
                print(f"\n{chapter}")
            lines = len(one.records.read())
            print(f"  {one.name:24} {one.about}" + (f" ({lines} lines)" if lines else ""))
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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
