"""What is installed and on what it runs: for bug reports and for the records of a run."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from suffuse.plugins import Registry

__all__ = ["describe", "git_state", "processor", "versions"]

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
