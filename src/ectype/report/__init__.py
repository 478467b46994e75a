"""The folder that a comparison writes → one page, or one table for the terminal. Reads files only, knows no model.

>>> write_report("compare-digits")                      # doctest: +SKIP
PosixPath('compare-digits/report.html')
"""

from .page import write_report
from .terminal import render_table

__all__ = ["render_table", "write_report"]
