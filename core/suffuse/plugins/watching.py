"""What a plugin's code does to everybody else: prints where only results belong, and settings of torch that are global.

Neither stops anything. Both are said, and settings are put back, because results that are equal in every bit depend on
some of them.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, redirect_stdout
from io import StringIO
from typing import Any, NamedTuple

__all__ = ["watched"]


class _Setting(NamedTuple):
    """How a setting of torch is read, and how it is written."""

    get: Callable[[], Any]
    put: Callable[[Any], object]


@contextmanager
def watched(label: str, *, quiet: bool = True) -> Iterator[None]:
    """Watch what runs inside.

    Args:
        label: whose code it is, as warnings name it.
        quiet: whether it has no reason to print; what it prints is then kept from standard output.
    """
    before = _read()
    said = StringIO()
    try:
        with redirect_stdout(said) if quiet else nullcontext():
            yield
    finally:
        after = _read()
        settings = _settings()
        changed = [name for name in before if before[name] != after[name]]
        for name in changed:
            settings[name].put(before[name])
        if changed:
            were = ", ".join(f"{name} to {after[name]}" for name in changed)
            warnings.warn(f"{label} sets torch's {were}, which is everybody's; it was put back", stacklevel=3)
        if text := said.getvalue().strip():
            shown = text if len(text) < 60 else f"{text[:57]}..."
            warnings.warn(f"{label} prints when it is loaded: {shown!r}", stacklevel=3)


def _read() -> dict[str, Any]:
    return {name: setting.get() for name, setting in _settings().items()}


def _settings() -> Mapping[str, _Setting]:
    """Of torch, where it has been imported; a plugin that imports it first finds it as it comes."""
    torch = sys.modules.get("torch")
    if torch is None:
        return {}
    return {
        "number of threads": _Setting(torch.get_num_threads, torch.set_num_threads),
        "default dtype": _Setting(torch.get_default_dtype, torch.set_default_dtype),
        "default device": _Setting(torch.get_default_device, torch.set_default_device),
        "gradient mode": _Setting(torch.is_grad_enabled, torch.set_grad_enabled),
        "deterministic mode": _Setting(torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms),
        "matmul precision": _Setting(torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
        "cudnn.benchmark": _Setting(
            lambda: torch.backends.cudnn.benchmark, lambda value: setattr(torch.backends.cudnn, "benchmark", value)
        ),
    }
