"""What a person types, made into the arguments that Hydra takes.

Hydra's grammar stays whole behind this; only what would be refused, misread or repeated is rewritten: short names of a
modality's options, keys that exist only once a run is known, text that the grammar cannot parse, and ``resume=DIR``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

from suffuse.documents import read_yaml, vet_folder, vet_override
from suffuse.errors import ConfigError, RunError, suggest
from suffuse.settings import SampleSettings
from suffuse.world import World

__all__ = ["chosen_modalities", "prepare"]

_FLAGS = {
    "--help": 0, "-h": 0, "--hydra-help": 0, "--version": 0, "--resolve": 0, "--run": 0, "-r": 0,
    "--multirun": 0, "-m": 0,
    "--cfg": 1, "-c": 1, "--package": 1, "-p": 1, "--info": 1, "-i": 1,
    "--config-path": 1, "-cp": 1, "--config-name": 1, "-cn": 1, "--config-dir": 1, "-cd": 1,
}  # fmt: skip
"""Hydra's flags and how many words follow each. Its rerun flag is left out: it unpickles a file."""

_LOOKS = {"--help", "-h", "--hydra-help", "--version", "--cfg", "-c", "--info", "-i"}
"""Flags that show something and run nothing."""

_SHOWN = ("job", "hydra", "all")
"""What ``--cfg`` can show."""

_PATHS = re.compile(r"(?:.*\.)?(?:path|run|resume|init|input|other|mask|out|labels|dir)")
"""Keys whose value is a path, which is never anything but text."""

_FROM_RUN = ("modality", "data", "backbone", "decoder", "metric", "process", "trainer")
_OPEN = {
    "sample": ("condition", "sampler", "guidance", "decoder"),
    "evaluate": ("sampler", "guidance", "metric"),
    "report": ("sampler", "guidance"),
}
"""Sections of each command whose keys are known only to the run."""

_BY_FIELD = ("process.fields", "process.coupling")
"""Keys of ``train`` below which the names of fields and components decide what there is."""


class _Override(NamedTuple):
    """``++key=value`` in its three parts; value is None in ``~key``."""

    prefix: str
    key: str
    value: str | None

    @classmethod
    def of(cls, text: str) -> _Override:
        head, equals, value = text.partition("=")
        key = head.lstrip("+~")
        return cls(head[: len(head) - len(key)], key, value if equals else None)

    def __str__(self) -> str:
        return f"{self.prefix}{self.key}" if self.value is None else f"{self.prefix}{self.key}={self.value}"


def prepare(command: str, arguments: Sequence[str], folders: Mapping[str, Path]) -> list[str]:
    """Hydra's arguments for what was typed after a command. Reads files, writes nothing.

    Preparing a second time changes nothing.

    Args:
        command: ``train``, ``sample``, ``evaluate`` or ``report``.
        arguments: what was typed after it.
        folders: the ``conf`` folder of each plugin by name, and of the core as ``suffuse``.

    Raises:
        ConfigError: a word that is neither a flag nor ``KEY=VALUE``, or a key that does not belong to the command.
        ConfigError: a folder of configuration holds a file that is more than data.
        RunError: ``resume`` names no run or one whose record is refused, or ``hydra.run.dir`` something that is in use.
    """
    words, flags = _separate(arguments)
    overrides = [_Override.of(word) for word in words]
    for folder in _added_folders(flags):
        vet_folder(folder)
    looking = bool(_LOOKS & {flag.partition("=")[0] for flag in flags})
    sweeping = bool({"--multirun", "-m"} & set(flags)) or any(str(o) == "hydra.mode=MULTIRUN" for o in overrides)
    if command == "train":
        overrides = _resumed(overrides)
        if not looking and not World.here().rank:  # the first process may have begun the folder already
            _check_free(overrides)
    else:
        _check_belongs(command, overrides)
    modalities = chosen_modalities(map(str, overrides))
    if len(modalities) == 1 and modalities[0] in folders:
        overrides = [_lengthen(_dropped(o, folders[modalities[0]]), modalities[0], folders) for o in overrides]
    if command == "sample":
        own = _own_keys(folders)
        _check_own(overrides, own)
        overrides = [_owned(o, own) for o in overrides]
    chosen = {o.key for o in overrides}
    overrides = [_open(o, command, chosen) for o in overrides]
    return [*(_quoted(o, sweeping) for o in overrides), *flags]


