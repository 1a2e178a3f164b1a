"""The installed plugins by name, their components, and objects made from configuration."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import EntryPoint, PackageNotFoundError, distribution
from types import ModuleType
from typing import Any

import pluggy

from suffuse.errors import ConfigError, PluginError, suggest
from suffuse.plugins import builtin, hookspecs
from suffuse.plugins.discovery import Found, by_name, installed, pip_line

__all__ = ["CORE", "Registry"]

CORE = "suffuse"
"""The distribution of the core, and its name as an owner of components."""

_PATH = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


class Registry:
    """Installed plugins by name; asking for one imports that one and no other.

    Args:
        entries: the entry points to know; None for those of the environment.
    """

    def __init__(self, entries: Iterable[EntryPoint] | None = None) -> None:
        self.found, self.doubles = by_name(installed() if entries is None else entries)
        self._hooks = {CORE: _hooks(builtin, "the core")}
        self._components = {CORE: _components(self._hooks[CORE], "the core")}

    def __getitem__(self, name: str) -> Found:
        """The plugin of that name, not imported.

        Raises:
            PluginError: there is none, or two distributions claim the name.
        """
        if name in self.doubles:
            raise PluginError(f"{self.doubles[name]} both provide the plugin {name!r}; uninstall one")
        if name not in self.found:
            known = ", ".join(self.found) or "none"
            raise PluginError(f"no plugin provides {name!r} (installed: {known}){suggest(name, self.found)}")
        return self.found[name]

    def load(self, name: str) -> hookspecs.Components:
        """Import and register one plugin and read its components; what is wrong with others never matters here.

        Raises:
            PluginError: it is missing, does not import, or does not fit the hooks; the message names the plugin, the
                distribution that it came with, and the cause.
        """
        if name not in self._components:
            found, label = self[name], self._label(name)
            module = _import(found.entry.module, found, label)
            needs = getattr(module, "SUFFUSE_API", hookspecs.API)
            if needs > hookspecs.API:
                raise PluginError(
                    f"{label} needs plugin API {needs}, this core has {hookspecs.API}: pip install -U suffuse"
                )
            hooks = _hooks(module, label)
            self._components[name] = _components(hooks, label)
            self._hooks[name] = hooks
        return self._components[name]

    def trials(self, name: str) -> list[hookspecs.Trial]:
        """In which tiny experiments the conformance kit tries a plugin.

        Raises:
            PluginError: it is missing or broken, or it says nothing and has no modality of its own to be tried as.
        """
        self.load(name)
        found, label = self[name], self._label(name)
        answers = _ask(self._hooks[name], "suffuse_trials", label)
        trials = list(answers[0]) if answers else []
        if not answers and found.modality:
            trials = [hookspecs.Trial(words=(f"modality={name}",))]
        if not trials or not all(isinstance(trial, hookspecs.Trial) for trial in trials):
            raise PluginError(f"{label}: suffuse_trials must return a list of suffuse.plugins.Trial, not {answers}")
        return trials

    def _label(self, name: str) -> str:
        return f"plugin {name!r} (from {self[name].distribution})"

    def build(
        self,
        kind: str,
        config: Mapping[str, Any],
        /,
        *args: Any,
        plugin: str | None = None,
        where: str | None = None,
        offers: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        """The component that ``config["name"]`` names, called with the arguments and the other keys of ``config``.

        Args:
            kind: what it is, such as ``"backbone"``.
            config: ``unet`` is looked up in ``plugin`` and then in the core; ``other/unet`` in that installed plugin.
            plugin: the modality of the run.
            where: the key of ``config`` in the whole configuration, for messages; by default that of its kind.
            offers: arguments by name that a component gets only if it has parameters of these names.

        Raises:
            ConfigError: an unknown name or key, a missing key, a wrong type.
            PluginError: the component does not import; the message has the line for pip where a package is missing.
        """
        from suffuse.plugins.building import call

        where = where or hookspecs.KINDS.get(kind, kind)
        settings = dict(config)
        name = settings.pop("name", None)
        if not isinstance(name, str):
            raise ConfigError(f"{where}.name has no value; known: {self._known(kind, plugin)}")
        factory = self.find(kind, name, plugin=plugin, where=where)
        taken = inspect.signature(factory).parameters
        kwargs.update({key: value for key, value in (offers or {}).items() if key in taken})
        return call(factory, settings, where, args, kwargs)

    def find(self, kind: str, name: str, *, plugin: str | None = None, where: str | None = None) -> Callable[..., Any]:
        """The class or function behind a component's name. Arguments and errors are those of `build`."""
        owner, slash, short = name.rpartition("/")
        owners = [owner] if slash else [plugin, CORE] if plugin else [CORE]
        for candidate in owners:
            path = self.load(candidate).get(kind, {}).get(short)
            if path is not None:
                return self._import(path, candidate, f"{kind} {name!r}")
        known = {n: None for o in owners for n in self.load(o).get(kind, {})}
        raise ConfigError(
            f"{where or hookspecs.KINDS.get(kind, kind)}.name={name}: no such {kind} "
            f"(known: {', '.join(known) or 'none'}){suggest(short, known)}"
        )

    def used(self) -> dict[str, str]:
        """The plugins that were loaded, each with the distribution it came from; for records."""
        return {name: self[name].distribution for name in self._components if name != CORE}

    def _known(self, kind: str, plugin: str | None) -> str:
        names = [name for owner in filter(None, (plugin, CORE)) for name in self.load(owner).get(kind, {})]
        return ", ".join(dict.fromkeys(names)) or "none"

    def _import(self, path: str, owner: str, what: str) -> Callable[..., Any]:
        module_name, _, attribute = path.partition(":")
        found = None if owner == CORE else self[owner]
        label = f"{what} of the core" if found is None else f"{what} of plugin {owner!r} (from {found.distribution})"
        module = _import(module_name, found, label)
        try:
            component: Callable[..., Any] = getattr(module, attribute)
        except AttributeError:
            raise PluginError(f"{label}: {module_name} has no {attribute!r}") from None
        return component


