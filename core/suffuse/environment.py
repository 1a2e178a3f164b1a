"""What is installed and on what it runs: for bug reports and for the records of a run."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from suffuse.errors import PluginError
from suffuse.plugins import CORE, Registry
from suffuse.plugins.discovery import duplicate_configs

__all__ = ["describe", "git_state", "list_plugins", "processor", "versions"]

_PACKAGES = ("suffuse", "torch", "numpy", "scipy", "safetensors", "hydra-core", "omegaconf", "pluggy")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages on which results may depend; imports none of them."""
    found = {"suffuse": "unknown", "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return {**found, "platform": platform.platform()}


def processor() -> str:
    """The model of the processor, with family and model number, since virtual machines often say little else."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    pairs = (line.partition(":") for line in lines)
    facts = {key.strip(): value.strip() for key, colon, value in reversed(list(pairs)) if colon}
    name = facts.get("model name", platform.machine())
    return f"{name} (family {facts['cpu family']}, model {facts['model']})" if "cpu family" in facts else name


def git_state(folder: Path) -> str | None:
    """The commit that is checked out at ``folder``, with ``+changes`` where files differ; None outside a repository."""

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def describe() -> str:
    """A block of text for a bug report: versions, devices, threads, plugins."""
    import torch

    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        devices.append("Apple MPS")
    lines = {
        **versions(),
        "executable": sys.executable,
        "devices": ", ".join(["cpu", *devices]),
        "threads": f"{torch.get_num_threads()} of {os.cpu_count()} cores",
        "plugins": ", ".join(f"{name} ({found.distribution})" for name, found in Registry().found.items()) or "none",
    }
    width = max(map(len, lines))
    return "\n".join(["```", *(f"{name:<{width}}  {value}" for name, value in lines.items()), "```"])


def list_plugins(registry: Registry, *, verbose: bool = False) -> str:
    """A line for each installed plugin: name, distribution, state. Each is imported; a broken one is a line too.

    Args:
        verbose: with the components of each plugin and of the core, by kind.
    """
    conflicts = duplicate_configs({name: found.conf for name, found in registry.found.items() if found.conf})
    lines = []
    for name, found in registry.found.items():
        state = _state(registry, name)
        clashes = [path for path, names in conflicts.items() if name in names]
        if clashes:
            others = ", ".join(other for other in conflicts[clashes[0]] if other != name)
            state += f"; conf/{clashes[0]} is also in {others}"
        lines.append(f"{name:<12}{found.distribution:<24}{state}")
        if verbose and state.startswith("ok"):
            lines += _components(registry, name)
    if verbose:
        lines += ["core", *_components(registry, CORE)]
    return "\n".join(lines) if lines else 'no plugins installed; try: pip install "suffuse[image]"'


def _state(registry: Registry, name: str) -> str:
    try:
        registry.load(name)
    except PluginError as error:
        return str(error)
    found = registry[name]
    if found.conf is None or not (found.conf / "modality" / f"{name}.yaml").is_file():
        return f"has no conf/modality/{name}.yaml"
    if found.missing:
        extra = found.entry.dist.name if found.entry.dist else name
        return f'needs {", ".join(found.missing)}: pip install "{extra}[{name}]"'
    return "ok"


def _components(registry: Registry, name: str) -> list[str]:
    return [f"  {kind:<12}{', '.join(sorted(names))}" for kind, names in sorted(registry.load(name).items())]