def chosen_modalities(arguments: Iterable[str]) -> list[str]:
    """The modalities that arguments name: several in a sweep, none where it is left to a configuration file."""
    chosen = [o.value for o in map(_Override.of, arguments) if o.key == "modality" and o.value and "~" not in o.prefix]
    return [name.strip() for name in chosen[-1].split(",")] if chosen else []


def _separate(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Overrides, and flags with the words that belong to them: Hydra's parser wants the two apart."""
    overrides, flags = [], []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        name, equals, _ = word.partition("=")
        if name in _FLAGS:
            flags.append(word)
            if _FLAGS[name] and not equals and rest and not rest[0].startswith("-") and "=" not in rest[0]:
                flags.append(rest.pop(0))
                if name in ("--cfg", "-c") and flags[-1] not in _SHOWN:
                    raise ConfigError(f"{name} {flags[-1]}: must be one of {', '.join(_SHOWN)}")
        elif word.startswith("-"):
            raise ConfigError(f"{name}: no such flag{suggest(name, _FLAGS)}")
        elif not equals and not word.startswith("~"):
            raise ConfigError(f"{word!r} is not a setting; settings are written KEY=VALUE")
        elif not name.strip("+~"):
            raise ConfigError(f"{word!r} has no key; settings are written KEY=VALUE")
        else:
            overrides.append(word)
    return overrides, flags


def _added_folders(flags: Sequence[str]) -> list[Path]:
    """Folders of configuration that are not this program's own."""
    added = []
    for place, flag in enumerate(flags):
        name, equals, value = flag.partition("=")
        if name in ("--config-dir", "-cd", "--config-path", "-cp"):
            added.append(Path(value if equals else "".join(flags[place + 1 : place + 2])).expanduser())
    return added


def _resumed(typed: list[_Override]) -> list[_Override]:
    """``resume=DIR``: what that run was started with, in its directory, and then whatever else was typed.

    The record of the run is not rewritten by Hydra, so that an attempt that fails leaves it as it was.
    """
    wanted = [o.value for o in typed if o.key == "resume" and o.value not in (None, "", "null")]
    if not wanted:
        return typed
    directory = Path(_unquoted(str(wanted[-1]))).expanduser()
    record = directory / ".hydra" / "overrides.yaml"
    if not record.is_file():
        kind = "not a run (no .hydra/overrides.yaml in it)" if directory.is_dir() else "no such folder"
        raise RunError(f"resume={directory}: {kind}; it takes the folder that `suffuse train` made")
    typed = [o for o in typed if o.key != "resume"]
    keys = {o.key for o in typed}
    placed = {"resume", "hydra.run.dir", "hydra.output_subdir"}
    if "hydra.run.dir" in keys and Path(_unquoted(str(_last(typed, "hydra.run.dir")))) != directory:
        raise ConfigError(f"hydra.run.dir: resume={directory} goes on in that folder; leave it out")
    recorded = [o for o in _read_overrides(record) if o.key not in keys | placed]
    for override in recorded:
        vet_override(str(override), record)
    return [
        *recorded,
        *(o for o in typed if o.key not in placed),
        _Override("", "resume", _quote(str(directory))),
        _Override("", "hydra.run.dir", _quote(str(directory))),
        _Override("", "hydra.output_subdir", "null"),
    ]


def _read_overrides(record: Path) -> list[_Override]:
    lines = read_yaml(record) or []
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise RunError(f"{record}: must be a list of settings KEY=VALUE")
    return [_Override.of(line) for line in lines]


def _check_free(overrides: list[_Override]) -> None:
    """A run directory of the user's must be new or empty: Hydra would write over the records of another run."""
    typed = _last(overrides, "hydra.run.dir")
    if typed is None or "${" in typed or any(o.key == "resume" for o in overrides):
        return
    directory = Path(_unquoted(typed)).expanduser()
    if directory.exists() and not directory.is_dir():
        raise RunError(f"hydra.run.dir={directory}: is a file; name a folder that is new or empty")
    if directory.is_dir() and any(directory.iterdir()):
        raise RunError(
            f"hydra.run.dir={directory}: is not empty; resume={directory} goes on with a run, or choose another"
        )


def _check_belongs(command: str, overrides: list[_Override]) -> None:
    for override in overrides:
        section = override.key.partition(".")[0]
        changeable = "." in override.key and section in _OPEN[command]
        if section in _FROM_RUN and not override.prefix and not changeable:
            raise ConfigError(f"{override.key}: {command} takes this from the run; leave it out")


def _dropped(override: _Override, folder: Path) -> _Override:
    """``metric=null`` to ``~metric``, as Hydra says that a group of the modality is not wanted."""
    if override.value == "null" and not override.prefix and (folder / override.key).is_dir():
        return _Override("~", override.key, None)
    return override


def _lengthen(override: _Override, modality: str, folders: Mapping[str, Path]) -> _Override:
    """``data=folder`` to ``data=image/folder``, where the plugin has that group and the core has no such option."""
    group, value = override.key, override.value
    own = folders[modality] / group / modality
    if not value or not re.fullmatch(r"\w+", group) or not own.is_dir():
        return override
    names = [name.strip() for name in value.split(",")]
    if not all(re.fullmatch(r"[\w-]+", name) and name != "null" for name in names):
        return override
    core = folders.get("suffuse")
    if core and all((core / group / f"{name}.yaml").is_file() for name in names):
        return override
    return override._replace(value=",".join(f"{modality}/{name}" for name in names))


def _own_keys(folders: Mapping[str, Path]) -> dict[str, Any]:
    """The settings of ``sample`` that installed plugins have of their own, with their defaults."""
    files = (folder / "session" / name / "own.yaml" for name, folder in folders.items() if name != "suffuse")
    return {k: v for file in files if file.is_file() for k, v in read_yaml(file).items()}


def _check_own(overrides: list[_Override], own: Mapping[str, Any]) -> None:
    """A near miss of a setting of a plugin's own; those of the core's are Hydra's to name."""
    core = {field.name for field in fields(SampleSettings)}
    for key in (o.key for o in overrides if not o.prefix):
        near = suggest(key, [*own, *core])
        if key not in core and key not in own and any(f"'{name}'" in near for name in own):
            raise ConfigError(f"{key} is not a setting{near}")


def _owned(override: _Override, own: Mapping[str, Any]) -> _Override:
    """``filters=[pains]`` to ``++own.filters=[pains]``. Where the default is text, so is the value."""
    key, value = override.key, override.value
    if key not in own or override.prefix or value is None:
        return override
    if isinstance(own[key], str) and value[:1] not in ("'", '"'):
        value = _quote(value)
    return _Override("++", f"own.{key}", value)


def _open(override: _Override, command: str, chosen: set[str]) -> _Override:
    """``condition.label=3`` to ``++condition.label=3``; so too keys of fields, and of a sampler of the run's own."""
    if command == "train" and not override.prefix and f"{override.key}.".startswith(tuple(f"{k}." for k in _BY_FIELD)):
        return override._replace(prefix="++")
    section, dot, _ = override.key.partition(".")
    # An option chosen by name says which keys there are; a predictor's are those of the plugin that has it.
    known = section in chosen and section != "condition" and not override.key.startswith("guidance.predictor.")
    if dot and not override.prefix and section in _OPEN.get(command, ()) and not known:
        return override._replace(prefix="++")
    return override


def _quoted(override: _Override, sweeping: bool) -> str:
    """The override, with its value in quotes where Hydra's grammar would refuse it or misread a path."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    value = override.value
    if value is None or value[:1] in ("'", '"'):
        return str(override)
    if _PATHS.fullmatch(override.key) and value != "null" and "${" not in value and not (sweeping and "," in value):
        return str(override._replace(value=_quote(value)))
    try:
        OverridesParser.create().parse_override(str(override))
    except HydraException:
        return str(override._replace(value=_quote(value)))
    return str(override)


def _quote(value: str) -> str:
    from hydra.core.override_parser.types import Quote, QuotedString

    return QuotedString(value, Quote.single).with_quotes()


def _unquoted(value: str) -> str:
    if value[:1] not in ("'", '"'):
        return value
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return str(OverridesParser.create().parse_override(f"key={value}").value())


def _last(overrides: list[_Override], key: str) -> str | None:
    return next((o.value for o in reversed(overrides) if o.key == key), None)
