"""Plain values of a configuration made to fit the types that a record or a component declares.

Configurations are data: text, numbers, lists. The annotations of what takes them say everything that a check needs, so
one function serves the program's own settings and the constructors of every plugin.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, get_args, get_origin, runtime_checkable

from suffuse.errors import ConfigError, suggest

__all__ = ["Component", "Range", "Rule", "fit", "shown"]


@runtime_checkable
class Rule(Protocol):
    """What ``Annotated[type, rule]`` asks of a value beyond its type."""

    def check(self, value: Any, key: str) -> Any:
        """The value, perhaps converted.

        Raises:
            ConfigError: it is not allowed; the message names ``key``.
        """
        ...

    def __str__(self) -> str:
        """What is allowed, in words that follow those of the type; may be empty."""
        ...


@dataclass(frozen=True, kw_only=True)
class Range:
    """Bounds of a number. NaN lies within none."""

    least: float | None = None
    above: float | None = None
    most: float | None = None
    below: float | None = None

    def check(self, value: Any, key: str) -> Any:
        if (
            value != value
            or (self.least is not None and value < self.least)
            or (self.above is not None and value <= self.above)
            or (self.most is not None and value > self.most)
            or (self.below is not None and value >= self.below)
        ):
            raise ConfigError(f"{key}={shown(value)}: must be {self}")
        return value

    def __str__(self) -> str:
        words = {"least": self.least, "above": self.above, "most": self.most, "below": self.below}
        prefix = {"least": "at least", "above": "above", "most": "at most", "below": "below"}
        return " and ".join(f"{prefix[name]} {_number(bound)}" for name, bound in words.items() if bound is not None)


class Component:
    """A mapping with the ``name`` of a component, whose other keys the component itself declares.

    Args:
        named: whether the name must be there.
        hints: types of the keys that every component of this kind shares.
    """

    def __init__(self, *, named: bool = True, **hints: Any) -> None:
        self.named = named
        self.hints = hints

    def check(self, value: Mapping[str, Any], key: str) -> dict[str, Any]:
        if self.named and not isinstance(value.get("name"), str):
            raise ConfigError(f"{key}.name={shown(value.get('name'))}: must name a component")
        return {
            name: fit(self.hints[name], part, f"{key}.{name}") if name in self.hints else part
            for name, part in value.items()
        }

    def __str__(self) -> str:
        return "with a name" if self.named else ""


def fit(hint: Any, value: Any, key: str) -> Any:
    """``value`` as an instance of the type ``hint``; types that configurations cannot hold are left alone.

    A whole number may be written as ``1e4``, and a list serves for a tuple; nothing else is converted.

    Raises:
        ConfigError: it does not fit; the message names ``key``, the value and what is allowed.
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        try:
            value = fit(arguments[0], value, key)
            for rule in arguments[1:]:
                value = rule.check(value, key) if isinstance(rule, Rule) else value
        except ConfigError as error:
            raise _refuse(hint, value, key) if _speaks_of(error, key) else error from None
        return value
    if origin in (typing.Union, types.UnionType):
        return _fit_union(hint, value, key)
    if origin is Literal:
        if not any(type(value) is type(allowed) and value == allowed for allowed in arguments):
            raise ConfigError(f"{key}={shown(value)}: must be {_words(hint)}{suggest(str(value), map(str, arguments))}")
        return value
    plain = origin or hint
    if plain is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if plain is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if plain is str and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if plain is Path and isinstance(value, str | Path):
        return Path(value)
    if plain in (list, Sequence):
        return (
            [fit(arguments[0], v, f"{key}[{i}]") for i, v in enumerate(_items(hint, value, key))]
            if arguments
            else value
        )
    if plain is tuple and arguments:
        return _fit_tuple(hint, value, key)
    if plain in (dict, Mapping):
        if not isinstance(value, Mapping):
            raise _refuse(hint, value, key)
        return {k: fit(arguments[1], v, f"{key}.{k}") for k, v in value.items()} if arguments else dict(value)
    if plain in (int, float, str, bool, type(None)) and type(value) is not plain:
        raise _refuse(hint, value, key)
    return value


def shown(value: Any) -> str:
    """A value as it would be typed on the command line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(shown, value))}]"
    return str(value)


def _fit_union(hint: Any, value: Any, key: str) -> Any:
    arms = get_args(hint)
    for arm in arms:  # an exact type first: 3 stays 3 for `float | int`, and text stays text for `Path | str`
        if type(value) is arm:
            return value
    for arm in arms:
        try:
            return fit(arm, value, key)
        except ConfigError as error:
            if not _speaks_of(error, key):
                raise
    raise _refuse(hint, value, key)


def _fit_tuple(hint: Any, value: Any, key: str) -> tuple[Any, ...]:
    arguments, items = get_args(hint), _items(hint, value, key)
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return tuple(fit(arguments[0], v, f"{key}[{i}]") for i, v in enumerate(items))
    if len(items) != len(arguments):
        raise _refuse(hint, value, key)
    return tuple(fit(a, v, f"{key}[{i}]") for i, (a, v) in enumerate(zip(arguments, items, strict=True)))


def _items(hint: Any, value: Any, key: str) -> Sequence[Any]:
    if not isinstance(value, list | tuple):
        raise _refuse(hint, value, key)
    return value


def _speaks_of(error: ConfigError, key: str) -> bool:
    """Whether the value itself was refused, and not a part deeper inside, of which the message is more precise."""
    return str(error).startswith(f"{key}=")


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else f"{value:g}"


def _refuse(hint: Any, value: Any, key: str) -> ConfigError:
    return ConfigError(f"{key}={shown(value)}: must be {_words(hint)}")


_PLAIN = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    Path: "a path",
    type(None): "null",
}


def _words(hint: Any) -> str:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return ", ".join(filter(None, (_words(arguments[0]), *(str(a) for a in arguments[1:] if isinstance(a, Rule)))))
    if origin is Literal:
        return ("one of " if len(arguments) > 1 else "") + ", ".join(map(shown, arguments))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(map(_words, arguments)))
    if origin is tuple and arguments[-1] is not Ellipsis:
        return f"a list of {len(arguments)}: [{', '.join(map(_words, arguments))}]"
    if (origin or hint) in (list, Sequence, tuple):
        return f"a list, each {_words(arguments[0])}" if arguments else "a list"
    if (origin or hint) in (dict, Mapping):
        return "keys and values"
    return _PLAIN.get(hint, getattr(hint, "__name__", str(hint)))
