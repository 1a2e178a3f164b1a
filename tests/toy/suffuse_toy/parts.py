"""What serves other modalities too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from suffuse.data import Evaluation, Score
from suffuse.fields import Field
from suffuse.processes import Gaussian, Level
from suffuse.sampling import DDIM, Ancestral
from suffuse.schedules import Schedule
from suffuse.training.callbacks import Callback, Written

__all__ = ["Diary", "Drawn", "Plain", "Spread", "walk"]


class Walk(Gaussian):
    """Noise, under another name."""

    def corrupt(self, clean: Tensor, level: Level, noise: Tensor, field: Field, mask: Tensor | None) -> Tensor:
        alpha, sigma = level.like(clean)
        return torch.addcmul(alpha * clean, sigma, field.tangent(noise, mask))


def walk(field: Field, schedule: Schedule) -> Walk:
    """Noise that is added, and a signal that fades."""
    return Walk(schedule)


@dataclass(frozen=True)
class Plain(DDIM):
    """A rule like another.

    Args:
        eta: its stochasticity.
    """

    eta: float = 0.5


@dataclass(frozen=True)
class Drawn(Ancestral):
    """A rule for classes like another.

    Args:
        eta: its stochasticity.
        top_p: what is drawn from.
    """

    eta: float = 0.0
    top_p: float = 1.0


class Spread:
    """How far points lie apart.

    Args:
        most: clouds that are looked at.
    """

    def __init__(self, *, most: int = 100) -> None:
        self.most = most

    def __call__(self, evaluation: Evaluation) -> list[Score]:
        real = [evaluation.heldout[index].value for index in range(min(self.most, len(evaluation.heldout)))]
        value, truth = (float(np.mean([v["points"].std() for v in part])) for part in (evaluation.values, real))
        return [Score(name="spread", value=value, real=truth, better="higher", about="Mean deviation of points.")]


class Diary(Callback):
    """Writes down what it hears.

    Args:
        file: its name.
    """

    def __init__(self, *, file: str = "diary.txt") -> None:
        self.file = file
        self.folder: Path | None = None

    def started(self, directory: Path, step: int) -> None:
        self.folder = directory

    def logged(self, step: int, metrics: Mapping[str, float]) -> None:
        self._write(f"logged {step}")

    def sampled(self, written: Written) -> None:
        self.folder = written.folder
        self._write(f"sampled {len(written.values)}")

    def finished(self, step: int) -> None:
        self._write(f"finished {step}")

    def _write(self, line: Any) -> None:
        assert self.folder is not None
        with (self.folder / self.file).open("a") as file:
            file.write(f"{line}\n")
