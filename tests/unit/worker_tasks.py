"""What the tests let child processes do."""

from __future__ import annotations

import os
import time


def work(items: list[object], extra: int = 0) -> list[object]:
    """Doubles numbers; ``hang`` works for ever, ``die`` ends the process, ``fail`` is a mistake of ours.

    ``nap`` waits a second, as where a machine has other things to do; what becomes of ``odd`` cannot be sent,
    and ``think`` takes a fifth of a second of work.
    """
    if "odd" in items:
        return [lambda: None]
    if "think" in items:
        until = time.process_time() + 0.2
        while time.process_time() < until:
            pass
    while "hang" in items:
        pass
    if "nap" in items:
        time.sleep(1)
    if "die" in items:
        os._exit(11)
    if "fail" in items:
        raise KeyError("a mistake")
    print("to standard output, where answers go")
    return [item if item in ("nap", "think") else 2 * item + extra for item in items]  # type: ignore[operator]
