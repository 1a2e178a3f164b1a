"""The list of checks, and the two ways to run it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from suffuse.errors import PluginError, suggest
from suffuse.plugins import Registry, Trial
from suffuse.testing.bench import Bench
from suffuse.testing.check import Check, Inapplicable
from suffuse.testing.registration import registration_imports_nothing_heavy

__all__ = ["CHECKS", "Task", "parametrize_with_checks", "tasks"]


CHECKS = (Check(registration_imports_nothing_heavy, once=True),)
"""In the order in which they are run: a plugin that fails an early one may fail later ones for the same reason."""


@dataclass(frozen=True)
class Task:
    """One check on one bench. Calling it runs it.

    Args:
        expected: why it is known to fail; None where it is to pass.
    """

    check: Check
    bench: Bench = field(repr=False)
    expected: str | None = None

    def __call__(self) -> None:
        """
        Raises:
            Failed: something is wrong.
            Inapplicable: there is nothing to look at.
        """
        self.check.run(self.bench)

    @property
    def label(self) -> str:
        """The check, behind its trial where that has a name."""
        trial = self.bench.trial.name
        return f"{trial}/{self.check.name}" if trial and not self.check.once else self.check.name


def tasks(plugin: str, *trials: Trial) -> list[Task]:
    """Everything that is checked of an installed plugin.

    Args:
        trials: in place of those that the plugin names itself.

    Raises:
        PluginError: the plugin is missing or does not fit the hooks, or its trials name a check that does not exist.
    """
    registry = Registry()
    brought = {kind for kind, names in registry.load(plugin).items() if names}
    benches = [Bench(plugin, trial) for trial in trials or registry.trials(plugin)]
    known = [check.name for check in CHECKS]
    found = []
    for place, bench in enumerate(benches):
        for name in bench.trial.expected:
            if name not in known:
                raise PluginError(f"plugin {plugin!r}: no such check {name!r} to fail{suggest(name, known)}")
        found += [
            Task(check, bench, bench.trial.expected.get(check.name))
            for check in CHECKS
            if (not check.kinds or check.kinds & brought) and not (check.once and place)
        ]
    return found


def parametrize_with_checks(plugin: str, *trials: Trial) -> Any:
    """A pytest decorator that calls a test with each of the plugin's `tasks` as ``check``; known failures are strict.

    ``@parametrize_with_checks("crystal")`` over ``def test_conformance(check): check()``. Needs pytest.
    """
    import pytest

    def param(task: Task) -> Any:
        marks = [] if task.expected is None else [pytest.mark.xfail(reason=task.expected, strict=True)]
        return pytest.param(_skipping(task), id=task.label, marks=marks)

    return pytest.mark.parametrize("check", [param(task) for task in tasks(plugin, *trials)])


def _skipping(task: Task) -> Callable[[], None]:
    import pytest

    def run() -> None:
        try:
            task()
        except Inapplicable as reason:
            pytest.skip(str(reason))

    return run
