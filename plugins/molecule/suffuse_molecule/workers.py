"""Chemistry in processes that may hang or die without harm to ours.

RDKit is fast C++ that trusts its input: one molecule in a million recurses until the stack ends or searches rings for
hours. So what comes from a file is worked on in chunks by child processes, each item under a clock. An item that ends
its process is named, and the rest of its chunk goes on in another one. The clock counts work and not time that goes
by, so that what is lost does not depend on what else the machine does.

The children are plain ``python -c`` processes that talk in pickles through pipes: they never run the caller's main
module again, and share no locks with its threads.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pickle
import signal
import struct
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import IO, Any

from rdkit import RDLogger

__all__ = ["Lost", "Workers", "alone", "serve"]

_HEADER = struct.Struct("<Q")
_MEMORY = 1 << 29
"""Bytes of data that a child may have."""
_PATIENCE = 60.0
"""Seconds that may go by for each second of work, after which a child is taken to sleep."""


class Lost(str):
    """In place of a result: ``timeout`` or ``crash``."""


class Workers:
    """Runs a function over many items in child processes; a context manager.

    Args:
        task: ``"module:function"``, called as ``function(items, *settings)`` with a list of items (in a child, of
            one), and giving a list of as many results.
        settings: more arguments, the same for all; plain data.
        processes: how many; 0 calls the function here, without protection; None is one for each core.
        seconds: of work that one item may take.
    """

    def __init__(self, task: str, *settings: Any, processes: int | None = None, seconds: float = 2.0) -> None:
        self.count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        if processes is not None:
            self.count = processes
        self._task, self._settings, self._seconds = task, settings, seconds
        self._idle: SimpleQueue[_Child] = SimpleQueue()
        self._children = [_Child(task, settings) for _ in range(self.count)]
        for child in self._children:
            self._idle.put(child)
        self._threads = ThreadPoolExecutor(max(1, self.count))

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *error: object) -> None:
        for child in self._children:
            child.stop()
        self._threads.shutdown(cancel_futures=True)

    def map(self, chunks: Iterable[Sequence[Any]]) -> Iterator[list[Any]]:
        """The results for each chunk, in order; `Lost` for items that hang or crash. Few chunks are read ahead."""
        if not self.count:
            function = _find(self._task)
            for chunk in chunks:
                yield function(list(chunk), *self._settings)
            return
        waiting: deque[Future[list[Any]]] = deque()
        for chunk in chunks:
            waiting.append(self._threads.submit(self._run, list(chunk)))
            if len(waiting) > 2 * self.count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def _run(self, items: list[Any]) -> list[Any]:
        child = self._idle.get()
        try:
            return self._work(child, items)
        finally:
            self._idle.put(child)

    def _work(self, child: _Child, items: list[Any]) -> list[Any]:
        found: list[Any] = []
        while items:
            answer = child.call(items, self._seconds)
            if isinstance(answer, list):
                return found + answer
            lost, done = answer
            found += [*self._work(child, items[:done]), lost]  # what was done went with the process
            items = items[done + 1 :]
        return found


def alone(task: str, item: Any, *settings: Any, processes: int = 1, seconds: float = 2.0) -> Any:
    """What a task makes of one item that nobody has looked at yet; `Lost` if it hangs or crashes."""
    with Workers(task, *settings, processes=processes, seconds=seconds) as workers:
        ((answer,),) = workers.map([[item]])
    return answer


class _Child:
    """One process, started when it is first needed and again after it was lost."""

    def __init__(self, task: str, settings: tuple[Any, ...]) -> None:
        self._first = (task, settings)
        self._process: subprocess.Popen[bytes] | None = None
        self._marks: IO[bytes] | None = None  # a byte for each item that is done
        self._stopped = False

    def call(self, items: list[Any], seconds: float) -> list[Any] | tuple[Lost, int]:
        """The results of all items, or how the process was lost, and the place of the item that did it."""
        process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        late = threading.Event()

        def end() -> None:
            late.set()
            process.kill()

        assert self._marks is not None
        clock = threading.Timer(_PATIENCE * (seconds + 0.05 * len(items)), end)
        clock.start()
        try:
            _send(process.stdin, (seconds, items))
            answer = _receive(process.stdout)
            if isinstance(answer, str):
                raise RuntimeError(f"in a worker process:\n{answer}")
            self._marks.read(len(items))
        except (OSError, EOFError):
            process.kill()
            process.wait()
            done = min(len(self._marks.read()), len(items) - 1)  # all may be done, and the answer too large to send
            self._discard()
            return Lost("timeout" if late.is_set() or process.returncode == -signal.SIGPROF else "crash"), done
        finally:
            clock.cancel()
        return answer  # type: ignore[no-any-return]

    def stop(self) -> None:
        self._stopped = True
        self._discard()

    def _start(self) -> subprocess.Popen[bytes]:
        if self._stopped:
            raise RuntimeError("these workers have been stopped")
        marks, theirs = os.pipe()
        process = subprocess.Popen(
            [sys.executable, "-c", f"from suffuse_molecule.workers import serve; serve({theirs})"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[theirs],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"},
        )
        os.close(theirs)
        self._process, self._marks = process, os.fdopen(marks, "rb")
        assert process.stdin is not None
        assert process.stdout is not None
        _send(process.stdin, self._first)
        _receive(process.stdout)  # it is ready: the clock of an item does not count the imports
        return process

    def _discard(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, self._marks):
            if pipe is not None:
                with contextlib.suppress(OSError):  # what was still to be written has no reader
                    pipe.close()


def serve(marks: int) -> None:
    """The life of a child: a task, then chunks until the pipe ends; a byte to ``marks`` for each item."""
    import traceback

    source = sys.stdin.buffer
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what anything prints must not get among the answers
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends us in order
    RDLogger.DisableLog("rdApp.*")
    _limit_memory()
    task, settings = _receive(source)
    function = _find(task)
    _send(answers, None)
    while True:
        try:
            seconds, items = _receive(source)
        except EOFError:
            return
        answer: Any = []
        try:
            for item in items:
                signal.setitimer(signal.ITIMER_PROF, seconds)  # its signal ends the process, whatever RDKit is doing
                answer += function([item], *settings)
                signal.setitimer(signal.ITIMER_PROF, 0)
                os.write(marks, b".")
        except MemoryError:
            os._exit(1)
        except Exception:
            answer = traceback.format_exc()
        signal.setitimer(signal.ITIMER_PROF, 0)
        _send(answers, answer)


def _limit_memory() -> None:
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY, resource.getrlimit(resource.RLIMIT_DATA)[1]))
    except (ImportError, ValueError, OSError):  # not on this system
        pass


def _find(task: str) -> Callable[..., list[Any]]:
    module, _, name = task.partition(":")
    function: Callable[..., list[Any]] = getattr(importlib.import_module(module), name)
    return function


def _send(stream: IO[bytes], value: Any) -> None:
    data = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    stream.write(_HEADER.pack(len(data)) + data)
    stream.flush()


def _receive(stream: IO[bytes]) -> Any:
    header = stream.read(_HEADER.size)
    if len(header) < _HEADER.size:
        raise EOFError
    (size,) = _HEADER.unpack(header)
    data = stream.read(size)
    if len(data) < size:
        raise EOFError
    return pickle.loads(data)  # from our own child, through a pipe that nobody else has
