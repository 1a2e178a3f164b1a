"""The list of checks, and the two ways to run it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from tempfile import TemporaryDirectory
from typing import Any

from suffuse.errors import PluginError, suggest
from suffuse.plugins import Registry, Trial
from suffuse.testing.bench import Bench
from suffuse.testing.check import Check, Inapplicable
from suffuse.testing.configuration import (
    configuration_fits_its_components,
    configuration_is_commented,
    configuration_lies_in_its_own_folders,
)
from suffuse.testing.data import (
    conditions_are_those_declared,
    decoding_takes_whatever_is_drawn,
    decoding_undoes_encoding,
    files_can_be_read_back,
    items_are_the_same_every_time,
    pages_stand_alone,
    splits_share_no_item,
    states_fit_their_fields,
    workers_change_nothing,
)
from suffuse.testing.network import (
    batch_mates_change_nothing,
    beliefs_fit_their_fields,
    bf16_agrees_with_float32,
    every_parameter_gets_a_gradient,
    four_items_are_learnt_by_heart,
    level_and_conditions_are_heard,
    noise_keeps_to_the_layout,
    padding_changes_nothing,
)
from suffuse.testing.parts import samplers_find_classes, samplers_find_numbers, scores_are_figures
from suffuse.testing.registration import (
    components_exist_and_are_explained,
    hooks_fit,
    registration_imports_nothing_heavy,
    trials_use_what_is_brought,
)
from suffuse.testing.running import (
    a_killed_run_goes_on,
    a_run_is_made_from_the_command_line,
    a_seed_makes_one_sample,
    components_leave_the_process_alone,
    weights_come_back,
)
from suffuse.testing.symmetry import samples_keep_the_symmetries, the_network_keeps_its_symmetries

__all__ = ["CHECKS", "Task", "parametrize_with_checks", "tasks"]

_DATA = frozenset({"data"})
_VALUES = frozenset({"data", "decoder"})
_NETWORK = frozenset({"backbone"})
_LEARNING = frozenset({"backbone", "data", "decoder", "process", "schedule", "warp", "clock", "weighting", "coupling"})
_SAMPLING = frozenset(
    {"backbone", "process", "schedule", "warp", "solver", "categorical", "grid", "guidance", "predictor"}
)

CHECKS = (
    Check(registration_imports_nothing_heavy, once=True),
    Check(hooks_fit, once=True),
    Check(components_exist_and_are_explained, once=True),
    Check(configuration_lies_in_its_own_folders, once=True),
    Check(configuration_is_commented, once=True),
    Check(configuration_fits_its_components, once=True),
    Check(trials_use_what_is_brought, once=True),
    Check(items_are_the_same_every_time, _DATA),
    Check(workers_change_nothing, _VALUES),
    Check(splits_share_no_item, _DATA),
    Check(conditions_are_those_declared, _DATA),
    Check(states_fit_their_fields, _VALUES),
    Check(decoding_undoes_encoding, _VALUES),
    Check(decoding_takes_whatever_is_drawn, _VALUES),
    Check(files_can_be_read_back, _VALUES),
    Check(pages_stand_alone, _VALUES),
    Check(noise_keeps_to_the_layout, _LEARNING),
    Check(beliefs_fit_their_fields, _NETWORK),
    Check(padding_changes_nothing, _NETWORK),
    Check(batch_mates_change_nothing, _NETWORK),
    Check(level_and_conditions_are_heard, _NETWORK),
    Check(the_network_keeps_its_symmetries, _NETWORK | _VALUES),
    Check(samples_keep_the_symmetries, _SAMPLING | _VALUES),
    Check(every_parameter_gets_a_gradient, _NETWORK),
    Check(four_items_are_learnt_by_heart, _LEARNING),
    Check(bf16_agrees_with_float32, _NETWORK),
    Check(a_seed_makes_one_sample, _SAMPLING),
    Check(weights_come_back, _NETWORK | _VALUES),
    Check(samplers_find_numbers, frozenset({"solver", "grid"})),
    Check(samplers_find_classes, frozenset({"categorical"})),
    Check(scores_are_figures, frozenset({"metric"}), once=True),
    Check(a_run_is_made_from_the_command_line),
    Check(a_killed_run_goes_on, once=True),
    Check(components_leave_the_process_alone, once=True),
)
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
    room = TemporaryDirectory(prefix="suffuse-check-")
    benches = [Bench(plugin, trial, registry, room) for trial in trials or registry.trials(plugin)]
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
