"""Tables, plots and pages from the results of a job."""

from hwopt.job.table import markdown, markdown_table
from hwopt.report.page import write_report
from hwopt.report.profile import largest_losses, profile_table
from hwopt.report.study_page import write_study_report
from hwopt.report.table import print_table, rich_table

__all__ = [
    "largest_losses",
    "markdown",
    "markdown_table",
    "print_table",
    "profile_table",
    "rich_table",
    "write_report",
    "write_study_report",
]
