"""The one line of progress, on a terminal and in a log."""

from __future__ import annotations

import io
import sys

import pytest

from suffuse.progress import Progress


def test_a_log_gets_a_line_now_and_then_and_one_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    text = io.StringIO()
    monkeypatch.setattr(sys, "stderr", text)
    now = 0.0
    monkeypatch.setattr("suffuse.progress.time.monotonic", lambda: now)
    with Progress(100, "step", done=20, every=10) as progress:
        for step in range(21, 101):
            now += 1.0
            progress.update(step, "loss 0.5")
    lines = text.getvalue().splitlines()
    assert len(lines) == 8
    assert lines[0] == "step 30/100  loss 0.5  1:10 left"
    assert lines[-1] == "step 100/100  loss 0.5  0:00 left"


def test_a_terminal_gets_one_line_that_is_redrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    text = Terminal()
    monkeypatch.setattr(sys, "stderr", text)
    with Progress(3, "sample") as progress:
        for done in (1, 2, 3):
            progress.update(done, "fine")
    assert text.getvalue().count("\n") == 1
    assert "3/3" in text.getvalue()
