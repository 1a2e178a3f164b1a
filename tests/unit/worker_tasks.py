"""What the tests let child processes do."""

from __future__ import annotations

import os
import time


def work(items: list[object], extra: int = 0) -> list[object]:
    """Doubles numbers; ``hang`` sleeps for a minute, ``die`` ends the process, ``fail`` is a mistake of ours."""
    if "hang" in items:
        time.sleep(60)
    if "die" in items:
        os._exit(11)
    if "fail" in items:
        raise KeyError("a mistake")
    print("to standard output, where answers go")
    return [2 * item + extra for item in items]  # type: ignore[operator]
