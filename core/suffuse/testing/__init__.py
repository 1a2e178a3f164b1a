"""Conformance checks for plugins: one list, run by pytest and by ``suffuse plugins check NAME``.

The whole test file of a plugin's author::

    from suffuse.testing import parametrize_with_checks

    @parametrize_with_checks("crystal")
    def test_conformance(check):
        check()

What is tried, and in which tiny experiments, the plugin says itself (`suffuse.plugins.Trial`).
"""

from suffuse.plugins import Trial
from suffuse.testing.catalogue import CHECKS, Task, parametrize_with_checks, tasks
from suffuse.testing.check import Check, Failed, Inapplicable

__all__ = ["CHECKS", "Check", "Failed", "Inapplicable", "Task", "Trial", "parametrize_with_checks", "tasks"]
