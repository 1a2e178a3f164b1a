"""Snapshots of the power-function averages in ``averages/`` of a run, and the average of any width out of them.

Numbers are stored as float16, which rounds to one part in 2048, an eighth of what bfloat16 does (and it matters: an
average differs from the weights themselves by a few thousandths only, of which bfloat16 was seen to blur 6 to 24 %);
a tensor that does not fit its range stays in float32. A snapshot of two averages so has the size of the
network, 4 bytes a parameter, and at most `MOST` are kept: the multiples of ``every`` times the least power of two for
which they are not more. They stay evenly spaced, which keeps the relative error of profiles of widths from 0.04 to 0.2
below 3 %, and the running averages of the checkpoint stand beside them at full precision. Which steps are kept is a
function of the step reached alone, so that a run that was killed and resumed ends with the same files.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from suffuse.disk import flush
from suffuse.errors import RunError
from suffuse.training.averaging import WIDTHS, Profile, mixture
from suffuse.training.checkpoints import Checkpoint

__all__ = ["GROUP", "MOST", "Snapshots", "reconstruct"]

MOST = 32
"""How many snapshots are kept at most; never less than half of it once so many were taken."""

GROUP = "powers"
"""The running averages among the tensors of a checkpoint."""

_WORST = 0.1
"""Relative error of a profile from which on an average is not given out under the name of a width."""


class Snapshots:
    """The snapshots of a run.

    Args:
        folder: where they lie; made at the first one.
        every: steps between two of them before thinning; 0 takes none.
    """

    def __init__(self, folder: Path, every: int = 0) -> None:
        self.folder = folder
        self.every = every

    def steps(self) -> list[int]:
        """Steps of the snapshots, in order."""
        if not self.folder.is_dir():
            return []
        found = (re.fullmatch(r"step-(\d{9})\.safetensors", entry.name) for entry in self.folder.iterdir())
        return sorted(int(match[1]) for match in found if match)

    def path(self, step: int) -> Path:
        """Where the snapshot of a step lies."""
        return self.folder / f"step-{step:09d}.safetensors"

    def stride(self, step: int) -> int:
        """Steps between the snapshots that are kept once ``step`` is reached."""
        stride = self.every
        while step // stride > MOST:
            stride *= 2
        return stride

    def take(self, step: int, tensors: Mapping[str, Tensor]) -> None:
        """Keep the averages of a step if it is one to be kept, and let go of those that are no longer.

        Raises:
            RunError: it could not be written; what is there stays.
        """
        if not self.every or step % self.every:
            return
        stride = self.stride(step)
        if step % stride == 0:
            self._write(step, {name: _small(value) for name, value in tensors.items()})
        for old in self.steps():
            if old % stride:
                self.path(old).unlink(missing_ok=True)

    def rewind(self, step: int) -> None:
        """Remove those beyond a step, which a resumed run is about to take again."""
        for later in self.steps():
            if later > step:
                self.path(later).unlink(missing_ok=True)

    def read(self, step: int) -> dict[str, Tensor]:
        """The averages of a step.

        Raises:
            RunError: the file is missing or damaged.
        """
        path = self.path(step)
        try:
            with safe_open(path, framework="pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
                written = (file.metadata() or {}).get("sha256")
        except (OSError, SafetensorError) as error:
            raise RunError(f"{path}: not readable ({str(error).splitlines()[0]})") from error
        if written != _digest(step, tensors):
            raise RunError(f"{path}: damaged (SHA-256 is not that of its metadata); remove it to go without")
        return tensors

    def _write(self, step: int, tensors: Mapping[str, Tensor]) -> None:
        path = self.path(step)
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for stale in self.folder.glob(".step-*"):
                stale.unlink(missing_ok=True)
            save_file(dict(tensors), draft, {"sha256": _digest(step, tensors)})
            flush(draft)
            draft.replace(path)
            flush(self.folder)
        except (OSError, SafetensorError) as error:
            with suppress(OSError):
                draft.unlink()
            reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
            raise RunError(f"{path}: the snapshot could not be written ({reason})") from error


def reconstruct(snapshots: Snapshots, checkpoint: Checkpoint, width: float) -> dict[str, Tensor]:
    """The weights of a checkpoint's network averaged up to its step by a power function of some ``width``.

    Args:
        snapshots: of the same run; those up to the step are used.
        checkpoint: with the running averages.
        width: sigma_rel, from just above 0 to `WIDTH_MOST`.

    Returns:
        Everything in the network's own precision; what is no parameter comes from the exponential average.

    Raises:
        RunError: the run kept no averages, a snapshot is damaged, or those that there are do not make such a width.
    """
    running = checkpoint.tensors.get(GROUP)
    if running is None:
        raise RunError(
            f"ema={width:g}: the checkpoint of step {checkpoint.step} has no averages to choose a width from; "
            "train with trainer.snapshot_every=N (ema=null takes the run's own average)"
        )
    step = checkpoint.step
    steps = [earlier for earlier in snapshots.steps() if earlier < step]
    kept = [Profile(at, each) for at in [*steps, step] for each in WIDTHS]
    factors, error = mixture(kept, Profile(step, width))
    if error > _WORST:
        narrow = "wider" if width < min(WIDTHS) else "narrower"
        raise RunError(
            f"ema={width:g}: {len(steps)} snapshots up to step {step} make this width to {error:.0%} only; take a "
            f"{narrow} one, or train with a smaller trainer.snapshot_every"
        )
    total = {name: torch.zeros_like(value, dtype=torch.float64) for name, value in _of(running, WIDTHS[0]).items()}
    for place, at in enumerate([*steps, step]):
        tensors = running if at == step else snapshots.read(at)
        for each, factor in zip(WIDTHS, factors[place * len(WIDTHS) :], strict=False):
            for name, value in _of(tensors, each).items():
                total[name].add_(value.double(), alpha=factor)
    own = checkpoint.tensors["average"]
    return {name: total[name].to(value.dtype) if name in total else value for name, value in own.items()}


def _of(tensors: Mapping[str, Tensor], width: float) -> dict[str, Tensor]:
    """Those of one width, by the network's names."""
    start = f"{width}/"
    return {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}


def _small(value: Tensor) -> Tensor:
    half = value.detach().to("cpu", torch.float16)
    return (half if half.isfinite().all() else value.detach().to("cpu", torch.float32)).contiguous()


def _digest(step: int, tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(f"{step}".encode())
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {list(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
