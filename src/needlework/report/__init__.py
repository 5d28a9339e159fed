"""The report: it reads a finished run and writes one HTML page and its figures."""
