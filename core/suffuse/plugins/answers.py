"""What one plugin answers to the hooks, checked as it comes in. A plugin that is refused leaves nothing behind."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pluggy

from suffuse.errors import PluginError, suggest
from suffuse.plugins import hookspecs
from suffuse.plugins.kinds import KINDS

__all__ = ["Answers", "ask"]

_PREFIX = f"{hookspecs.PROJECT}_"
_PATH = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


@dataclass(frozen=True)
class Answers:
    """Of one plugin.

    Args:
        label: whose they are, for messages.
        hooks: on a manager of their own: plugins never see each other.
        components: by kind and name.
    """

    label: str
    hooks: pluggy.PluginManager
    components: hookspecs.Components

    def trials(self) -> list[hookspecs.Trial] | None:
        """How it is to be tried; None where it does not say.

        Raises:
            PluginError: the hook fails, or returns something else.
        """
        answer = _answer(self.hooks, "suffuse_trials", self.label)
        if answer is None:
            return None
        if not isinstance(answer, list | tuple) or not all(isinstance(each, hookspecs.Trial) for each in answer):
            raise PluginError(f"{self.label}: suffuse_trials must return a list of suffuse.plugins.Trial")
        return list(answer)


def ask(module: ModuleType, label: str) -> Answers:
    """What the registration module of a plugin answers.

    Raises:
        PluginError: it was made for a newer core, it does not fit the hooks, or a hook fails or returns what it must
            not; the message begins with the label.
    """
    needs = getattr(module, "SUFFUSE_API", hookspecs.API)
    if needs > hookspecs.API:
        raise PluginError(f"{label} needs plugin API {needs}, this core has {hookspecs.API}: pip install -U suffuse")
    hooks = pluggy.PluginManager(hookspecs.PROJECT)
    hooks.add_hookspecs(hookspecs)
    known = [name for name in vars(hookspecs) if name.startswith(_PREFIX)]
    for name, value in vars(module).items():
        if name.startswith(_PREFIX) and callable(value):
            options = hooks.parse_hookimpl_opts(module, name)
            if options is None:
                raise PluginError(f"{label}: {name} is not marked with @hookimpl")
            if name not in known and not options["optionalhook"]:
                raise PluginError(f"{label}: there is no hook {name}{suggest(name, known)}")
    try:
        hooks.register(module)
    except pluggy.PluginValidationError as error:
        raise PluginError(f"{label} does not fit the hooks: {' '.join(str(error).split())}") from error
    components = _answer(hooks, "suffuse_components", label)
    components = {} if components is None else components
    _check_components(components, label)
    return Answers(label, hooks, components)


def _answer(hooks: pluggy.PluginManager, name: str, label: str) -> Any:
    try:
        answers = getattr(hooks.hook, name)()
    except (Exception, SystemExit) as error:  # a stranger's hook may raise anything; one line must name whose it is
        raise PluginError(f"{label} failed in {name}: {type(error).__name__}: {error}") from error
    return answers[0] if answers else None


def _check_components(components: Any, label: str) -> None:
    if not isinstance(components, Mapping):
        raise PluginError(
            f"{label}: suffuse_components must return a mapping of kinds, not {type(components).__name__}"
        )
    for kind, names in components.items():
        if kind not in KINDS:
            raise PluginError(f"{label}: unknown kind of component {kind!r}{suggest(str(kind), KINDS)}")
        for name, path in names.items() if isinstance(names, Mapping) else [(kind, names)]:
            if not (isinstance(path, str) and _PATH.fullmatch(path)):
                raise PluginError(f"{label}: {kind} {name!r} must be given as 'module:attribute', not {path!r}")
