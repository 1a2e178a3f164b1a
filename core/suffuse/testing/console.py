"""``suffuse plugins check NAME``: the list of checks without pytest."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from io import StringIO

import torch

from suffuse.plugins import Registry, Trial
from suffuse.testing.catalogue import Task, tasks
from suffuse.testing.check import Failed, Inapplicable

__all__ = ["check", "outcome"]


def check(plugin: str, words: Sequence[str] = ()) -> int:
    """Run all checks of a plugin, print a line for each, and return the exit code: 0, or 2 where one fails.

    Args:
        words: of the command line, which are tried in place of the plugin's own trials.

    Raises:
        PluginError: the plugin is missing or does not fit the hooks.
    """
    torch.set_num_threads(1)  # in networks this small threads only get into each other's way
    found = tasks(plugin, *([Trial(words=words)] if words else []))
    print(f"{Registry()[plugin].label}: {len(found)} checks")
    width = max(len(task.label) for task in found)
    counted: Counter[str] = Counter()
    said: dict[str, str] = {}
    for task in found:
        began = time.perf_counter()
        state, line = outcome(task)
        counted[state] += 1
        if state == "FAILED" and (first := said.setdefault(line, task.label)) != task.label:
            line = f"as {first}"
        print(f"  {state:<8}{time.perf_counter() - began:6.1f} s  {task.label:<{width}}  {line}".rstrip(), flush=True)
    print(", ".join(f"{count} {state}" for state, count in counted.items()))
    return 2 if counted["FAILED"] else 0


def outcome(task: Task) -> tuple[str, str]:
    """How a check went: ``ok``, ``FAILED``, ``known`` (it fails as expected) or ``-`` (nothing to look at), and why."""
    try:
        with _silence():
            task()
    except Inapplicable as reason:
        return "-", str(reason)
    except Exception as error:  # a plugin's own code may raise anything
        kind = "" if isinstance(error, Failed) else f"{type(error).__name__}: "
        why = " ".join(f"{kind}{error}".split())
        return ("FAILED", why) if task.expected is None else ("known", task.expected)
    return ("ok", "") if task.expected is None else ("FAILED", f"passes, but is expected to fail: {task.expected}")


@contextmanager
def _silence() -> Iterator[None]:
    with redirect_stderr(StringIO()):
        yield
