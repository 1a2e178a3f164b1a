"""The training loop.

Order, augmentation, noise levels and noise are functions of (seed, position), so that the state of a run is its
weights, its optimizer and one number, the step: to resume is to load these and go on.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from suffuse import noise
from suffuse.data import Decoder, Split
from suffuse.denoiser import Denoise, Denoiser
from suffuse.errors import ConfigError, RunError
from suffuse.fields import check
from suffuse.progress import Progress
from suffuse.settings import TrainerSettings
from suffuse.state import sent
from suffuse.training.averaging import Average, PowerAverages
from suffuse.training.callbacks import Callback, Callbacks, Written
from suffuse.training.checkpoints import Checkpoint, Checkpoints
from suffuse.training.engine import Engine, SingleProcess
from suffuse.training.feed import Feed, Order
from suffuse.training.objective import Objective
from suffuse.training.signals import heeded
from suffuse.training.snapshots import GROUP, Snapshots

__all__ = ["Diverged", "Interrupted", "Trainer", "learning_rate", "load_weights"]

_MOST_SKIPPED = 8
"""Batches of a hundred that are left out; where more of them diverge, it is not the batches."""
_ADVICE = "try a smaller trainer.lr, look at these items, or leave them out with trainer.diverged=roll_back"


class Interrupted(Exception):  # noqa: N818 - it is no error
    """Training was asked to stop; everything up to ``step`` is saved."""

    def __init__(self, step: int, signal_number: int) -> None:
        super().__init__(f"interrupted after step {step}")
        self.step = step
        self.signal_number = signal_number


class Diverged(RunError):  # noqa: N818 - after the setting
    """A loss or a gradient is no number, or exploded; ``step`` is the number of the update, from 0."""

    def __init__(self, message: str, step: int) -> None:
        super().__init__(message)
        self.step = step


def learning_rate(step: int, settings: TrainerSettings) -> float:
    """The rate of update number ``step`` (from 0)."""
    rise = min(1.0, (step + 1) / settings.warmup) if settings.warmup else 1.0
    if settings.decay == "cosine":
        fall = 0.5 * (1 + math.cos(math.pi * step / settings.steps))
    elif settings.decay == "rsqrt":
        fall = math.sqrt(max(settings.warmup, 1) / max(step + 1, settings.warmup, 1))
    else:
        fall = 1.0
    return settings.lr * rise * fall


@dataclass(kw_only=True)
class Trainer:
    """Trains a denoiser on a split of data.

    Args:
        denoiser: what is trained, in place.
        objective: what it is trained for.
        train, heldout: data; held-out data may be None or empty.
        decoder: turns data into states.
        directory: of the run; checkpoints go to ``checkpoints/`` in it.
        settings: numbers and switches.
        seed: decides everything random.
        engine: what runs it. Of several processes the first speaks, writes and tells callbacks.
        describe: plain data that goes into every checkpoint beside the step.
        callbacks: what else watches.
        preview: called with (denoiser with averaged weights, step) every ``preview_every`` steps, in all processes;
            gives what it wrote.
        log: called with (step, figures); the run directory appends them to ``metrics.jsonl``.
    """

    denoiser: Denoiser
    objective: Objective
    train: Split
    decoder: Decoder
    directory: Path
    settings: TrainerSettings = field(default_factory=TrainerSettings)
    heldout: Split | None = None
    seed: int = 0
    engine: Engine = field(default_factory=SingleProcess)
    describe: Mapping[str, Any] = field(default_factory=dict)
    callbacks: Sequence[Callback] = ()
    preview: Callable[[Denoiser, int], Written | None] | None = None
    log: Callable[[int, Mapping[str, float]], None] | None = None

    def __post_init__(self) -> None:
        if not len(self.train):
            raise ConfigError("data: the training split is empty")
        settings = self.settings
        shares = settings.accumulate * self.engine.world_size
        if settings.batch_size % shares:
            raise ConfigError(
                f"trainer.batch_size={settings.batch_size}: must be a multiple of {shares}, for {settings.accumulate} "
                f"parts in {self.engine.world_size} processes"
            )
        self._leads = self.engine.rank == 0
        if not self._leads:
            self.callbacks, self.log = (), None
        self.step = 0
        self.watching = Callbacks(self.callbacks)
        self.order = Order.of(self.train, self.seed, settings.batch_size)
        self.checkpoints = Checkpoints(self.directory / "checkpoints", settings.keep_checkpoints, settings.keep_best)
        self.skipped: set[int] = set()
        if settings.channels_last:
            self.denoiser.to(memory_format=torch.channels_last)
        self.denoiser.to(self.engine.device)
        self.average = Average(self.denoiser, settings.ema)
        for network in (self.denoiser, self.average.model):
            self.engine.shard(network)
        self.powers = PowerAverages(self.denoiser) if settings.snapshot_every else None
        self.snapshots = Snapshots(self.directory / "averages", settings.snapshot_every)
        self.optimizer = torch.optim.AdamW(
            self.denoiser.parameters(),
            settings.lr,
            settings.betas,
            weight_decay=settings.weight_decay,
            fused=True,
        )
        prepared = self.engine.prepare(self.denoiser)
        self._network = cast(Denoise, torch.compile(prepared) if settings.compile else prepared)
        self._own: list[Tensor] = []  # this process's share of losses that are not summed yet
        self._losses: list[Tensor] = []
        self._norms: list[Tensor] = []
        self._usual: float | None = None  # the loss of the last log
        self._seen: dict[str, float] = {}  # figures of this step
        self._signal = 0

    def fit(self) -> None:
        """Train until ``settings.steps``, saving on the way and at the end.

        Raises:
            Interrupted: a signal asked to stop; the step reached is saved.
            Diverged: a loss is not finite, or exploded.
            RunError: a checkpoint could not be written.
        """
        settings = self.settings
        self.watching.started(self.directory, self.step)
        if self._leads:
            self.checkpoints.sweep()
            self.snapshots.rewind(self.step)
        since, logged = time.perf_counter(), self.step
        try:
            with heeded(self._heed), Progress(settings.steps, "step", done=self.step) as progress:
                for parts in self._parts():
                    self._update(parts)
                    self.step += 1
                    self._seen = {}
                    last = self.step == settings.steps
                    if (self.step % settings.log_every == 0 or last) and self._norms:
                        rate = (self.step - logged) * settings.batch_size / (time.perf_counter() - since)
                        figures = self._figures()
                        progress.update(self.step, f"loss {figures['loss']:.4f}  {rate:.0f} samples/s")
                        self._report({**figures, "samples_per_second": rate})
                        since, logged = time.perf_counter(), self.step
                    if self._due(settings.validate_every, last) and self.heldout:
                        self._report({"validation_loss": self.validate()})
                        since = time.perf_counter()
                    if self._due(settings.preview_every, last) and self.preview is not None:
                        written = self.preview(self.average.model, self.step)
                        if written is not None:
                            self.watching.sampled(written)
                        since = time.perf_counter()
                    self._snapshot()  # before the checkpoint, which promises those up to its step
                    asked = self.engine.highest(self._signal)
                    if self._due(settings.checkpoint_every, last) or asked:
                        self.save()
                        since = time.perf_counter()
                    if asked and not last:
                        raise Interrupted(self.step, asked)
        finally:
            self.watching.finished(self.step)

    def _heed(self, signal_number: int) -> None:
        self._signal = signal_number

    def _parts(self) -> Iterator[list[tuple[range, Any]]]:
        """For each step, this process's share of its parts as (rows in the batch, encoded data); none if skipped."""
        total, engine = self.settings.batch_size, self.engine
        size = total // self.settings.accumulate
        own = size // engine.world_size
        rows = [range(at + engine.rank * own, at + (engine.rank + 1) * own) for at in range(0, total, size)]
        feed = Feed(
            split=self.train,
            decoder=self.decoder,
            order=self.order,
            fields=self.denoiser.fields,
            workers=self.settings.workers,
            pin=engine.device.type == "cuda",
        )
        steps, skipped = range(self.step, self.settings.steps), frozenset(self.skipped)
        stream = feed.batches(
            range(step * total + part.start, step * total + part.stop)
            for step in steps
            if step not in skipped
            for part in rows
        )
        for step in steps:
            yield [] if step in skipped else [(part, next(stream)) for part in rows]

    def _update(self, parts: list[tuple[range, Any]]) -> None:
        if not parts:
            return
        settings = self.settings
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.step, settings)
        self.denoiser.train()
        total_loss: Tensor | None = None
        for number, (rows, (clean, conditions)) in enumerate(parts, 1):
            clean = clean.to(self.engine.device)
            conditions = {name: sent(value, self.engine.device) for name, value in conditions.items()}
            # What a network drops is torch's to draw: the one generator with a state, so it is put back at every part.
            torch.manual_seed(noise.key(self.seed, "dropout", self.step, rows.start) >> 64)
            with self.engine.part(last=number == len(parts)):
                with self.engine.autocast():
                    each = self.objective(
                        self._network,
                        clean,
                        conditions,
                        seed=self.seed,
                        step=self.step,
                        rows=rows,
                        total=settings.batch_size,
                    )
                loss = each.sum() / settings.batch_size
                self.engine.backward(loss)
            total_loss = loss.detach() if total_loss is None else total_loss + loss.detach()
        assert total_loss is not None
        self._norms.append(self.engine.step(self.optimizer, settings.clip_norm))
        self._own.append(total_loss)
        self.average.update()
        if self.powers is not None:
            self.powers.update(self.step + 1)

    def _due(self, every: int, last: bool) -> bool:
        return last or (every > 0 and self.step % every == 0)

    def _snapshot(self) -> None:
        if self.powers is None or self.step % self.settings.snapshot_every:
            return
        whole = self.engine.gather(self.powers.tensors())
        if self._leads:
            self.snapshots.take(self.step, whole)

    def _settle(self) -> None:
        """Sum the losses that are not summed yet over processes, and refuse them if one has diverged."""
        if self._own:
            self._losses += self.engine.sum(torch.stack(self._own)).unbind()
            self._own.clear()
        if self._losses:
            self._check(torch.stack(self._losses), torch.stack(self._norms))

    def _figures(self) -> dict[str, float]:
        """Mean loss and gradient norm since the last call, read from the device at once."""
        self._settle()
        losses, norms = torch.stack(self._losses), torch.stack(self._norms)
        self._losses.clear()
        self._norms.clear()
        self._usual = float(losses.mean())
        return {
            "loss": self._usual,
            "gradient_norm": float(norms.mean()),
            "lr": learning_rate(self.step - 1, self.settings),
        }

    def _check(self, losses: Tensor, norms: Tensor) -> None:
        """Stop at the first step that diverged; run before every checkpoint, so that nothing of it is saved."""
        limit = math.inf
        if self.settings.explosion is not None and self._usual is not None:
            limit = self.settings.explosion * self._usual
        wrong = ~(losses.isfinite() & (losses <= limit))
        if self.settings.precision != "fp16":  # whose scaled gradients overflow now and then, and are passed over
            wrong = wrong | ~norms.isfinite()
        first = wrong.nonzero()
        if not len(first):
            return
        place = int(first[0])
        step = self._made(len(losses))[place]
        loss, norm = float(losses[place]), float(norms[place])
        if not math.isfinite(loss):
            what = f"the loss is {loss}"
        elif loss > limit:
            times = f"more than {self.settings.explosion:g} times the {self._usual:.4g} of the last log"
            what = f"the loss is {loss:.4g}, {times},"
        else:
            what = f"the gradient is {norm}"
        total = self.settings.batch_size
        indices = self.order.at(range(step * total, (step + 1) * total))
        saved = self.checkpoints.steps()
        kept = f"the checkpoint of step {saved[-1]} is intact" if saved else "no checkpoint had been written"
        shown = ", ".join(map(str, indices[:8])) + (", …" if total > 8 else "")
        raise Diverged(f"{what} at step {step + 1} (training items {shown}); {kept}; {_ADVICE}", step)

    def _made(self, count: int) -> list[int]:
        """The numbers of the last so many updates."""
        steps: list[int] = []
        step = self.step
        while len(steps) < count:
            step -= 1
            if step not in self.skipped:
                steps.insert(0, step)
        return steps

    def _report(self, figures: Mapping[str, float]) -> None:
        self._seen |= {name: value for name, value in figures.items() if name != "samples_per_second"}
        if self.log is not None:
            self.log(self.step, figures)
        self.watching.logged(self.step, figures)

    @torch.no_grad()
    def validate(self) -> float:
        """The loss of the averaged weights on held-out data, at the same items, levels and noise every time."""
        assert self.heldout is not None
        size = min(self.settings.batch_size // self.settings.accumulate, len(self.heldout))
        count = min(self.settings.validation_batches, len(self.heldout) // size)
        world = self.engine.world_size
        total = torch.zeros((), dtype=torch.float64)
        for turn in range(self.engine.rank, -(-count // world) * world, world):  # as many turns in every process
            index = turn % count
            batch = self.heldout.gather(range(index * size, (index + 1) * size))
            clean = self.decoder.encode(batch.values)
            check(clean, self.denoiser.fields)
            clean = clean.to(self.engine.device)
            conditions = {name: value.to(self.engine.device) for name, value in batch.conditions.items()}
            with self.engine.autocast():
                each = self.objective(
                    self.average.model,
                    clean,
                    conditions,
                    seed=noise.key(self.seed, "validation"),
                    step=index,
                    rows=range(size),
                    total=size,
                )
            if turn < count:
                total += float(each.mean())
        return float(self.engine.sum(total)) / count

    def save(self) -> None:
        """Commit a checkpoint of this step."""
        self._settle()
        optimizer = {
            f"{index}.{name}": value
            for index, entry in self.optimizer.state_dict()["state"].items()
            for name, value in entry.items()
        }
        groups = {
            "model": self.denoiser.state_dict(),
            "average": self.average.model.state_dict(),
            "optimizer": optimizer,
            **({} if self.powers is None else {GROUP: self.powers.tensors()}),
        }
        tensors = {name: self.engine.gather(group) for name, group in groups.items()}
        if not self._leads:
            return
        path = self.checkpoints.save(
            Checkpoint(
                step=self.step,
                tensors=tensors,
                state={
                    **self.describe,
                    "seed": self.seed,
                    "average_updates": self.average.updates,
                    "figures": self._seen,
                    "usual_loss": self._usual,
                    "skipped": sorted(self.skipped),
                    "engine": self.engine.state(),
                    # What was seen since the last log, so that the next line is that of a run without a break.
                    "unlogged": {"losses": _numbers(self._losses), "norms": _numbers(self._norms)},
                },
            )
        )
        self.watching.saved(self.step, path)

    def resume(self) -> None:
        """Take up the newest saved step.

        Raises:
            RunError: there is no whole checkpoint, or it does not fit this network.
            ConfigError: snapshots are asked of a run that was begun without.
        """
        checkpoint = self.checkpoints.load() if self._leads else None
        step = int(self.engine.share(str(checkpoint.step) if checkpoint else ""))
        checkpoint = checkpoint or self.checkpoints.load(step)
        for network, group in ((self.denoiser, "model"), (self.average.model, "average")):
            load_weights(network, self._spread(checkpoint.tensors[group], network.state_dict()))
        if self.powers is not None:
            if GROUP not in checkpoint.tensors:
                raise ConfigError(
                    f"trainer.snapshot_every={self.settings.snapshot_every}: the averages count every update from the "
                    "first, and this run was begun without; leave it at 0, or begin a new run"
                )
            self.powers.load(self._spread(checkpoint.tensors[GROUP], self.powers.tensors()))
        self.average.updates = int(checkpoint.state["average_updates"])
        groups = self.optimizer.state_dict()["param_groups"]
        parameters = list(self.denoiser.parameters())
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in checkpoint.tensors["optimizer"].items():
            index, _, name = key.partition(".")
            parameter = parameters[int(index)]
            if name != "step":
                value = self.engine.spread(value, parameter)
            if value.shape == parameter.shape:  # fused updates walk through memory: it must lie as the weights do
                value = torch.empty_like(parameter).copy_(value)
            state.setdefault(int(index), {})[name] = value
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
        self.engine.load_state(checkpoint.state["engine"])
        self._usual = checkpoint.state.get("usual_loss")
        self.skipped |= set(checkpoint.state.get("skipped", ()))
        self._own.clear()
        unlogged = checkpoint.state["unlogged"]
        self._losses = [torch.tensor(v, device=self.engine.device) for v in unlogged["losses"]]
        self._norms = [torch.tensor(v, device=self.engine.device) for v in unlogged["norms"]]
        self.step = checkpoint.step

    def roll_back(self, trouble: Diverged) -> None:
        """Take up the newest saved step, to go on from there without the batch that was the trouble.

        Raises:
            Diverged: nothing is saved, or it is no matter of a few batches.
        """
        if not self.checkpoints.steps():
            raise trouble
        self.resume()
        self.skipped.add(trouble.step)
        if sum(0 <= trouble.step - step < 100 for step in self.skipped) > _MOST_SKIPPED:
            raise Diverged(f"{trouble}; {_MOST_SKIPPED} of the last 100 batches were left out already", trouble.step)

    def _spread(self, whole: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tensors of a checkpoint as they are kept here; those that are none of ours as they are."""
        return {name: self.engine.spread(value, own.get(name, value)) for name, value in whole.items()}


def _numbers(values: list[Tensor]) -> list[float]:
    """Read from the device at once; a float32 survives the way through text."""
    numbers: list[float] = torch.stack(values).tolist() if values else []
    return numbers


def load_weights(model: torch.nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Put weights into a network of exactly their shape.

    Raises:
        RunError: a name or a shape differs; the first is named.
    """
    own = model.state_dict()
    for name in own.keys() ^ weights.keys():
        place = "the checkpoint" if name in own else "this network"
        raise RunError(f"the weights do not fit this network: {name} is missing from {place}")
    for name, value in weights.items():
        if own[name].shape != value.shape:
            raise RunError(
                f"the weights do not fit this network: {name} is {list(value.shape)}, not {list(own[name].shape)}"
            )
    model.load_state_dict(dict(weights))
