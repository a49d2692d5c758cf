"""``hwopt report``: write the report of a job again."""

from __future__ import annotations

from pathlib import Path

import click

from hwopt.cli import options
from hwopt.errors import HwoptError
from hwopt.files import RESULTS_FILE


@click.command("report")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--markdown", is_flag=True, help="Print the table as Markdown.")
@options.json_option
def command(folder: Path, markdown: bool, as_json: bool) -> None:
    """Write report.html and the plots of the job in FOLDER, and print its table."""
    from hwopt.files import read_json
    from hwopt.report import markdown_table, print_table, rich_table, write_report

    path = folder / RESULTS_FILE
    if not path.exists():
        raise HwoptError(f"{folder} holds no finished job: it has no {RESULTS_FILE}")
    results = read_json(path)
    try:
        page = write_report(results, folder)
    except (KeyError, TypeError) as error:
        raise HwoptError(f"{path} is damaged or of another version: {error!r}") from error
    if as_json:
        options.print_json(results)
    elif markdown:
        click.echo(markdown_table(results), nl=False)
    else:
        print_table(rich_table(results))
        click.echo(f"report: {page}", err=True)
