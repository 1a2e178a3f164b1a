"""The Python of the page about the core runs, and prints what the page says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "core.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)


def run(block: str) -> dict[str, Any]:
    """The names of a block after it ran."""
    names: dict[str, Any] = {}
    exec(compile(block, "core.md", "exec"), names)
    return names


def test_the_worked_example_prints_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    run(BLOCKS[0])
    assert f"# {capsys.readouterr().out.strip()}" in BLOCKS[0]


def test_the_worked_example_agrees_with_its_table() -> None:
    rows = re.findall(r"^\| \d \|.*\*\*([\d.]+)\*\* \|$", PAGE.read_text(encoding="utf-8"), re.M)
    assert [float(row) for row in rows] == [0.655, 0.198, 0.148]
    assert ", ".join(rows) in BLOCKS[0]


def test_points_and_classes_come_out_as_they_went_in(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(BLOCKS[1].strip().splitlines()) <= 40
    names = run(BLOCKS[1])
    made, count = names["made"], names["count"]
    for kind, share in enumerate(names["shares"].tolist()):
        points = made["point"][made["kind"] == kind]
        assert len(points) / count == pytest.approx(share, abs=0.05)
        assert points.mean(0).tolist() == pytest.approx(names["centres"][kind].tolist(), abs=0.1)
        assert float(points.std(0).mean()) == pytest.approx(names["spread"], abs=0.05)
    assert len(capsys.readouterr().out.splitlines()) == 3
