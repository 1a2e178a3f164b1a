"""Commands in processes that are made to be killed.

Each is forked from this process, which has imported everything beforehand, so that twenty deaths do not cost twenty
starts of Python. What runs is the command line as anybody types it.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import random
import signal
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path

from suffuse.cli import main
from suffuse.plugins import Registry

__all__ = ["Life", "begin", "preload"]

_FORK = multiprocessing.get_context("fork")


class Life:
    """The processes of one command.

    Args:
        words: what is typed after ``suffuse``.
        log: where everything that they say is appended.
        ranks: how many processes, which know of each other as torchrun's do.
    """

    def __init__(self, words: Sequence[str], log: Path, ranks: int = 1) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        known = {}
        if ranks > 1:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                known = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
        self.log = log
        self.processes: list[BaseProcess] = []
        for rank in range(ranks):
            more = {**known, "RANK": str(rank), "WORLD_SIZE": str(ranks), "LOCAL_RANK": str(rank)} if ranks > 1 else {}
            process = _FORK.Process(target=_live, args=(list(words), log, more))
            process.start()
            self.processes.append(process)

    @property
    def over(self) -> bool:
        """Whether none of them lives."""
        return not any(process.is_alive() for process in self.processes)

    def kill(self) -> bool:
        """All at once, as nothing can prevent. Returns whether there was anything left to kill."""
        alive = [process for process in self.processes if process.is_alive()]
        for process in alive:
            process.kill()
        for process in self.processes:
            process.join()
        return bool(alive)

    def wait(self, seconds: float) -> None:
        """Until the end, which has to be a good one.

        Raises:
            RuntimeError: one failed, or is not done in time; with the last that was said.
        """
        until = time.monotonic() + seconds
        for process in self.processes:
            process.join(max(0.0, until - time.monotonic()))
        codes = [process.exitcode for process in self.processes]
        if any(code != 0 for code in codes):
            self.kill()
            raise RuntimeError(f"exit codes {codes}: {self.log.read_text(errors='replace')[-2000:]}")

    def live(self, reached: Callable[[], bool], chance: random.Random, most: float = 0.5, seconds: float = 600) -> None:
        """Let them go on until something is reached, and then for a random time; or to their end."""
        until = time.monotonic() + seconds
        while not self.over and not reached():
            if time.monotonic() > until:
                self.kill()
                raise RuntimeError(f"no progress: {self.log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.02)
        time.sleep(chance.uniform(0, most))


def begin(words: Sequence[str], log: Path, seconds: float = 1200) -> None:
    """Run a command to its end."""
    Life(words, log).wait(seconds)


def preload(modalities: Sequence[str]) -> None:
    """Import what their runs import."""
    registry = Registry()
    places = ["suffuse.commands.train", "suffuse.commands.sample", "suffuse.training.parallel"]
    for name in modalities:
        places += [path.partition(":")[0] for kinds in registry.load(name).values() for path in kinds.values()]
    for place in places:
        with suppress(ImportError):  # of an extra that is not installed
            importlib.import_module(place)


def _live(words: list[str], log: Path, environment: dict[str, str]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever measures
    os.environ.update(environment)
    with log.open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    raise SystemExit(main(words))
