"""Which plugins are installed, read from package metadata alone: to list a plugin never imports it.

So a broken plugin cannot break the program, and start-up does not pay for what is not used.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import Distribution, EntryPoint, PackageNotFoundError, entry_points, version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from packaging.requirements import Requirement

__all__ = ["GROUP", "Found", "by_name", "duplicate_configs", "installed", "missing_requirements", "pip_line"]

GROUP = "suffuse.plugins"
"""The group of entry points; the name of an entry is the modality, its value a light registration module."""


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

    @cached_property
    def conf(self) -> Path | None:
        """The folder ``conf`` of its package, if there is one."""
        try:
            spec = importlib.util.find_spec(self.package)  # looks at a top-level package without importing it
        except (ImportError, ValueError):
            return None
        for place in (spec.submodule_search_locations or ()) if spec else ():
            if (folder := Path(place) / "conf").is_dir():
                return folder
        return None

    @property
    def modality(self) -> bool:
        """Whether it brings a modality, and not only components for others."""
        return self.conf is not None and (self.conf / "modality" / f"{self.name}.yaml").is_file()

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


def duplicate_configs(folders: Mapping[str, Path]) -> dict[str, list[str]]:
    """Configuration files that several of the named folders hold: Hydra would take the first and not say so.

    Returns:
        relative path -> the names of the folders that hold it.
    """
    holders: dict[str, list[str]] = {}
    for name, folder in folders.items():
        for path in sorted(folder.rglob("*.yaml")):
            holders.setdefault(path.relative_to(folder).as_posix(), []).append(name)
    return {path: names for path, names in holders.items() if len(names) > 1}


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
