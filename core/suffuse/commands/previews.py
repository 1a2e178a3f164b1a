"""A small sheet of samples now and then during training."""

from __future__ import annotations

from dataclasses import dataclass, replace

from suffuse.commands.captions import captions
from suffuse.denoiser import Denoiser
from suffuse.model import Model
from suffuse.runs import Run
from suffuse.training.callbacks import Written

__all__ = ["Previews"]


@dataclass(frozen=True)
class Previews:
    """Draws the same few samples each time, so that their sheets can be compared.

    Args:
        run: to whose ``samples/`` the sheets are written.
        model: whose recorded sampler is used.
        count: samples on a sheet.
        writes: whether this process writes them; where weights are split over processes, all take part in drawing.
    """

    run: Run
    model: Model
    count: int = 40
    writes: bool = True

    def __call__(self, denoiser: Denoiser, step: int) -> Written | None:
        model = replace(self.model, denoiser=denoiser)
        indices = range(self.count)
        asked = model.asked({}, indices)
        values = model.decoder.decode(model.draw(indices, asked, model.recipe(), compute_batch=self.count))
        if not self.writes:
            return None
        self.run.samples.mkdir(exist_ok=True)
        path = self.run.samples / f"step-{step:09d}.png"
        words = captions(model.conditions, asked, self.count)
        model.decoder.sheet(values, words, path)
        return Written(folder=self.run.samples, files=[path], values=values, asked=words, step=step)
