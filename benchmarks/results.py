"""From records to pages: what a benchmark prints, and ``docs/results.md``."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.harness import Cell, Record, Table

__all__ = ["markdown", "page", "section", "shown"]

_HEAD = """# Results

Every figure on this page comes from a record in `benchmarks/results/` that a command wrote; the command stands
beside it. The page itself is made by `python -m benchmarks table > docs/results.md`.
"""


_PICTURES = "../benchmarks/results/"


def section(record: Record, pictures: str = "") -> str:
    """All that a record says, as Markdown.

    Args:
        record: of a benchmark.
        pictures: what leads from the page to the folder of pictures, such as ``../benchmarks/results/``.
    """
    findings = record.findings
    minutes, seconds = divmod(round(record.seconds), 60)
    took = f" in {minutes} min {seconds} s" if record.seconds >= 1 else ""  # else earlier calls had done it all
    place = ", ".join(f"{key} {shown(value)}" for key, value in record.machine.items())
    parts = [f"{record.about}\n\n    {record.command}"]
    parts.append(f"Made {record.date}{took}. Machine: {place}.")
    if record.quick:
        parts.append("**Made with `--quick`: these figures show that it runs, and mean nothing.**")
    if findings.settings:
        parts.append("\n".join(f"- {key}: {shown(value)}" for key, value in findings.settings.items()))
    if findings.bars:
        rows = [[bar.promise, bar.found, "kept" if bar.met else "**missed**"] for bar in findings.bars]
        parts.append(markdown(Table(title="", columns=("promise", "found", ""), rows=rows)))
    for table in findings.tables:
        parts.append(f"### {table.title}\n\n{markdown(table)}")
    parts += [f"![{record.name}]({pictures}{name})" for name in findings.pictures]
    return "\n\n".join(parts) + "\n"


def page(records: Mapping[str, Record | None], titles: Mapping[str, str]) -> str:
    """``docs/results.md``: a section for each benchmark in the order of ``titles``, or how to get its record."""
    parts = [_HEAD]
    for name, title in titles.items():
        record = records.get(name)
        body = f"Not run yet: `python -m benchmarks {name}`\n"
        parts.append(f"## {title}\n\n{section(record, _PICTURES) if record else body}")
    return "\n".join(parts)


def markdown(table: Table) -> str:
    """A table as Markdown, aligned so that it also reads well in a terminal."""
    grid = [list(table.columns), *([shown(cell) for cell in row] for row in table.rows)]
    widths = [max(map(len, column)) for column in zip(*grid, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = []
    for row in (grid[0], rule, *grid[1:]):
        figures = (text.rjust(width) for text, width in zip(row[1:], widths[1:], strict=True))
        lines.append(f"| {' | '.join([row[0].ljust(widths[0]), *figures])} |")
    return "\n".join(lines)


def shown(cell: Cell) -> str:
    """A cell as text: whole numbers with commas, others to four digits."""
    if cell is None:
        return ""
    if isinstance(cell, float):
        return f"{cell:.4g}" if abs(cell) < 1000 else f"{cell:,.0f}"
    return f"{cell:,}" if isinstance(cell, int) else cell
