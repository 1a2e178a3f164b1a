"""Checks of what a plugin says when it is asked what it brings: its hooks, its components, its configuration."""

from __future__ import annotations

import subprocess
import sys

from suffuse.testing.bench import Bench
from suffuse.testing.check import ensure

__all__ = ["registration_imports_nothing_heavy"]

_LIGHT = {"suffuse", "pluggy"}
_PROBE = """
import sys
before = set(sys.modules)
import {module}
print(*{{name.partition(".")[0] for name in set(sys.modules) - before}} - set(sys.stdlib_module_names))
"""


def registration_imports_nothing_heavy(bench: Bench) -> None:
    """Its registration module imports the standard library, suffuse and itself, and nothing else."""
    module = bench.found.entry.module
    code = _PROBE.format(module=module)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    ensure(done.returncode == 0, f"{module} does not import in a new process: {done.stderr.strip()[-300:]}")
    strays = sorted(set(done.stdout.split()) - _LIGHT - {bench.found.package})
    ensure(not strays, f"{module} imports {', '.join(strays)}; name components as 'module:attribute' and import there")
