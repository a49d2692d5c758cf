"""The report of a job: one HTML file without external links, and the plots as PNG files."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from hwopt.files import atomic_file
from hwopt.report import plots, table

PAGE_FILE = "report.html"
_PLOTS = {
    "accuracy-latency.png": ("Accuracy against latency", plots.accuracy_against_latency),
    "kernels.png": ("Latency by kernel", plots.latency_by_kernel),
}


def write_report(results: dict[str, Any], folder: Path) -> Path:
    """Write ``report.html`` and the plots into a folder; return the path of the page."""
    images = []
    for name, (title, plot) in _PLOTS.items():
        content = plots.png(plot(results))
        with atomic_file(folder / name) as path:
            path.write_bytes(content)
        images.append((title, base64.b64encode(content).decode()))
    page = folder / PAGE_FILE
    with atomic_file(page) as path:
        path.write_text(_render(results, images), encoding="utf-8")
    return page


def _render(results: dict[str, Any], images: list[tuple[str, str]]) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("hwopt.report"), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template("report.html").render(
        results=results,
        caption=table.caption(results),
        header=table.header(results),
        rows=list(table.rows(results)),
        images=images,
        recipe=json.dumps(results["recipe"], indent=2),
    )
