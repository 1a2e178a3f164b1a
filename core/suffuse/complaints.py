"""Errors as people get them: one line for what they can mend, a traceback for a bug."""

from __future__ import annotations

import errno
import os
import re
import signal
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from suffuse.errors import SuffuseError, suggest
from suffuse.world import World

__all__ = ["complain", "exit_code", "explain"]

_ENVIRONMENT = {
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG
}  # fmt: skip
"""Faults of a disk or of permissions, which no program can rule out."""


def complain(error: Exception, line: str | None = None) -> int:
    """Print an error to stderr and return the exit code: 2 with one line, 1 with a traceback for a bug.

    ``SUFFUSE_TRACEBACK=1`` in the environment prints the traceback in either case.

    Args:
        line: what to print, where the error itself does not say it well.
    """
    code = 2 if line else exit_code(error)
    if code == 1 or os.environ.get("SUFFUSE_TRACEBACK", "0") not in ("", "0"):
        traceback.print_exception(error)
    if code == 2:
        world = World.here()
        who = f"process {world.rank} of {world.size}: " if world.rank else ""
        print(f"suffuse: {who}{' '.join((line or _one_line(error)).split())}", file=sys.stderr)
    return code


def exit_code(error: Exception) -> int:
    """2 for what the user can mend, 130 after Ctrl-C, 143 after a signal that asks to end, 1 for a bug."""
    if isinstance(error, SuffuseError) or (isinstance(error, OSError) and error.errno in _ENVIRONMENT):
        return 2
    trainer = sys.modules.get("suffuse.training.trainer")  # only a run that has begun can be interrupted
    if trainer is not None and isinstance(error, trainer.Interrupted):
        return 128 + (signal.SIGINT if error.signal_number == signal.SIGINT else signal.SIGTERM)
    return 1


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and not isinstance(error, SuffuseError):
        return f"{error.filename or 'file'}: {error.strerror}"
    return str(error)


def explain(error: Exception, folders: Iterable[Path] = ()) -> str | None:
    """One line for an error of Hydra or OmegaConf in composing a configuration; None for any other.

    Args:
        folders: of configuration, in which the options of a group are looked up.
    """
    from hydra.errors import HydraException, MissingConfigException, OverrideParseException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import MarkedYAMLError

    if isinstance(error, MarkedYAMLError) and error.problem_mark is not None:
        return f"{error.problem_mark.name}, line {error.problem_mark.line + 1}: is not YAML ({error.problem})"
    if isinstance(error, MissingConfigException):
        return _missing_option(error, folders)
    if isinstance(error, OverrideParseException):
        return f"{error.override!r} cannot be read ({error.message.splitlines()[0]}); settings are written KEY=VALUE"
    if not isinstance(error, HydraException | OmegaConfBaseException):
        return None
    text = str(error)
    cause = error.__cause__
    if isinstance(cause, OmegaConfBaseException) and cause.full_key is not None:
        return _wrong_key(text, cause)
    if isinstance(error, OmegaConfBaseException) and error.full_key:
        return f"{error.full_key}: {_first(text)}"
    return _plain(text)


def _missing_option(error: Any, folders: Iterable[Path]) -> str:
    """``data/image/foldr`` is not there: name the group, and the options as they would be typed."""
    path = PurePosixPath(str(error.missing_cfg_file or ""))
    options = {file.stem for folder in folders for file in (folder / path).parent.glob("*.yaml")}
    known = sorted(options or error.options or ())
    if not known or len(path.parts) < 2:
        return _plain(str(error))
    typed = path.name if options else path.relative_to(path.parts[0])  # which shows that a folder has none
    return f"{path.parts[0]}={typed}: no such option (known: {', '.join(known)}){suggest(path.name, known)}"


def _wrong_key(text: str, cause: Any) -> str:
    """``Could not override 'trainer.stps'``: name the key nearest to it beside which it would stand."""
    if not text.startswith("Could not override"):
        return f"{cause.full_key}: {_first(str(cause))}"
    typed = re.search(r"Could not override '([^']*)'", text)
    key = typed[1] if typed else str(cause.full_key)
    parent = cause.parent_node
    known = [str(name) for name in parent if name != "hydra"] if hasattr(parent, "keys") else []
    prefix = str(cause.full_key).rpartition(".")[0]
    near = suggest(str(cause.key), known)
    if not near and known:
        near = f"; {prefix or 'the top level'} has: {', '.join(known)}"
    return f"{key} is not a setting{near}"


def _plain(text: str) -> str:
    """Messages that come without their parts."""
    mandatory = re.match(r"You must specify '([^']+)'", text)
    if mandatory:
        options = [line.strip() for line in text.partition("Available options:")[2].splitlines() if line.strip()]
        return f"{mandatory[1]}=NAME is needed (known: {', '.join(options)})"
    ambiguous = re.match(r"Ambiguous value for argument '([^=']+)=(.*?)'\n", text)
    if ambiguous:
        key, value = ambiguous[1], ambiguous[2]
        return f"{key}={value}: for a list write {key}=[{value}], to try each of them add --multirun"
    unknown = re.search(r"Could not override '([^']+)'", text)
    if unknown:
        return f"{unknown[1]} is not a setting; `--help` shows what there is"
    return text


def _first(text: str) -> str:
    return text.strip().splitlines()[0]
