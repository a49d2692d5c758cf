"""Makes ``docs/networks.md`` from the lines of ``python -m benchmarks sweep``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.records import Records, latest, measured_on
from hwopt.report import markdown

PAGE = Path(__file__).parents[1] / "docs" / "networks.md"


def write(about: str) -> None:
    """Write the page.

    Args:
        about: what it says of its figures.
    """
    PAGE.write_text("\n\n".join(page(about)) + "\n")


def page(about: str) -> Iterator[str]:
    """Return the tables."""
    names = ("sweep", "sweep_pruned", "sweep_peer")
    runs, pruned, peer = (latest(Records(name).read(), "library", "network") for name in names)
    for key, run in runs.items():
        run.pop("macs_left", None)
        run |= {name: value for name, value in pruned.get(key, {}).items() if name == "macs_left"}
    yield "# Networks of others"
    yield f"Generated: `python -m benchmarks sweep`, then `--page`. {about}"
    yield markdown(
        [
            "",
            "networks",
            "imported",
            "compiled and equal",
            "pruned",
            "MACs left as Torch-Pruning's",
        ],
        [_summary(library, runs, peer) for library in dict.fromkeys(key[0] for key in runs)],
    )
    yield measured_on(list(runs.values()))
    for library in dict.fromkeys(key[0] for key in runs):
        yield f"## {library}"
        rows = [_row(run, peer.get(key, {})) for key, run in runs.items() if key[0] == library]
        head = ["network", "MACs", "outcome", "difference", "MACs left", "Torch-Pruning", "remark"]
        yield markdown(head, rows)


def _summary(library: str, runs: Mapping[Any, Any], peer: Mapping[Any, Any]) -> list[str]:
    own = {key: run for key, run in runs.items() if key[0] == library}
    both = [
        (run["macs_left"], peer[key]["macs_left"])
        for key, run in own.items()
        if "macs_left" in run and "macs_left" in peer.get(key, {})
    ]
    return [
        library,
        str(len(own)),
        str(sum(run["outcome"] != "not imported" for run in own.values())),
        str(sum(run["outcome"] == "equal" for run in own.values())),
        str(sum("macs_left" in run for run in own.values())),
        f"{sum(mine <= other + 0.03 for mine, other in both)} of {len(both)}",
    ]


def _row(run: Mapping[str, Any], peer: Mapping[str, Any]) -> list[str]:
    def share(found: Mapping[str, Any]) -> str:
        return f"{found['macs_left']:.2f}" if "macs_left" in found else ""

    macs = f"{run['macs'] / 1e6:,.1f} M" if "macs" in run else ""
    difference = f"{run['difference']:.0e}" if "difference" in run else ""
    remark = run.get("reason", "").replace("|", "/").replace("\n", " ")
    if "difference_of_torch" in run:
        remark = f"torch itself {run['difference_of_torch']:.0e} from float64"
    return [run["network"], macs, run["outcome"], difference, share(run), share(peer), remark[:160]]