def _import(module: str, found: Found | None, label: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except Exception as error:  # a stranger's module may raise anything; one line must name whose it is
        hint = ""
        if isinstance(error, ModuleNotFoundError) and error.name:
            package = error.name.partition(".")[0]
            if package != module.partition(".")[0]:
                hint = f"; try: {pip_line(_distribution(found), package, found.name if found else '')}"
        raise PluginError(f"{label} does not import: {type(error).__name__}: {error}{hint}") from error


def _distribution(found: Found | None) -> Any:
    if found is not None:
        return found.entry.dist
    try:
        return distribution(CORE)
    except PackageNotFoundError:
        return None


def _hooks(module: ModuleType, label: str) -> pluggy.PluginManager:
    """The hooks of one registration module, on a manager of their own: plugins never see each other.

    Raises:
        PluginError: a hook that does not exist, has other arguments, or is not marked as one.
    """
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    try:
        manager.register(module)
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        raise PluginError(f"{label} does not fit the hooks: {' '.join(str(error).split())}") from error
    prefix = f"{hookspecs.PROJECT}_"
    for name, value in vars(module).items():
        if name.startswith(prefix) and callable(value) and not manager.parse_hookimpl_opts(module, name):
            raise PluginError(f"{label}: {name} is not marked with @hookimpl")
    return manager


def _ask(hooks: pluggy.PluginManager, name: str, label: str) -> list[Any]:
    try:
        answers: list[Any] = getattr(hooks.hook, name)()
    except Exception as error:  # a stranger's hook may raise anything; one line must name whose it is
        raise PluginError(f"{label} failed in {name}: {type(error).__name__}: {error}") from error
    return answers


def _components(hooks: pluggy.PluginManager, label: str) -> hookspecs.Components:
    answers = _ask(hooks, "suffuse_components", label)
    components = answers[0] if answers else {}
    _check_components(components, label)
    return components


def _check_components(components: Any, label: str) -> None:
    if not isinstance(components, Mapping):
        raise PluginError(
            f"{label}: suffuse_components must return a mapping of kinds, not {type(components).__name__}"
        )
    for kind, names in components.items():
        if kind not in hookspecs.KINDS:
            raise PluginError(f"{label}: unknown kind of component {kind!r}{suggest(str(kind), hookspecs.KINDS)}")
        for name, path in names.items() if isinstance(names, Mapping) else [(kind, names)]:
            if not (isinstance(path, str) and _PATH.fullmatch(path)):
                raise PluginError(f"{label}: {kind} {name!r} must be given as 'module:attribute', not {path!r}")
