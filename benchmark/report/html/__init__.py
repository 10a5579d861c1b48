"""The report: one self-contained page about finished runs. No torch."""

from benchmark.report.html.page import Extras, build

__all__ = ["Extras", "build"]
