"""Distributions put on the path as pip would leave them, without pip: their wheel is built and unpacked."""

from __future__ import annotations

import importlib
import sys
import zipfile
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path

import hatchling.build


def unpack(source: Path, site: Path) -> None:
    """The wheel of the distribution at ``source``, unpacked into ``site``."""
    wheels = site / ".wheels"
    wheels.mkdir(parents=True, exist_ok=True)
    with chdir(source):
        name = hatchling.build.build_wheel(str(wheels))
    with zipfile.ZipFile(wheels / name) as wheel:
        wheel.extractall(site)


@contextmanager
def importable(site: Path) -> Iterator[None]:
    """What lies in ``site`` is installed for a while."""
    before = set(sys.modules)
    sys.path.insert(0, str(site))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(str(site))
        for name in set(sys.modules) - before:
            if str(getattr(sys.modules[name], "__file__", None)).startswith(str(site)):
                del sys.modules[name]


PAGE = {
    "dense": "backbone",
    "round": "data",
    "gamma": "decoder",
    "tone": "metric",
    "lean": "solver",
    "bounds": "guidance",
    "figures": "callback",
}
"""The plugins that ``docs/plugins/components.md`` shows, as ``suffuse new`` writes them."""
