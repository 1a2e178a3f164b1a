"""What a run does when it is asked to end; the second signal of a real run is in ``tests/integration``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from suffuse.training.signals import heeded

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_first_signal_is_only_noted(number: signal.Signals) -> None:
    before = [signal.getsignal(each) for each in SIGNALS]
    noted: list[int] = []
    with heeded(noted.append):
        signal.raise_signal(number)
        assert noted == [number]
        assert [signal.getsignal(each) for each in SIGNALS] == before
    assert [signal.getsignal(each) for each in SIGNALS] == before
    assert signal.set_wakeup_fd(-1) == -1


def test_other_signals_count_for_nothing() -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGUSR2, lambda number, frame: seen.append(number))
    try:
        with heeded(seen.append):
            for _ in range(3):
                signal.raise_signal(signal.SIGUSR2)
            signal.raise_signal(signal.SIGUSR1)
            time.sleep(1.5)  # a process that counted them would be gone
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert seen == [signal.SIGUSR2] * 3 + [signal.SIGUSR1]


def test_a_program_that_survives_the_second_signal_goes_on() -> None:
    """Such as a notebook, in which Ctrl-C twice is to end the run and nothing else."""

    def twice() -> None:
        with heeded(lambda number: None):
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            twice()
        time.sleep(1.5)  # in which it would be ended
    finally:
        signal.signal(signal.SIGINT, before)


def test_outside_the_main_thread_nothing_is_touched() -> None:
    found: list[object] = []

    def look() -> None:
        with heeded(found.append):
            found.extend(signal.getsignal(each) for each in SIGNALS)

    before = [signal.getsignal(each) for each in SIGNALS]
    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == before


CHILD = """
import os, signal, sys, time
from suffuse.training.signals import heeded
with heeded(lambda number: print("noted", flush=True)):
    if not (child := os.fork()):
        signal.signal(signal.SIGINT, lambda *_: None)
        print("ready", flush=True)
        while True:
            time.sleep(0.05)
    for _ in range(50):  # a short sleep each, as a signal interrupts it
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
def test_what_a_child_meets_is_no_second_signal() -> None:
    """Ctrl-C goes to a run and to its workers alike."""
    process = subprocess.Popen([sys.executable, "-c", CHILD], stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=30)
    assert said == "noted\n"
    assert process.returncode == 0
