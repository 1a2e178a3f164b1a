"""``suffuse new NAME``: a whole distribution to begin a plugin with, out of the templates beside this file.

A template is a file of the same path, with ``NAME`` for the name of the plugin and ``dot-`` for a leading dot.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from suffuse.composition import conf_folder
from suffuse.errors import ConfigError, suggest
from suffuse.plugins import CORE, Registry

__all__ = ["KINDS", "create"]

_MODALITY = "modality"
_PARTS: Mapping[str, tuple[str, str]] = {
    "data": ("data", "discs"),
    "decoder": ("decoder", "light"),
    "backbone": ("backbone", "perceptron"),
    "metric": ("metric", "brightness"),
    "solver": ("sampler", "leaning"),
    "guidance": ("guidance", "limits"),
    "callback": ("callbacks", "table"),
}
"""Kinds of components that a plugin may be about, each with its group of options and what its template brings."""

KINDS = (_MODALITY, *_PARTS)
"""What a plugin may be about."""

_TEMPLATES = Path(__file__).with_name("templates")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}(?<!_)")
_TAKEN = {CORE, "null", "none", "true", "false", "yes", "no", "on", "off", "y", "n", "nan", "inf"}
"""Names that a configuration would read as something else."""


def create(name: str, kind: str = "modality", where: Path = Path()) -> Path:
    """Write the distribution of a new plugin, whole or not at all. Returns its folder, ``suffuse-NAME`` in ``where``.

    Raises:
        ConfigError: the name or the kind cannot be, or the folder exists or cannot be made.
    """
    if kind not in KINDS:
        raise ConfigError(f"--kind {kind}: known are {', '.join(KINDS)}{suggest(kind, KINDS)}")
    _check(name)
    dist = f"suffuse-{name.replace('_', '-')}"
    target = where / dist
    if target.exists():
        raise ConfigError(f"{target}: is there already; nothing is overwritten, take another name or folder")
    try:
        draft = Path(tempfile.mkdtemp(prefix=f".{dist}.", dir=where))
        try:
            for path, text in files(name, kind).items():
                (draft / path).parent.mkdir(parents=True, exist_ok=True)
                (draft / path).write_text(text, encoding="utf-8")
            draft.chmod(0o755)
            draft.rename(target)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    except OSError as error:
        raise ConfigError(f"{target}: cannot be made ({error.strerror})") from error
    return target


def files(name: str, kind: str) -> dict[str, str]:
    """Every file of the distribution by its path, rendered."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    import suffuse

    major, minor = (int(part) for part in suffuse.__version__.split(".")[:2])
    words: dict[str, Any] = {
        "name": name,
        "package": f"suffuse_{name}",
        "dist": f"suffuse-{name.replace('_', '-')}",
        "title": name.replace("_", " ").capitalize(),
        "versions": f">={major}.{minor},<{major}.{minor + 1}",
        "kind": kind,
    }
    folders = ["common", kind]
    if kind != _MODALITY:
        group, component = _PARTS[kind]
        words["component"] = component
        words["trial"] = _trial(group, f"{name}/{component}")
        folders.insert(1, "part")
    found = {}
    for folder in folders:
        loader = FileSystemLoader(_TEMPLATES / folder)
        environment = Environment(loader=loader, undefined=StrictUndefined, keep_trailing_newline=True)
        for template in environment.list_templates():
            path = template.removesuffix(".j2").replace("NAME", name).replace("dot-", ".")
            found[path] = environment.get_template(template).render(words)
    return found


def _trial(group: str, option: str) -> list[str]:
    """Words in which a part is tried: on images, which suffuse brings itself, with a network as small as can be."""
    words = ["modality=image", f"{group}={option}"]
    return words if group == "backbone" else [*words, "backbone=unet_tiny"]


def _check(name: str) -> None:
    if not _NAME.fullmatch(name):
        plain = re.sub(r"^[^a-z]+|_+$", "", re.sub(r"[^a-z0-9]+", "_", name.lower()))[:40]
        hint = f", such as {plain}" if _NAME.fullmatch(plain) else ""
        raise ConfigError(f"{name!r} cannot name a plugin: small letters, digits and _ from a letter on{hint}")
    if name in _TAKEN or any(folder.is_dir() for folder in conf_folder().rglob(name)):
        raise ConfigError(f"{name!r} means something else in configurations; take another name")
    registry = Registry()
    if name in registry.found:
        raise ConfigError(f"{name!r} is the name of an installed plugin (from {registry[name].distribution})")
    if importlib.util.find_spec(f"suffuse_{name}") is not None:
        raise ConfigError(f"{name!r}: there is a package suffuse_{name} already; take another name")
