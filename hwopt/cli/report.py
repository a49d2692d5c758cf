"""``hwopt report``: write the report of a job or a study again."""

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
    """Write report.html and the plots of the job or study in FOLDER, and print its table."""
    from hwopt.job import JobResults
    from hwopt.report import print_table, rich_table, write_report
    from hwopt.report.study_page import write_study_report
    from hwopt.report.study_table import front_table
    from hwopt.search.files import STUDY_FILE
    from hwopt.search.results import StudyResults

    results: JobResults | StudyResults
    if (folder / STUDY_FILE).exists():
        results = StudyResults.of(folder)
        page, table = write_study_report(results, folder), front_table(results)
    elif (folder / RESULTS_FILE).exists():
        results = JobResults.of(folder)
        page, table = write_report(results, folder), rich_table(results)
    else:
        raise HwoptError(
            f"{folder} holds no finished job and no study: it has no {RESULTS_FILE} or {STUDY_FILE}"
        )
    if as_json:
        options.print_json(results.to_json())
    elif markdown:
        click.echo(results.table(), nl=False)
    else:
        print_table(table)
        click.echo(f"report: {page}", err=True)
