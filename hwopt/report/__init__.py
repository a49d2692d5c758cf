"""Tables, plots and pages from the results of a job."""

from hwopt.report.page import write_report
from hwopt.report.table import markdown_table, print_table, rich_table

__all__ = ["markdown_table", "print_table", "rich_table", "write_report"]
