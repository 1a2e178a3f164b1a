"""Signals that end a run: the first is heeded between two steps, and a second one acts at once."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["heeded"]

_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))
"""Ctrl-C, the end of a machine or a job, and what SLURM is often told to send some time before it."""
_GRACE = 1.0
"""Seconds in which the run may end by itself after a second signal."""
_told: socket.socket | None = None


@contextmanager
def heeded(note: Callable[[int], None]) -> Iterator[None]:
    """While it is open, the first signal only calls ``note`` with its number. A second one does what it did before.

    Python runs handlers between two calls of torch alone, and a step can be one call of many seconds. So a thread of
    our own counts signals as they come, and ends the process where that takes too long. Outside the main thread
    whoever runs us handles signals.
    """
    global _told
    before: dict[int, Any] = {}

    def first(number: int, frame: object) -> None:
        note(number)
        for each, handler in before.items():  # so that the next one ends even a process that waits for another
            signal.signal(each, handler)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    left = threading.Event()
    seen, _told = socket.socketpair()
    _told.setblocking(False)
    others = signal.set_wakeup_fd(_told.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_count, args=(seen, left), daemon=True).start()
    for number in _SIGNALS:
        before[number] = signal.signal(number, first)
    try:
        yield
    finally:
        left.set()
        for caught, handler in before.items():
            signal.signal(caught, handler)
        signal.set_wakeup_fd(others)
        _told.close()  # which ends the thread
        _told = None


def _count(seen: socket.socket, left: threading.Event) -> None:
    """End the process some time after its second signal, if the run is still there."""
    met = 0
    with seen:
        while numbers := seen.recv(16):
            for number in numbers:
                met += number in _SIGNALS
                if met > 1 and not left.wait(_GRACE):
                    os._exit(128 + number)


def _forget() -> None:
    """In a child: what it meets is no signal to its parent, although Ctrl-C goes to both."""
    if _told is not None:
        signal.set_wakeup_fd(-1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
