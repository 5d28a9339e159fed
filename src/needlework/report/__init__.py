"""The report: it reads a finished run and writes one HTML page and its figures."""

from needlework.report.page import write_report
from needlework.report.text import verdict

__all__ = ["verdict", "write_report"]
