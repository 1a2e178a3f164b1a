"""Errors that are meant for people: one line that names the thing, its value and the next step."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["ConfigError", "DataError", "PluginError", "RunError", "SuffuseError", "suggest"]


class SuffuseError(Exception):
    """The user can mend this. The command line prints the message alone and leaves with code 2."""


class ConfigError(SuffuseError):
    """A key, a type or a value of the configuration is wrong."""


class DataError(SuffuseError):
    """A file or folder of the user's cannot be used."""


class RunError(SuffuseError):
    """A run directory or a checkpoint is missing, damaged or does not fit."""


class PluginError(SuffuseError):
    """A plugin is missing, broken or in conflict."""


def suggest(word: str, known: Iterable[str]) -> str:
    """``"; did you mean 'unet'?"`` or the empty string, to close a message about an unknown name."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
