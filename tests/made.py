"""Plugins for tests, as an installer would have left them: a package and its metadata, in a folder on sys.path."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from importlib.metadata import Distribution, EntryPoint
from pathlib import Path

from suffuse.plugins.discovery import GROUP

__all__ = ["TOY", "forget", "install", "write"]

TOY = Path(__file__).parent / "toy" / "suffuse_toy"
"""A whole modality that passes every check."""


def write(
    folder: Path,
    name: str,
    plugin: str,
    *,
    package: str = "",
    requires: tuple[str, ...] = (),
    conf: Mapping[str, str] | None = None,
    **files: str,
) -> EntryPoint:
    """A plugin from source text, in which PACKAGE stands for its package. Returns its entry point.

    Args:
        folder: on sys.path.
        plugin: the source of its registration module.
        requires: lines for its metadata.
        conf: YAML by path.
        files: the source of other modules.
    """
    package = package or f"made_{name}"
    place = folder / package
    place.mkdir()
    for stem, text in {"__init__": "", "plugin": plugin, **files}.items():
        (place / f"{stem}.py").write_text(text.replace("PACKAGE", package))
    for path, text in (conf or {}).items():
        (place / "conf" / path).parent.mkdir(parents=True, exist_ok=True)
        (place / "conf" / path).write_text(text)
    return _entry(folder, name, package, requires)


def install(folder: Path, package: Path, name: str) -> EntryPoint:
    """A copy of a package as the plugin ``name``."""
    shutil.copytree(package, folder / package.name, ignore=shutil.ignore_patterns("__pycache__"))
    return _entry(folder, name, package.name, ())


def _entry(folder: Path, name: str, package: str, requires: tuple[str, ...]) -> EntryPoint:
    info = folder / f"dist_{package}-1.2.dist-info"
    info.mkdir()
    lines = ["Metadata-Version: 2.1", f"Name: dist-{package}", "Version: 1.2", *requires]
    (info / "METADATA").write_text("\n".join(lines) + "\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n{name} = {package}.plugin\n")
    entry = EntryPoint(name, f"{package}.plugin", GROUP)
    vars(entry)["dist"] = Distribution.at(info)  # as importlib.metadata attaches it
    return entry


def forget(*beginnings: str) -> None:
    """Drop imported modules, so that another version of them can be imported."""
    for name in [name for name in sys.modules if name.startswith(beginnings)]:
        del sys.modules[name]
