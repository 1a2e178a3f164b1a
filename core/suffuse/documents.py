"""YAML and JSON that a stranger may have written: plain data, bounded in size and depth, with nothing to follow in it.

A configuration or a checkpoint names registered components and cannot name code, so what is refused here is what would
act before anybody looks at names: tags, aliases (258 bytes of them once unfolded for 87 seconds), ``_target_``,
interpolations that call a resolver, nesting that no reader survives. Every refusal is one line with the file and key.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from suffuse.errors import ConfigError, RunError, SuffuseError

__all__ = ["dump_yaml", "read_json", "read_yaml", "vet_configuration", "vet_folder", "vet_override"]

_MOST_YAML, _MOST_JSON = 1 << 16, 1 << 26
_DEEPEST = 64
_CODE_KEY = re.compile(r"_(target|partial|args|convert|recursive|call)_")
_RESOLVER = re.compile(r"\$\{[^}]*(:|\$\{)")
"""An interpolation with a colon calls a resolver; one within another may come to have one."""
_ABSOLUTE = re.compile(r"[/~\\]|[A-Za-z]:[\\/]|(file|pkg|https?)://")


class _NoAliases(yaml.SafeDumper):
    """What is referred to twice is written twice: a reader that refuses aliases can read it."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def dump_yaml(data: Mapping[str, Any]) -> str:
    """Plain data as YAML that `read_yaml` accepts."""
    return yaml.dump(dict(data), Dumper=_NoAliases, sort_keys=False, allow_unicode=True)


def read_yaml(path: Path) -> Any:
    """The content of a YAML file as plain data.

    Raises:
        RunError: it cannot be read, is larger than 64 kB (a third of a second), nested deeper than 64, or has tags,
            aliases or a key twice.
    """
    text = _text(path, _MOST_YAML)
    try:
        _check_events(text, path)
        return yaml.load(text, Loader=_Strict)
    except yaml.YAMLError as error:
        raise RunError(f"{path}: not readable ({' '.join(str(error).split())})") from error


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        RunError: it cannot be read, is larger than 64 MB, nested too deep, or has a key twice.
    """
    try:
        return json.loads(_text(path, _MOST_JSON), object_pairs_hook=_unique)
    except RecursionError as error:
        raise RunError(f"{path}: not readable (nested too deep)") from error
    except ValueError as error:
        raise RunError(f"{path}: not readable ({' '.join(str(error).split())})") from error


def vet_configuration(data: Any, source: object, kind: type[SuffuseError] = RunError) -> None:
    """Refuse what would make a configuration more than data.

    Args:
        data: plain data, as `read_yaml` returns it.
        source: what messages begin with.
        kind: of the error.

    Raises:
        SuffuseError: a key that names code, or an interpolation that calls a resolver; the key is named.
    """
    for key, value in _leaves(data):
        if name := next((part for part in key.split(".") if _CODE_KEY.fullmatch(part)), None):
            raise kind(f"{source}: {key}: configurations name registered components, never code; {name} is refused")
        if isinstance(value, str) and _RESOLVER.search(value):
            raise kind(f"{source}: {key}={value}: resolvers are refused in a file; write the value itself")


def vet_folder(folder: Path) -> None:
    """Check every YAML file of a folder of configuration that is about to join Hydra's search path.

    Raises:
        ConfigError: it is no folder, or a file in it is refused: beside what `vet_configuration` says, absolute paths,
            which would name something on this machine.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder of configuration")
    for path in sorted(folder.rglob("*.yaml")):
        try:
            data = read_yaml(path)
        except RunError as error:
            raise ConfigError(str(error)) from error
        vet_configuration(data, path, ConfigError)
        for key, value in _leaves(data):
            outside = isinstance(value, str) and (_ABSOLUTE.match(value) or ".." in re.split(r"[/\\]", value))
            # The defaults list names options of groups, "/sampler: ddim" among them.
            if outside and not key.startswith("defaults."):
                raise ConfigError(
                    f"{path}: {key}={value}: a path outside is refused in a file; give {key}=... on the command line"
                )


def vet_override(text: str, source: object) -> None:
    """Check one recorded override, ``key=value``, of a run that is resumed.

    Raises:
        RunError: it names code, calls a resolver, or reaches into Hydra itself, which makes objects of its own.
    """
    key, _, value = text.lstrip("+~").partition("=")
    if re.match(r"hydra\b", key):
        raise RunError(f"{source}: {key}: a recorded setting of Hydra itself is refused; give it on the command line")
    names_code = _CODE_KEY.search(text)
    if names_code:
        raise RunError(
            f"{source}: {key}: configurations name registered components, never code; {names_code[0]} is refused"
        )
    if _RESOLVER.search(value):
        raise RunError(f"{source}: {key}={value}: resolvers are refused in a file; write the value itself")


class _Strict(yaml.SafeLoader):
    """Data alone, and no key twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else None
            if name in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {name!r} is there twice", key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep)


def _check_events(text: str, path: Path) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = 1 if event.start_mark is None else event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            raise RunError(f"{path}: line {line}: aliases (*{event.anchor}) are refused; write the value out")
        tag = getattr(event, "tag", None)
        if tag is not None and tag != "!":
            raise RunError(f"{path}: line {line}: the tag {tag} is refused; configurations are plain data")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise RunError(f"{path}: line {line}: nested deeper than {_DEEPEST}")


def _text(path: Path, most: int) -> str:
    try:
        size = path.stat().st_size
        if size > most:
            raise RunError(f"{path}: {size} bytes, more than the {most} that are read")
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise RunError(f"{path}: not readable ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise RunError(f"{path}: not readable (not UTF-8)") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} is there twice")
    return data


def _leaves(data: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every value that is no container, and every empty container, with its dotted key."""
    parts: Any = ()
    if isinstance(data, Mapping):
        parts = data.items()
    elif isinstance(data, list):
        parts = enumerate(data)
    if not parts:
        yield key, data
    for name, part in parts:
        yield from _leaves(part, f"{key}.{name}" if key else str(name))
