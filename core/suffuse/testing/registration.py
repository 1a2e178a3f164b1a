"""Checks of what a plugin says when it is asked what it brings: its hooks and its components."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from suffuse.plugins import CORE, KINDS, Registry
from suffuse.plugins.listing import settings
from suffuse.testing.bench import Bench, in_a_new_process
from suffuse.testing.check import ensure

__all__ = [
    "components_exist_and_are_explained",
    "hooks_fit",
    "registration_imports_nothing_heavy",
    "trials_use_what_is_brought",
]

_LIGHT = {"suffuse", "pluggy"}
_PROBE = """
import sys
before = set(sys.modules)
import {module}
print(*{{name.partition(".")[0] for name in set(sys.modules) - before}} - set(sys.stdlib_module_names))
"""
_OF_THE_USER = {"data", "decoder", "metric"}
"""Kinds of which one in a trial is enough: the others may need files or packages that are not here."""


def registration_imports_nothing_heavy(bench: Bench) -> None:
    """Its registration module imports the standard library, suffuse and itself, and nothing else."""
    module = bench.found.entry.module
    done = in_a_new_process(_PROBE.format(module=module))
    ensure(done.returncode == 0, f"{module} does not import in a new process: {done.stderr.strip()[-300:]}")
    heavy = sorted(set(done.stdout.split()) - _LIGHT - {bench.found.package})
    ensure(not heavy, f"{module} imports {', '.join(heavy)}; name components as 'module:attribute' and import it there")


def hooks_fit(bench: Bench) -> None:
    """Its hooks are known, take the arguments that they are called with, and answer what they must."""
    registry = Registry()
    components = registry.load(bench.plugin)
    registry.trials(bench.plugin)
    ours = registry.load(CORE)
    for kind, names in components.items():
        for name in names:
            ensure(name not in ours.get(kind, {}), f"the core has a {kind} {name!r} too; give yours another name")
            ensure("/" not in name, f"{kind} {name!r}: a slash parts the plugin's name from the component's")


def components_exist_and_are_explained(bench: Bench) -> None:
    """Each component imports, says in a line what it is, and has settings with types, none of them free."""
    for kind, names in bench.registry.load(bench.plugin).items():
        for name in names:
            component = bench.registry.find(kind, f"{bench.plugin}/{name}")
            where = f"{kind} {name!r}"
            ensure(callable(component), f"{where}: {component!r} cannot be called")
            ensure(bool(inspect.cleandoc(component.__doc__ or "").strip()), f"{where} has no documentation")
            for key, each in settings(kind, component).items():
                typed = each.annotation is not inspect.Parameter.empty
                ensure(typed, f"{where}: the setting {key} has no type, so that a value cannot be checked")
            kinds = [each.kind for each in inspect.signature(component).parameters.values()]
            ensure(inspect.Parameter.VAR_KEYWORD not in kinds, f"{where} takes any setting: a typing error goes unseen")


def trials_use_what_is_brought(bench: Bench) -> None:
    """Every component is in one of the trials; of data, decoders and metrics one of each kind is enough."""
    named = {name for trial in bench.registry.trials(bench.plugin) for name in _names(_config(bench, trial))}
    for kind, names in bench.registry.load(bench.plugin).items():
        if not KINDS[kind].where or kind == "predictor":  # which may have to learn from a run that has ended
            continue
        idle = [name for name in names if not {name, f"{bench.plugin}/{name}"} & named]
        wrong = len(idle) == len(names) if kind in _OF_THE_USER else bool(idle)
        ensure(not wrong, f"no trial uses the {KINDS[kind].where} {', '.join(idle)}; add one to suffuse_trials")


def _config(bench: Bench, trial: Any) -> dict[str, Any]:
    return bench.config if trial == bench.trial else Bench(bench.plugin, trial, bench.registry).config


def _names(config: Any) -> Iterator[str]:
    """All components that a configuration names."""
    if isinstance(config, Mapping):
        if isinstance(config.get("name"), str):
            yield config["name"]
        for value in config.values():
            yield from _names(value)
