"""The installed plugins by name, their components, and objects made from configuration."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from importlib.metadata import EntryPoint, PackageNotFoundError, distribution
from types import ModuleType
from typing import Any

from suffuse.errors import ConfigError, PluginError, suggest
from suffuse.plugins import builtin, hookspecs
from suffuse.plugins.answers import Answers, ask
from suffuse.plugins.discovery import OFF, Found, by_name, installed, pip_line, switched_off
from suffuse.plugins.kinds import KINDS
from suffuse.plugins.watching import watched

__all__ = ["CORE", "Registry"]

CORE = "suffuse"
"""The distribution of the core, and its name as an owner of components."""


class Registry:
    """Installed plugins by name; asking for one imports that one and no other.

    Args:
        entries: the entry points to know; None for those of the environment.
    """

    def __init__(self, entries: Iterable[EntryPoint] | None = None) -> None:
        self.found, self.doubles = by_name(installed() if entries is None else entries)
        self.off = switched_off() & set(self.found)
        self._answers: dict[str, Answers] = {CORE: ask(builtin, "the core")}

    def __getitem__(self, name: str) -> Found:
        """The plugin of that name, not imported.

        Raises:
            PluginError: there is none, it is switched off, or two distributions claim the name.
        """
        if name in self.doubles:
            raise PluginError(f"{self.doubles[name]} both provide the plugin {name!r}; uninstall one")
        if name in self.off:
            raise PluginError(f"{self.found[name].label} is switched off by {OFF} in the environment")
        if name not in self.found:
            known = ", ".join(self) or "none"
            raise PluginError(f"no plugin provides {name!r} (installed: {known}){suggest(name, self)}")
        return self.found[name]

    def __iter__(self) -> Iterator[str]:
        """The names of the plugins that can be asked for."""
        return (name for name in self.found if name not in self.doubles and name not in self.off)

    def load(self, name: str) -> hookspecs.Components:
        """Import and register one plugin and read its components; what is wrong with others never matters here.

        Raises:
            PluginError: it is missing, does not import, or does not fit the hooks; the message names the plugin, the
                distribution that it came with, and the cause.
        """
        return self._asked(name).components

    def trials(self, name: str) -> list[hookspecs.Trial]:
        """In which tiny experiments the conformance kit tries a plugin.

        Raises:
            PluginError: it is missing or broken, or it says nothing and has no modality of its own to be tried as.
        """
        trials = self._asked(name).trials()
        if trials is None and self[name].modality:
            return [hookspecs.Trial(words=(f"modality={name}",))]
        if not trials:
            raise PluginError(f"{self[name].label} names no trial, and has no modality to be tried as: suffuse_trials")
        return trials

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

        where = KINDS[kind].where if where is None else where
        settings = dict(config)
        name = settings.pop("name", None)
        if not isinstance(name, str):
            raise ConfigError(f"{where}.name has no value; known: {self._known(kind, plugin)}")
        factory = self.find(kind, name, plugin=plugin, where=where)
        taken = inspect.signature(factory).parameters
        kwargs.update({key: value for key, value in (offers or {}).items() if key in taken})
        package = str(getattr(factory, "__module__", "")).partition(".")[0]
        whose = next((found.label for found in self.found.values() if found.package == package), None)
        with watched(whose, quiet=False) if whose else nullcontext():
            return call(factory, settings, where, args, kwargs)

    def find(self, kind: str, name: str, *, plugin: str | None = None, where: str | None = None) -> Callable[..., Any]:
        """The class or function behind a component's name. Arguments and errors are those of `build`."""
        owner, path = self._path(kind, name, plugin, where or KINDS[kind].where)
        return self._import(path, owner, f"{kind} {name!r}")

    def used(self) -> dict[str, str]:
        """The plugins that were loaded, each with the distribution it came from; for records."""
        return {name: self[name].distribution for name in self._answers if name != CORE}

    def _asked(self, name: str) -> Answers:
        if name not in self._answers:
            found = self[name]
            found.check()
            with watched(found.label):
                self._answers[name] = ask(_import(found.entry.module, found, found.label), found.label)
        return self._answers[name]

    def _path(self, kind: str, name: str, plugin: str | None, where: str) -> tuple[str, str]:
        """Whose a component is, and where it lies."""
        owner, slash, short = name.rpartition("/")
        owners = [owner] if slash else [plugin, CORE] if plugin else [CORE]
        holders = [each for each in owners if short in self.load(each).get(kind, {})]
        if len(holders) > 1:
            raise ConfigError(
                f"{where}.name={name}: the core has a {kind} of this name, and so has {self[holders[0]].label}; "
                f"write {holders[0]}/{name} or {CORE}/{name}"
            )
        if not holders:
            known = {n: None for each in owners for n in self.load(each).get(kind, {})}
            raise ConfigError(
                f"{where}.name={name}: no such {kind} (known: {', '.join(known) or 'none'}){suggest(short, known)}"
            )
        return holders[0], self.load(holders[0])[kind][short]

    def _known(self, kind: str, plugin: str | None) -> str:
        names = [name for owner in filter(None, (plugin, CORE)) for name in self.load(owner).get(kind, {})]
        return ", ".join(dict.fromkeys(names)) or "none"

    def _import(self, path: str, owner: str, what: str) -> Callable[..., Any]:
        module_name, _, attribute = path.partition(":")
        found = None if owner == CORE else self[owner]
        label = f"{what} of {'the core' if found is None else found.label}"
        with watched(found.label) if found else nullcontext():
            module = _import(module_name, found, label)
        try:
            component: Callable[..., Any] = getattr(module, attribute)
        except AttributeError:
            raise PluginError(f"{label}: {module_name} has no {attribute!r}") from None
        return component


def _import(module: str, found: Found | None, label: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except (Exception, SystemExit) as error:  # a stranger's module may raise anything; one line must name whose it is
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
