"""Components made from configuration: every key is checked against the signature before anything is called."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from typing import Any, get_type_hints

from suffuse.errors import ConfigError, suggest
from suffuse.fitting import fit

__all__ = ["call"]


def call(
    factory: Callable[..., Any],
    settings: Mapping[str, Any],
    where: str,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> Any:
    """``factory(*args, **kwargs, **settings)``, with the settings made to fit its annotations.

    Args:
        where: the configuration key of ``settings``, such as ``backbone``; empty where they stand at the top.

    Raises:
        ConfigError: a setting that the factory does not have, one that it needs, or a value of the wrong type.
    """
    signature = inspect.signature(factory)
    given = signature.bind_partial(*args, **kwargs).arguments
    kinds = {name: parameter.kind for name, parameter in signature.parameters.items()}
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    free = [name for name, kind in kinds.items() if kind in named and name not in given]
    takes_any = inspect.Parameter.VAR_KEYWORD in kinds.values()
    inside = f"{where}." if where else ""
    for key in settings:
        if key in given:
            raise ConfigError(f"{inside}{key} is set by the program; leave it out")
        if key not in free and not takes_any:
            close = suggest(key, free) or f"; it has: {', '.join(free) or 'no settings'}"
            raise ConfigError(f"{inside}{key} is not a setting of {_label(factory)}{close}")
    for key in free:
        if key not in settings and signature.parameters[key].default is inspect.Parameter.empty:
            raise ConfigError(f"{inside}{key} has no value; {_label(factory)} needs one: {inside}{key}=VALUE")
    hints = _hints(factory)
    fitted = {key: fit(hints.get(key, Any), value, f"{inside}{key}") for key, value in settings.items()}
    return factory(*args, **kwargs, **fitted)


def _label(factory: Callable[..., Any]) -> str:
    return getattr(factory, "__name__", repr(factory))


def _hints(factory: Callable[..., Any]) -> dict[str, Any]:
    """Types of the parameters; none where an annotation names something that is imported for type checkers alone."""
    place = factory
    if inspect.isclass(factory) and not is_dataclass(factory):
        place = factory.__init__
    try:
        return get_type_hints(place, include_extras=True)
    except (NameError, TypeError, AttributeError):
        return {}
