"""One line that says how far a long job is: redrawn on a terminal, repeated now and then in a log."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

from tqdm import tqdm

from suffuse.world import World

__all__ = ["Progress"]


class Progress:
    """Progress of a job of known length; a context manager. Of several processes the first shows it.

    Args:
        total: of the job.
        unit: what is counted.
        done: where it begins.
        every: seconds between two lines where there is no terminal.
    """

    def __init__(self, total: int, unit: str, *, done: int = 0, every: float = 10.0) -> None:
        self.total, self.unit, self.begin, self.every = total, unit, done, every
        self.began = self.printed = time.monotonic()
        self.quiet = World.here().rank > 0
        self.bar = (
            tqdm(total=total, initial=done, unit=unit, dynamic_ncols=True, file=sys.stderr)
            if sys.stderr.isatty() and not self.quiet
            else None
        )

    def update(self, done: int, note: str = "") -> None:
        """``done`` of the total are behind us; ``note`` says more."""
        if self.quiet:
            return
        if self.bar is not None:
            self.bar.set_postfix_str(note, refresh=False)
            self.bar.update(done - self.bar.n)
            return
        now = time.monotonic()
        if now - self.printed >= self.every or done == self.total:
            left = (now - self.began) / max(done - self.begin, 1) * (self.total - done)
            words = [f"{self.unit} {done}/{self.total}", note, f"{_clock(left)} left"]
            print("  ".join(filter(None, words)), file=sys.stderr, flush=True)
            self.printed = now

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the terminal in order."""
        if self.bar is not None:
            self.bar.close()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
