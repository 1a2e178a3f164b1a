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
        self.manager = _manager()
        self._components: dict[str, hookspecs.Components] = {CORE: _components_of(builtin, "the core")}

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
            found = self[name]
            label = f"plugin {name!r} (from {found.distribution})"
            module = _import(found.entry.module, found, label)
            needs = getattr(module, "SUFFUSE_API", hookspecs.API)
            if needs > hookspecs.API:
                raise PluginError(
                    f"{label} needs plugin API {needs}, this core has {hookspecs.API}: pip install -U suffuse"
                )
            self._components[name] = _components_of(module, label)
            self.manager.register(module, name=found.entry.value)
        return self._components[name]

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

        where = hookspecs.KINDS.get(kind, kind) if where is None else where
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


def _manager() -> pluggy.PluginManager:
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    return manager


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


def _components_of(module: ModuleType, label: str) -> hookspecs.Components:
    """What one registration module answers. On a manager of its own: a refused plugin leaves nothing behind."""
    trial = _manager()
    try:
        trial.register(module)
        trial.check_pending()
        strays = [
            n
            for n in vars(module)
            if n.startswith(f"{hookspecs.PROJECT}_") and not trial.parse_hookimpl_opts(module, n)
        ]
        if strays:
            raise PluginError(f"{label}: {strays[0]} is not marked with @hookimpl")
        answers = trial.hook.suffuse_components()
    except pluggy.PluginValidationError as error:
        raise PluginError(f"{label} does not fit the hooks: {' '.join(str(error).split())}") from error
    except PluginError:
        raise
    except Exception as error:
        raise PluginError(f"{label} failed in suffuse_components: {type(error).__name__}: {error}") from error
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
