"""``suffuse COMMAND [KEY=VALUE ...]``: a command in front, Hydra's grammar behind.

Nothing heavier than Hydra is imported before a command runs, and Hydra only where a configuration is composed.
"""

from __future__ import annotations

import gc
import os
import re
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from suffuse.complaints import complain
from suffuse.errors import ConfigError, DataError, SuffuseError, suggest

if TYPE_CHECKING:
    from suffuse.plugins import Registry

__all__ = ["main"]

_COMPOSED = {
    "train": "learn from data",
    "sample": "make new samples from a run",
    "evaluate": "score a run beside real data",
    "report": "one page that shows what a run is worth",
}
_PLAIN = {
    "verify": "where a file comes from, and what of that can be checked",
    "checkpoints": "list and verify those of a run",
    "plugins": "what is installed (-v: with all components); plugins check NAME tries one out",
    "new": "a plugin to begin with, such as: suffuse new weather",
    "env": "versions and devices, for a bug report",
}

_EXAMPLES = {
    "train": (
        "suffuse train modality=image data=digits trainer.steps=2000",
        "suffuse train modality=image data=folder data.path=pictures/",
        "suffuse train modality=image --multirun seed=0,1,2",
        "suffuse train resume=runs/image/DATE",
    ),
    "sample": (
        "suffuse sample run=runs/image/DATE n=64 condition.label=3",
        "suffuse sample run=runs/image/DATE sampler=heun sampler.steps=40 guidance.scale=2",
        "suffuse sample run=runs/image/DATE task=vary input=a.png strength=0.4",
    ),
    "evaluate": ("suffuse evaluate run=runs/image/DATE n=2000",),
    "report": ("suffuse report run=runs/image/DATE",),
    "verify": ("suffuse verify sample-000003.png run=runs/image/DATE",),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0, 1 for a bug, 2 for what the user can mend, 130 after Ctrl-C."""
    shown_before = warnings.formatwarning
    warnings.formatwarning = _warning
    try:
        return _dispatch(list(sys.argv[1:] if arguments is None else arguments))
    except KeyboardInterrupt:
        print("suffuse: interrupted", file=sys.stderr)
        gc.freeze()  # else Python looks through all of torch for seconds before it ends
        return 130
    except BrokenPipeError:  # `suffuse plugins | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except SuffuseError as error:
        return complain(error)
    finally:
        warnings.formatwarning = shown_before


def _warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """One line, without the place in our code that a user can do nothing about."""
    return f"suffuse: warning: {' '.join(str(message).split())}\n"


def _dispatch(arguments: list[str]) -> int:
    if {"-sc", "--shell-completion"} & set(arguments):
        return _complete(arguments)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_usage())
        return 0
    if arguments[0] == "--version":
        import suffuse

        print(f"suffuse {suffuse.__version__}")
        return 0
    command, *rest = arguments
    if command == "plugins":
        return _plugins(rest)
    if command == "verify":
        return _verify(rest)
    if command == "new":
        return _new(rest)
    if command == "checkpoints":
        return _checkpoints(rest)
    if command == "env":
        from suffuse.environment import describe

        print(describe())
        return 0
    if command not in _COMPOSED:
        known = {**_COMPOSED, **_PLAIN}
        if "=" in command:
            example = "sample" if command.startswith("run=") else "train"
            raise ConfigError(f"a command comes first; did you mean: suffuse {example} {' '.join(arguments)}")
        raise ConfigError(f"{command!r} is not a command (known: {', '.join(known)}){suggest(command, known)}")
    return _composed(command, rest)


def _composed(command: str, typed: list[str]) -> int:
    from suffuse.arguments import prepare
    from suffuse.composition import check_modalities, conf_folders
    from suffuse.plugins import Registry

    registry = Registry()
    asks_help = bool({"-h", "--help"} & set(typed))
    modalities = check_modalities([word for word in typed if not word.startswith("-")], registry)
    if asks_help and command == "train" and not modalities:
        print(_modalities_help(registry))
        return 0
    folders = conf_folders(registry)
    prepared = prepare(command, typed, folders)
    if command != "train" and not asks_help and not _has_run(prepared):
        raise ConfigError(f"run=DIR is needed: the folder that `suffuse train` made; {_EXAMPLES[command][0]}")
    from suffuse.launch import launch

    return launch(command, prepared, folders)


def _has_run(arguments: list[str]) -> bool:
    looks = ("--cfg", "-c", "--info", "-i", "--hydra-help", "--version")
    return any(argument.startswith(("run=", *looks)) for argument in arguments)


def _plugins(arguments: list[str]) -> int:
    from suffuse.plugins import Registry
    from suffuse.plugins.listing import list_plugins

    if arguments[:1] == ["check"]:
        if not arguments[1:] or arguments[1].startswith("-") or "=" in arguments[1]:
            raise ConfigError("plugins check: whose? suffuse plugins check NAME [KEY=VALUE ...]")
        from suffuse.testing.console import check

        return check(arguments[1], arguments[2:])
    wrong = [argument for argument in arguments if argument not in ("-v", "--verbose")]
    if wrong:
        raise ConfigError(f"{wrong[0]!r} is not an option of plugins; known: -v, check NAME")
    print(list_plugins(Registry(), verbose=bool(arguments)))
    return 0


def _verify(arguments: list[str]) -> int:
    files = [word for word in arguments if not word.startswith(("run=", "-"))]
    folders = [word.partition("=")[2] for word in arguments if word.startswith("run=")]
    if len(files) != 1 or len(folders) > 1 or len(files) + len(folders) < len(arguments):
        raise ConfigError(f"verify takes one file and perhaps run=DIR: {_EXAMPLES['verify'][0]}")
    from suffuse.commands.verify import text, verify

    record, findings = verify(Path(files[0]), Path(folders[0]) if folders else None)
    print(text(record, findings))
    broken = [finding.what for finding in findings if finding.holds is False]
    if broken:
        raise DataError(f"{files[0]}: not so: {'; '.join(broken)}")
    return 0


def _new(arguments: list[str]) -> int:
    from suffuse.scaffold import KINDS, create

    usage = f"suffuse new NAME [--kind KIND] [--in FOLDER]; kinds: {', '.join(KINDS)}"
    if {"-h", "--help"} & set(arguments):
        print(f"usage: {usage}")
        return 0
    given = {"--kind": "modality", "--in": "."}
    words = list(arguments)
    for flag in [word for word in arguments if word.startswith("-")]:
        if flag not in given:
            raise ConfigError(f"{flag!r} is not an option of new{suggest(flag, given)}; {usage}")
        place = words.index(flag)
        if len(words) < place + 2:
            raise ConfigError(f"{flag} of what? {usage}")
        given[flag] = words.pop(place + 1)
        words.remove(flag)
    if len(words) != 1:
        raise ConfigError(f"one name is needed: {usage}")
    (name,) = words
    folder = create(name, given["--kind"], Path(given["--in"]))
    where = folder if folder.is_absolute() else f"./{folder}"  # pip takes a bare word for a name of the index
    print(f"{folder}: begin with its README.md")
    print(f"  next: pip install --editable {where}   suffuse plugins check {name}")
    return 0


def _checkpoints(arguments: list[str]) -> int:
    """2 where one is damaged, as for everything that a user can mend."""
    from suffuse.commands.checkpoints import checkpoints

    key, _, place = arguments[0].partition("=") if len(arguments) == 1 else ("", "", "")
    if key != "run" or not place:
        raise ConfigError("run=DIR is needed, and nothing else: suffuse checkpoints run=runs/image/DATE")
    return 0 if checkpoints(place) else 2


def _complete(arguments: list[str]) -> int:
    """Tab completion. The shell sends the typed line; what follows its command is Hydra's to complete."""
    line = os.environ.get("COMP_LINE")
    command = "train"
    if line is not None:
        words = line.split()
        if len(words) < 2 or (len(words) == 2 and not line.endswith(" ")):
            begun = words[1] if len(words) == 2 else ""
            print(*(name for name in (*_COMPOSED, *_PLAIN) if name.startswith(begun)))
            return 0
        command = words[1]
        if command not in _COMPOSED:
            return 0
        os.environ["COMP_LINE"] = re.sub(rf"(?<=\s){re.escape(command)}\s", "", line, count=1)
    from suffuse.composition import conf_folders
    from suffuse.launch import launch
    from suffuse.plugins import Registry

    return launch(command, arguments, conf_folders(Registry()))


def _usage() -> str:
    commands = "\n".join(f"  {name:<12}{about}" for name, about in {**_COMPOSED, **_PLAIN}.items())
    return (
        "suffuse: one diffusion core, any kind of data.   usage: suffuse COMMAND [KEY=VALUE ...]\n"
        f"{commands}\n"
        f"Begin with   {_EXAMPLES['train'][0]}\n"
        'All settings: suffuse COMMAND --help   Tab completion: eval "$(suffuse -sc install=bash)"'
    )


def _modalities_help(registry: Registry) -> str:
    examples = "\n".join(f"  {line}" for line in _EXAMPLES["train"])
    known = ", ".join(registry) or 'none (pip install "suffuse[image]")'
    return (
        f"usage: suffuse train modality=NAME [KEY=VALUE ...]\n\n{examples}\n\nInstalled modalities: {known}\n"
        "All settings of one: suffuse train --help modality=NAME"
    )
