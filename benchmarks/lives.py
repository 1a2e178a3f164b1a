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
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import wraps
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from suffuse.cli import main
from suffuse.plugins import Registry

__all__ = ["Diary", "Life", "begin", "preload"]

_FORK = multiprocessing.get_context("fork")


class Life:
    """The processes of one command.

    Args:
        words: what is typed after ``suffuse``.
        log: where everything that they say is appended.
        ranks: how many processes, which know of each other as torchrun's do.
        before: called in each of them first.
    """

    def __init__(
        self, words: Sequence[str], log: Path, ranks: int = 1, before: Callable[[], object] | None = None
    ) -> None:
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
            process = _FORK.Process(target=_live, args=(list(words), log, more, before))
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

    def live(
        self,
        reached: Callable[[], bool],
        chance: random.Random,
        most: float = 0.5,
        seconds: float = 600,
        pause: float = 0.02,
    ) -> None:
        """Let them go on until something is reached, and then for a random time; or to their end.

        Args:
            reached: asked again after every ``pause`` seconds.
            chance: decides the random time.
            most: seconds of it.
            seconds: after which they are held to be stuck.
        """
        until = time.monotonic() + seconds
        while not self.over and not reached():
            if time.monotonic() > until:
                self.kill()
                raise RuntimeError(f"no progress: {self.log.read_text(errors='replace')[-2000:]}")
            time.sleep(pause)
        time.sleep(chance.uniform(0, most))


@dataclass(frozen=True)
class Diary:
    """When a process enters some methods and leaves them, in a file from which it can be told after its death.

    Args:
        file: a line for each time: the second, ``in`` or ``out``, and which of them.
    """

    file: Path

    def keep(self, methods: Mapping[str, tuple[type, str]]) -> None:
        """Begin it in this process, if it is the only one of its run or leads it.

        Args:
            methods: a name for each class and its method; none is called within another.
        """
        if os.environ.get("RANK", "0") != "0":
            return
        file = os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

        def noted(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
            @wraps(method)
            def call(*given: Any, **named: Any) -> Any:
                os.write(file, f"{time.monotonic()} in {name}\n".encode())
                try:
                    return method(*given, **named)
                finally:
                    os.write(file, f"{time.monotonic()} out {name}\n".encode())

            return call

        for name, (owner, method) in methods.items():
            setattr(owner, method, noted(name, getattr(owner, method)))

    def entries(self) -> list[tuple[float, str, str]]:
        """All lines so far."""
        lines = self.file.read_text().splitlines() if self.file.exists() else []
        parts = [line.split(" ", 2) for line in lines]
        return [(float(second), way, name) for second, way, name in parts]

    def entered(self, name: str) -> int:
        """How often."""
        return sum((way, entered) == ("in", name) for _, way, entered in self.entries())

    def inside(self) -> str | None:
        """What was entered last, if it was not left."""
        entries = self.entries()
        return entries[-1][2] if entries and entries[-1][1] == "in" else None

    def length(self, name: str) -> float:
        """Seconds from in to out, the median."""
        moments = [(second, way) for second, way, entered in self.entries() if entered == name]
        pairs = zip(moments[::2], moments[1::2], strict=False)
        return statistics.median([left - entered for (entered, _), (left, _) in pairs] or [0.0])


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


def _live(words: list[str], log: Path, environment: dict[str, str], before: Callable[[], object] | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever measures
    os.environ.update(environment)
    with log.open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    if before is not None:
        before()
    raise SystemExit(main(words))
