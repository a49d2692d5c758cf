"""The report of a job: one HTML file without external links, and the plots as PNG files."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwopt.files import atomic_file
from hwopt.job import table
from hwopt.report import plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hwopt.job.results import JobResults

PAGE_FILE = "report.html"
_PLOTS = {
    "quality-latency.png": ("Quality against latency", plots.quality_against_latency),
    "kernels.png": ("Latency by kernel", plots.latency_by_kernel),
}


def write_report(results: JobResults, folder: Path) -> Path:
    """Write ``report.html`` and the plots into a folder; return the path of the page."""
    images = [
        (title, write_plot(plot(results), folder / name)) for name, (title, plot) in _PLOTS.items()
    ]
    return write_page(
        folder / PAGE_FILE,
        "report.html",
        results=results,
        caption=table.caption(results),
        header=table.header(results),
        rows=list(table.rows(results)),
        images=images,
        recipe=json.dumps(results.recipe, indent=2),
    )


def write_plot(figure: Figure, path: Path) -> str:
    """Write a figure as a PNG file; return it in base64, as pages hold it."""
    content = plots.png(figure)
    with atomic_file(path) as temporary:
        temporary.write_bytes(content)
    return base64.b64encode(content).decode()


def write_page(path: Path, template: str, **values: Any) -> Path:
    """Write the page that a template of this package makes of these values; return its path."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("hwopt.report"), autoescape=True, undefined=StrictUndefined
    )
    text = environment.get_template(template).render(values)
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path
