"""Which plugins are installed, read from package metadata alone: to list a plugin never imports it.

So a broken plugin cannot break the program, and start-up does not pay for what is not used.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import Distribution, EntryPoint, PackageNotFoundError, entry_points, version
from pathlib import Path
from typing import TYPE_CHECKING

from suffuse.errors import PluginError

if TYPE_CHECKING:
    from packaging.requirements import Requirement

__all__ = [
    "GROUP",
    "OFF",
    "Found",
    "by_name",
    "installed",
    "missing_requirements",
    "origin",
    "pip_line",
    "switched_off",
]

GROUP = "suffuse.plugins"
"""The group of entry points; the name of an entry is the modality, its value a light registration module."""

OFF = "SUFFUSE_WITHOUT"
"""The environment variable that names plugins to do without, separated by commas."""


@dataclass(frozen=True)
class Found:
    """One installed plugin, as its package metadata describes it."""

    entry: EntryPoint

    @property
    def name(self) -> str:
        """Of the plugin, which is that of its modality."""
        return self.entry.name

    @property
    def package(self) -> str:
        """The top-level package of its code."""
        return self.entry.module.partition(".")[0]

    @property
    def distribution(self) -> str:
        """Name and version of what was installed, for messages."""
        dist = self.entry.dist
        return f"{dist.name} {dist.version}" if dist else "unknown distribution"

    @property
    def label(self) -> str:
        """For messages: which plugin, and what was installed to have it."""
        return f"plugin {self.name!r} (from {self.distribution})"

    @cached_property
    def folder(self) -> Path | None:
        """Of its package, if that can be found; it is not imported."""
        try:
            spec = importlib.util.find_spec(self.package)  # looks at a top-level package without importing it
        except (ImportError, ValueError):
            return None
        for place in (spec.submodule_search_locations or ()) if spec else ():
            return Path(place)
        return None

    @property
    def conf(self) -> Path | None:
        """The folder ``conf`` of its package, if there is one."""
        folder = self.folder / "conf" if self.folder else None
        return folder if folder and folder.is_dir() else None

    @property
    def modality(self) -> bool:
        """Whether it brings a modality, and not only components for others."""
        return self.conf is not None and (self.conf / "modality" / f"{self.name}.yaml").is_file()

    @property
    def strays(self) -> list[Path]:
        """Its configuration files, relative to ``conf``, that lie neither in a folder of its name nor in ``modality``.

        Hydra takes the first file of a name and does not say so, so that such a file could change what another plugin,
        or the core, means by its own options.
        """
        if self.conf is None:
            return []
        found = (path.relative_to(self.conf) for path in sorted(self.conf.rglob("*.y*ml")))
        return [path for path in found if path.parent.name != self.name and path != Path(f"modality/{self.name}.yaml")]

    def check(self) -> None:
        """Refuse a plugin whose distribution asks for another version of the core than this one.

        Raises:
            PluginError: with the command that helps.
        """
        from packaging.utils import canonicalize_name

        dist = self.entry.dist
        if dist is None or not _is_installed("suffuse"):
            return
        core = version("suffuse")
        for need in _plain_requirements(dist):
            if canonicalize_name(need.name) == "suffuse" and not need.specifier.contains(core, prereleases=True):
                newer = any(each.operator in (">", ">=", "~=") and not each.contains(core) for each in need.specifier)
                line = f'pip install -U "{need.name}{need.specifier}"' if newer else f"pip install -U {dist.name}"
                raise PluginError(f"{self.label} needs suffuse{need.specifier}, and this is {core}: {line}")

    @property
    def missing(self) -> list[str]:
        """Packages that the plugin's own extra asks for and that are not installed."""
        return missing_requirements(self.entry.dist, self.name) if self.entry.dist else []


def installed() -> list[EntryPoint]:
    """The registered plugins in order of name, so that nothing depends on the order of installation."""
    return sorted(entry_points(group=GROUP), key=lambda entry: entry.name)


def missing_requirements(dist: Distribution, extra: str) -> list[str]:
    """What ``dist[extra]`` asks for beyond ``dist`` itself and is not installed, by name."""
    return [need.name for need in _requirements(dist, extra) if not _is_installed(need.name)]


def pip_line(dist: Distribution | None, module: str, preferred: str) -> str:
    """What to type so that ``module`` can be imported: the extra of ``dist`` that brings it, where one is known.

    Args:
        preferred: the extra that is taken where metadata leaves it open.
    """
    from packaging.utils import canonicalize_name

    package = module.partition(".")[0]
    if dist is None:
        return f"pip install {package}"
    extras = dist.metadata.get_all("Provides-Extra") or []
    for extra in sorted(extras, key=lambda extra: extra != preferred):
        if canonicalize_name(package) in {canonicalize_name(need.name) for need in _requirements(dist, extra)}:
            return f'pip install "{dist.name}[{extra}]"'
    if preferred in extras and missing_requirements(dist, preferred):
        return f'pip install "{dist.name}[{preferred}]"'
    return f"pip install {package}"


def switched_off() -> set[str]:
    """The plugins that the environment says to do without."""
    return {name.strip() for name in os.environ.get(OFF, "").split(",") if name.strip()}


def origin(thing: object) -> str:
    """Whose an object is, for messages, by the package of its class."""
    package = type(thing).__module__.partition(".")[0]
    for entry in installed():
        if Found(entry).package == package:
            return Found(entry).label
    return f"the package {package}" if package != "suffuse" else "the core"


def _plain_requirements(dist: Distribution) -> Iterator[Requirement]:
    """What a distribution needs without any of its extras."""
    from packaging.requirements import Requirement

    for line in dist.requires or ():
        need = Requirement(line)
        if need.marker is None or need.marker.evaluate({"extra": ""}):
            yield need


def _requirements(dist: Distribution, extra: str) -> Iterator[Requirement]:
    from packaging.requirements import Requirement

    for line in dist.requires or ():
        need = Requirement(line)
        if need.marker and need.marker.evaluate({"extra": extra}) and not need.marker.evaluate({"extra": ""}):
            yield need


def _is_installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def by_name(entries: Iterable[EntryPoint]) -> tuple[dict[str, Found], dict[str, str]]:
    """Plugins by name, and the names that more than one distribution claims with who they are.

    The same entry seen twice (an editable install beside its wheel) is one.
    """
    found: dict[str, Found] = {}
    doubles: dict[str, str] = {}
    for entry in entries:
        known = found.setdefault(entry.name, Found(entry))
        if known.entry.value != entry.value:
            doubles[entry.name] = f"{known.distribution} and {Found(entry).distribution}"
    return found, doubles
