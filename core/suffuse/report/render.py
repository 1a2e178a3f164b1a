"""A report as one HTML page that opens from disk, with no server, no script and nothing loaded from anywhere.

The page's own content policy holds it to that: it shows pictures and sound that lie inside it and refuses all
else, so that a stranger's report can be opened without a second thought.
"""

from __future__ import annotations

import math
import shlex
from importlib import resources

from jinja2 import Environment, StrictUndefined

from suffuse.report import curves
from suffuse.report.model import Report

__all__ = ["render", "significant"]

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def significant(value: float) -> str:
    """Three significant digits for people: ``"0.970"``, ``"12,300"``, ``"1.20 × 10⁻⁵"``; ``"–"`` for NaN."""
    if math.isnan(value):
        return "–"
    sign = "−" if value < 0 else ""
    if math.isinf(value):
        return f"{sign}∞"
    if value == 0:
        return "0"
    mantissa, exponent = f"{abs(value):.2e}".split("e")
    power = int(exponent)
    if -5 < power < 6:
        return f"{sign}{float(f'{mantissa}e{exponent}'):,.{max(0, 2 - power)}f}"
    return f"{sign}{mantissa} × 10{str(power).translate(_SUPERSCRIPT)}"


def render(report: Report) -> str:
    """The page as text, equal for equal reports. All is escaped but the fragments, which are HTML already."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["significant"] = significant
    template = environment.from_string(resources.files(__package__).joinpath("template.html.j2").read_text("utf-8"))
    drawings = [(panel, curves.svg(panel, f"curve{i}")) for i, panel in enumerate(curves.panels(report.curves))]
    return template.render(
        report=report,
        drawings=drawings,
        groups=[group for group in report.groups if group.fragments],
        strips=[strip for strip in report.strips if strip.frames],
        evaluate=f"suffuse evaluate run={shlex.quote(report.run)}",
    )
