"""The report of a job: one HTML file without external links, and the plots as PNG files."""

from __future__ import annotations

import base64
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from hwopt.errors import HwoptError
from hwopt.files import atomic_file
from hwopt.job import make_recipe, recipe_text, table
from hwopt.report import job_view, plots

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.figure import Figure
    from pydantic import BaseModel

    from hwopt.job.facts import Difference
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
    chosen = job_view.chosen(results)
    return write_page(
        folder / PAGE_FILE,
        "report.html",
        results=results,
        style=source("page.css"),
        scripts=[source("charts.js"), source("job.js")],
        data=job_view.drawn(results),
        tiles=job_view.tiles(results),
        caption=table.caption(results),
        header=table.header(results),
        rows=list(table.rows(results)),
        images=images,
        chosen=chosen,
        waterfall=[] if chosen is None else job_view.waterfall(results, chosen),
        differences=[] if chosen is None else _differences(results, chosen, folder),
        changed=job_view.changed(results),
        recipe=recipe_as_yaml(results.recipe, make_recipe),
    )


def recipe_as_yaml(document: dict[str, Any], make: Callable[[dict[str, Any]], BaseModel]) -> str:
    """Return the recipe of results as YAML, which runs when it is copied into a file.

    Args:
        document: keys and values, also those that are as by default.
        make: makes the recipe of them.
    """
    try:
        return recipe_text(make(document))
    except HwoptError:  # it names what is not there any more, such as a pass of a plugin
        return str(yaml.safe_dump(document, sort_keys=False, allow_unicode=True))


def _differences(
    results: JobResults, name: str, folder: Path
) -> list[tuple[Difference, str | None]]:
    """Return where a variant lost most, with images in base64."""
    found = []
    for one in results.variants[name].differences:
        file = folder / "differences" / name / (one.image or "")
        image = base64.b64encode(file.read_bytes()).decode() if file.is_file() else None
        found.append((one, image))
    return found


def source(name: str) -> Markup:
    """Return a file of the package as it is: style and script go into pages unescaped."""
    from markupsafe import Markup

    return Markup((files("hwopt.report") / "templates" / name).read_text(encoding="utf-8"))


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
