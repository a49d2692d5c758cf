"""``hwopt report``: write the report of a job or a study again."""

from __future__ import annotations

from pathlib import Path

import click

from hwopt.cli import options
from hwopt.errors import HwoptError
from hwopt.files import RESULTS_FILE, read_json


@click.command("report")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--markdown", is_flag=True, help="Print the table as Markdown.")
@options.json_option
def command(folder: Path, markdown: bool, as_json: bool) -> None:
    """Write report.html and the plots of the job or study in FOLDER, and print its table."""
    from hwopt.report import markdown_table, print_table, rich_table, write_report
    from hwopt.report.study_page import write_study_report
    from hwopt.report.study_table import front_table
    from hwopt.search.files import STUDY_FILE
    from hwopt.search.read_study import read_study

    of_study = (folder / STUDY_FILE).exists()
    path = folder / (STUDY_FILE if of_study else RESULTS_FILE)
    if not path.exists():
        raise HwoptError(
            f"{folder} holds no finished job and no study: it has no {RESULTS_FILE} or {STUDY_FILE}"
        )
    if of_study and markdown:
        raise HwoptError("--markdown is for jobs: a study has its page, and --json")
    results = read_study(folder) if of_study else read_json(path)
    try:
        page = (write_study_report if of_study else write_report)(results, folder)
        table = (front_table if of_study else rich_table)(results)
    except (KeyError, TypeError) as error:
        raise HwoptError(f"{path} is damaged or of another version: {error!r}") from error
    if as_json:
        options.print_json(results)
    elif markdown:
        click.echo(markdown_table(results), nl=False)
    else:
        print_table(table)
        click.echo(f"report: {page}", err=True)
