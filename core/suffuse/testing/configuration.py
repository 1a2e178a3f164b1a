"""Checks of the YAML that a plugin brings: where it lies, that it is explained, and that it fits what it configures."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from suffuse.composition import compose
from suffuse.documents import read_yaml
from suffuse.plugins import KINDS, Registry
from suffuse.plugins.listing import settings
from suffuse.testing.bench import Bench
from suffuse.testing.check import Inapplicable, ensure

__all__ = [
    "configuration_fits_its_components",
    "configuration_is_commented",
    "configuration_lies_in_its_own_folders",
    "misfits",
    "uncommented",
]

_BESIDE = {"solver": {"steps", "grid", "categorical"}}
"""Keys that stand beside a component's own."""
_OPTIONAL = {"grid"}
"""Kinds whose finer settings may be left to them."""


def configuration_lies_in_its_own_folders(bench: Bench) -> None:
    """Every YAML file lies in a folder of the plugin's name, so that no two plugins can collide."""
    shown = ", ".join(path.as_posix() for path in bench.found.strays[:3])
    ensure(
        not shown, f"conf/{shown}: options belong in GROUP/{bench.plugin}/, a modality in modality/{bench.plugin}.yaml"
    )


def configuration_is_commented(bench: Bench) -> None:
    """Every YAML file says in its first lines what it is for, and every key has a comment."""
    wrong = [f"{path.name}: {line}" for path in _files(bench) for line in uncommented(path.read_text(encoding="utf-8"))]
    ensure(not wrong, "; ".join(wrong[:3]))


def configuration_fits_its_components(bench: Bench) -> None:
    """Every option composes, and has exactly the settings of the component that it names."""
    for path in _files(bench):
        parts = path.relative_to(bench.found.conf or path).parts
        if parts[0] == "modality":
            whole = compose(f"modality={bench.plugin}", *_given(path, ""))
            for kind in ("data", "decoder", "backbone", "metric"):
                wrong = misfits(kind, whole[kind], bench.registry, bench.plugin) if whole[kind] else ""
                ensure(not wrong, f"{path.name}: {kind}: {wrong}")
            continue
        if parts[0] == "session":  # no option, but the settings of the command line and their defaults
            factory = bench.registry.find("session", bench.plugin, plugin=bench.plugin)
            known = {name: each.default for name, each in settings("session", factory).items()}
            shipped = {name: tuple(v) if isinstance(v, list) else v for name, v in read_yaml(path).items()}
            ensure(shipped == known, f"{path.name}: {shipped}, but the session takes {known}")
            continue
        group = "/".join(parts[:-2])
        key = group.replace("/", ".")
        section: Any = compose(
            f"modality={bench.modality}", f"{group}={bench.plugin}/{path.stem}", *_given(path, f"{key}.")
        )
        for part in parts[:-2]:
            section = section[part]
        for kind, named in KINDS.items():
            if named.where == key:
                for each in section.values() if kind == "callback" else [section]:
                    wrong = misfits(kind, each, bench.registry, bench.modality)
                    ensure(not wrong, f"{path.name}: {wrong}")


def uncommented(text: str) -> Iterator[str]:
    """What is not explained in a YAML file: keys whose value has no comment behind it, and the file as a whole."""
    lines = text.splitlines()
    if not any(line.startswith("# ") for line in lines[:2]):
        yield "no first line says what the file is for"
    block = None
    for line in lines:
        indent = len(line) - len(line.lstrip())
        if block is not None and (not line.strip() or indent > block):
            continue  # inside a block of text
        block = None
        key = re.match(r"\s*(?:- )?([\w/ ]+):(?:\s|$)(.*)", line)
        if not key or line.lstrip().startswith("#"):
            continue
        if key[2].startswith("|"):
            block = indent
        elif key[2].strip() and not key[1].startswith(("override hydra/", "footer")) and " # " not in line:
            yield f"{key[1].strip()} has no comment"


def misfits(kind: str, config: Mapping[str, Any], registry: Registry, plugin: str | None) -> str:
    """How the settings in a configuration differ from those of the component that it names; empty where they do not."""
    component = registry.find(kind, config["name"], plugin=plugin)
    own = settings(kind, component)
    keys = set(config) - {"name"} - _BESIDE.get(kind, set())
    if strange := sorted(keys - set(own)):
        return f"{config['name']} has no setting {', '.join(strange)}"
    if lacking := sorted(set(own) - keys) if kind not in _OPTIONAL else []:
        return f"{', '.join(lacking)} of {config['name']} is not among the keys"
    for key in keys:
        default = own[key].default
        value = tuple(config[key]) if isinstance(default, tuple) else config[key]
        if (
            default not in (inspect.Parameter.empty, None)
            and value is not None
            and not isinstance(value, type(default))
        ):
            return f"{key}={value!r}, but {config['name']} has {default!r} by default"
    return ""


def _files(bench: Bench) -> list[Path]:
    if bench.found.conf is None:
        raise Inapplicable("it brings no configuration")
    strays = {bench.found.conf / path for path in bench.found.strays}
    return [path for path in sorted(bench.found.conf.rglob("*.yaml")) if path not in strays]


def _given(path: Path, prefix: str) -> list[str]:
    """A value for each key that a user must give."""
    own = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    return [f"{prefix}{key}=x" for key, value in own.items() if value == "???"]
