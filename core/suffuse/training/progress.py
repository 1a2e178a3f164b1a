"""One line that says how far a long job is: redrawn on a terminal, repeated now and then in a log."""

from __future__ import annotations

import sys
import time

from tqdm import tqdm

__all__ = ["Progress"]


class Progress:
    """Progress of training.

    Args:
        total: steps in all.
        done: steps already made.
        batch_size: samples in a step.
        every: seconds between two lines where there is no terminal.
    """

    def __init__(self, total: int, done: int, batch_size: int, every: float = 10.0) -> None:
        self.total, self.start, self.batch_size, self.every = total, done, batch_size, every
        self.began = self.printed = time.monotonic()
        self.bar = (
            tqdm(total=total, initial=done, unit="step", dynamic_ncols=True, file=sys.stderr)
            if sys.stderr.isatty()
            else None
        )

    def update(self, step: int, loss: float, rate: float) -> None:
        """``rate`` in samples a second."""
        if self.bar is not None:
            self.bar.set_postfix_str(f"loss {loss:.4f}, {rate:.0f} samples/s")
            self.bar.update(step - self.bar.n)
            return
        now = time.monotonic()
        if now - self.printed >= self.every or step == self.total:
            left = (now - self.began) / max(step - self.start, 1) * (self.total - step)
            print(
                f"step {step}/{self.total}  loss {loss:.4f}  {rate:.0f} samples/s  {_clock(left)} left",
                file=sys.stderr,
                flush=True,
            )
            self.printed = now

    def close(self) -> None:
        """Leave the terminal in order."""
        if self.bar is not None:
            self.bar.close()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
