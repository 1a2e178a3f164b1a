"""What else may watch a training run. Plugins register their own under the kind ``callback``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

__all__ = ["Callback", "TensorBoard"]


class Callback:
    """Does nothing. Override what is of interest; an error raised in one of these stops the run."""

    def started(self, directory: Path, step: int) -> None:
        """Training begins, or goes on from ``step``."""

    def logged(self, step: int, metrics: Mapping[str, float]) -> None:
        """Figures were logged: every ``trainer.log_every`` steps, and after a validation."""

    def saved(self, step: int, path: Path) -> None:
        """A checkpoint was committed."""

    def finished(self, step: int) -> None:
        """Training ended or was interrupted; nothing more will be called."""


class TensorBoard(Callback):
    """Writes every figure for TensorBoard, into the folder ``tensorboard`` of the run."""

    def started(self, directory: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(directory / "tensorboard"), purge_step=step)

    def logged(self, step: int, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            self.writer.add_scalar(name, value, step)

    def finished(self, step: int) -> None:
        self.writer.close()
