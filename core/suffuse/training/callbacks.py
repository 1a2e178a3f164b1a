"""What else may watch a run: log it, mark or score its samples, send its checkpoints away.

Plugins register their own under the kind ``callback``; a run tells those that its configuration names, and no others.
There is no second way: the hooks of plugins say what a plugin brings, callbacks hear what happens.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from suffuse.errors import PluginError, SuffuseError
from suffuse.plugins.discovery import origin

__all__ = ["Callback", "Callbacks", "TensorBoard", "Written"]


@dataclass(frozen=True, kw_only=True)
class Written:
    """Samples that have just become files.

    Args:
        folder: in which they lie.
        files: as the decoder or a session wrote them, and a sheet; of a preview in training the sheet alone.
        values: as the decoder made them.
        asked: in words, what each was asked for; empty where that was nothing.
        step: of the weights that made them.
    """

    folder: Path
    files: Sequence[Path]
    values: Sequence[Any]
    asked: Sequence[str]
    step: int


class Callback:
    """Does nothing. Override what is of interest.

    An error in `started` stops the run before anything is spent. After that a callback that raises is set aside: the
    run goes on without it, says so, and writes it into ``run.json``. A callback that means to stop the run raises a
    ``SuffuseError``, such as ``RunError``, whose message is all that is shown.
    """

    def started(self, directory: Path, step: int) -> None:
        """Training begins, or goes on from ``step``, in the run directory."""

    def logged(self, step: int, metrics: Mapping[str, float]) -> None:
        """Figures were logged: every ``trainer.log_every`` steps ``loss`` and others, after a validation
        ``validation_loss``."""

    def saved(self, step: int, path: Path) -> None:
        """A checkpoint was committed."""

    def sampled(self, written: Written) -> None:
        """Samples were written: a preview in training, or those of ``suffuse sample``, where nothing else is called."""

    def finished(self, step: int) -> None:
        """Training ended or was interrupted; nothing more will be called."""


@dataclass
class Callbacks(Callback):
    """Several as one, of which none can do a run any harm.

    Args:
        each: in the order in which they are told.
        failed: those that were set aside, with their errors.
    """

    each: Sequence[Callback] = ()
    failed: dict[str, str] = field(default_factory=dict)

    def started(self, directory: Path, step: int) -> None:
        """
        Raises:
            PluginError: one of them cannot start.
        """
        for callback in self.each:
            try:
                callback.started(directory, step)
            except SuffuseError:
                raise
            except Exception as error:
                raise PluginError(f"{_label(callback)} failed in started: {_why(error)}") from error

    def logged(self, step: int, metrics: Mapping[str, float]) -> None:
        self._tell("logged", step, metrics)

    def saved(self, step: int, path: Path) -> None:
        self._tell("saved", step, path)

    def sampled(self, written: Written) -> None:
        self._tell("sampled", written)

    def finished(self, step: int) -> None:
        self._tell("finished", step)

    def _tell(self, event: str, *what: Any) -> None:
        for callback in self.each:
            try:
                getattr(callback, event)(*what)
            except SuffuseError:
                raise
            except Exception as error:  # a stranger's code may raise anything
                self.each = [other for other in self.each if other is not callback]
                self.failed[_label(callback)] = f"{event}: {_why(error)}"
                warnings.warn(
                    f"{_label(callback)} failed in {event}: {_why(error)}; the run goes on without it", stacklevel=3
                )


def _label(callback: Callback) -> str:
    return f"callback {type(callback).__name__} of {origin(callback)}"


def _why(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


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
