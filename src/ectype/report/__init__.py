"""The folder that a comparison writes → one page, or one table for the terminal. Reads files only, knows no model.

>>> write_report("compare-digits")                      # doctest: +SKIP
PosixPath('compare-digits/report.html')
"""

from .export import write_figures, write_table
from .page import open_page, write_report
from .summary import write_summary
from .terminal import render_table

__all__ = ["open_page", "render_table", "write_figures", "write_report", "write_summary", "write_table"]
