"""What is installed, as ``suffuse plugins`` shows it: each plugin with its state and, if asked, all it brings."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

from suffuse.errors import PluginError
from suffuse.plugins.discovery import OFF, Found
from suffuse.plugins.kinds import KINDS
from suffuse.plugins.registry import CORE, Registry

__all__ = ["about", "list_plugins", "settings"]


def list_plugins(registry: Registry, *, verbose: bool = False) -> str:
    """A line for each installed plugin: name, distribution, folder, state. A broken one is a line too.

    Args:
        verbose: with the components of each plugin and of the core: what each is, and its settings. That imports them.
    """
    lines = []
    for name, found in registry.found.items():
        state = _state(registry, name)
        folder = found.folder or "no such package"
        lines.append(f"{name:<12}{found.distribution:<24}{state}  ({folder})")
        if verbose and state.startswith("ok"):
            lines += _components(registry, name)
    if verbose:
        lines += ["core", *_components(registry, CORE)]
    return "\n".join(lines) if lines else 'no plugins installed; try: pip install "suffuse[image]"'


def about(component: Callable[..., Any]) -> str:
    """What a component is, in the first line of its documentation."""
    return inspect.cleandoc(component.__doc__ or "not documented").partition("\n")[0].replace("``", "")


def settings(kind: str, component: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The parameters of a component that a configuration sets: those that the program does not give."""
    taken = list(inspect.signature(component).parameters.items())[len(KINDS[kind].given) :]
    free = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {name: each for name, each in taken if name not in KINDS[kind].named and each.kind not in free}


def _state(registry: Registry, name: str) -> str:
    try:
        found = registry[name]
        registry.load(name)
    except PluginError as error:
        return f"off, by {OFF}" if name in registry.off else f"broken: {error}"
    return "; ".join(_faults(found)) or ("ok" if found.modality else "ok, components only")


def _faults(found: Found) -> Iterator[str]:
    if found.strays:
        yield f"left out: its conf/{found.strays[0].as_posix()} is not in a folder {found.name}"
    if found.missing and found.entry.dist:
        yield f'needs {", ".join(found.missing)}: pip install "{found.entry.dist.name}[{found.name}]"'


def _components(registry: Registry, owner: str) -> Iterator[str]:
    for kind, names in registry.load(owner).items():
        yield f"  {kind}"
        for name in names:
            try:
                component = registry.find(kind, f"{owner}/{name}")
            except PluginError as error:
                yield f"    {name:<20}{error}"
                continue
            shown = ", ".join(map(_setting, settings(kind, component).values()))
            yield f"    {name:<20}{about(component)}"
            if shown:
                yield f"    {'':<20}{shown}"


def _setting(parameter: inspect.Parameter) -> str:
    return parameter.name if parameter.default is parameter.empty else f"{parameter.name}={parameter.default!r}"
