"""What the name of a sound says of it, and whether what is known of it is what is wanted."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from suffuse.errors import ConfigError
from suffuse.files import top_folder
from suffuse.tables import Known

__all__ = ["compile_pattern", "known_by_name", "matches"]


def compile_pattern(pattern: str, key: str) -> re.Pattern[str]:
    """A regular expression.

    Raises:
        ConfigError: it is none; the message names ``data.key``.
    """
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"data.{key}={pattern}: not a regular expression ({error})") from error


def known_by_name(names: Sequence[str], shared: str, pattern: re.Pattern[str] | None) -> list[Known | None]:
    """Facts in the names of files: ``label`` is the top folder below the shared one; a pattern's groups come over it.

    None for a name that a pattern does not match.
    """
    found: list[Known | None] = []
    for name in names:
        folder = top_folder(name, shared)
        known = {"label": folder} if folder else {}
        if pattern is not None:
            match = pattern.search(str(PurePosixPath(name.removeprefix(shared)).with_suffix("")))
            if match is None:
                found.append(None)
                continue
            known |= {key: value or "" for key, value in match.groupdict().items()}
        found.append(known)
    return found


def matches(known: Known, wanted: Mapping[str, Any]) -> bool:
    """Whether the facts of a sound are the wanted ones: a value, one of a list, or a range of numbers ``0..4``."""
    return all(_among(known.get(column, ""), value) for column, value in wanted.items())


def _among(text: str, wanted: Any) -> bool:
    if isinstance(wanted, Sequence) and not isinstance(wanted, str):
        return any(_among(text, value) for value in wanted)
    low, dots, high = str(wanted).partition("..")
    if not dots:
        return text == str(wanted)
    try:
        value, least, most = float(text), float(low or -math.inf), float(high or math.inf)
    except ValueError:
        return text == str(wanted)
    return least <= value <= most
