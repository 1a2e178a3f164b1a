"""The settings of every command as records: their names, types and bounds, checked without torch.

The shipped YAML files hold the same keys with comments and the same defaults; a test keeps the two equal. What belongs
to one component (a backbone's width, a solver's eta) is declared by its constructor, not here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Annotated, Any, ClassVar, Literal, Self, TypeAlias, get_type_hints

from suffuse.errors import ConfigError, suggest
from suffuse.fitting import Component, Range, fit

__all__ = [
    "COMMANDS",
    "EvaluateSettings",
    "MeasurementSettings",
    "ProcessSettings",
    "ReportSettings",
    "ResampleSettings",
    "SampleSettings",
    "Settings",
    "TrainSettings",
    "TrainerSettings",
    "check",
]

_Count: TypeAlias = Annotated[int, Range(least=1, most=1_000_000_000)]
_Every: TypeAlias = Annotated[int, Range(least=0, most=1_000_000_000)]
_Seed: TypeAlias = Annotated[int, Range(least=0, below=2**63)]
_Steps: TypeAlias = Annotated[int, Range(least=1, most=100_000)]
_Batch: TypeAlias = Annotated[int, Range(least=1, most=1_000_000)]
_Named: TypeAlias = Annotated[dict[str, Any], Component()]
_Width: TypeAlias = Annotated[float, Range(above=0, most=0.28)] | None
_Scale: TypeAlias = Annotated[float, Range(least=0, below=float("inf"))]
_Sampler: TypeAlias = Annotated[dict[str, Any], Component(steps=_Steps, grid=_Named, categorical=_Named)]
_Guidance: TypeAlias = Annotated[dict[str, Any], Component(scale=_Scale)]
_SamplerChange: TypeAlias = Annotated[
    dict[str, Any], Component(named=False, steps=_Steps, grid=dict[str, Any], categorical=dict[str, Any])
]
_GuidanceChange: TypeAlias = Annotated[dict[str, Any], Component(named=False, scale=_Scale)]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """A record whose values are checked against its annotations when it is made.

    Raises:
        ConfigError: a value has the wrong type or lies out of bounds.
    """

    section: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for name, hint in _hints(type(self)).items():
            object.__setattr__(self, name, _settle(hint, getattr(self, name), self._key(name)))

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Self:
        """The record with these values; keys that are left out keep their defaults.

        Raises:
            ConfigError: a key that the record does not have, one that it needs, or a wrong value.
        """
        hints = _hints(cls)
        for name in values:
            if name not in hints:
                raise ConfigError(f"{cls._key(name)} is not a setting{suggest(name, hints)}")
        for part in fields(cls):
            if part.name not in values and part.default is MISSING and part.default_factory is MISSING:
                raise ConfigError(f"{cls._key(part.name)} has no value; a default belongs in conf/modality/NAME.yaml")
        return cls(**values)

    @classmethod
    def _key(cls, name: str) -> str:
        return f"{cls.section}.{name}" if cls.section else name


@dataclass(frozen=True, kw_only=True)
class TrainerSettings(Settings):
    """Everything in the training loop that is a number or a switch.

    Args:
        steps: updates in all.
        batch_size: samples of one update, over all processes and accumulated parts.
        accumulate: parts in which the batch is computed, to save memory.
        lr: peak learning rate of AdamW.
        warmup: updates over which it rises from zero.
        decay: how it falls afterwards: ``cosine`` to zero at the last step, ``rsqrt`` (inverse square root) or
            ``constant``.
        weight_decay, betas: of AdamW.
        clip_norm: largest norm of the gradient; None leaves it.
        ema: share of the averaged weights kept at each update.
        condition_dropout: share of samples from which each condition is hidden, for classifier-free guidance.
        precision: of the network's forward pass.
        checkpoint_every, validate_every, preview_every: in steps; 0 is never (the last step is always saved).
        log_every: in steps.
        keep_checkpoints: how many of the newest stay.
        keep_best: a figure; the checkpoint at whose step it was least stays as well.
        diverged: what a loss or a gradient that is no number does: ``stop`` the run, or ``roll_back`` to the newest
            checkpoint and go on without the batch of that step.
        explosion: a loss of more than so many times the mean of the last log has diverged too; None leaves it.
        snapshot_every: steps between snapshots of averages from which a width is chosen after training; 0 keeps none.
        validation_batches: batches of held-out data in one validation.
        workers: processes that read data ahead.
        threads: of torch on the CPU; None leaves torch's choice.
        compile: the network through torch.compile.
        channels_last: convolution weights and inputs in NHWC order; not where weights are split.
        shard: weights, averages and the optimizer's state are split over the processes, where there are several.
        meeting: seconds in which the processes have to find one another at the start.
    """

    section: ClassVar[str] = "trainer"

    steps: _Count = 2000
    batch_size: _Count = 128
    accumulate: _Count = 1
    lr: Annotated[float, Range(above=0, most=10)] = 1e-3
    warmup: _Every = 100
    decay: Literal["cosine", "rsqrt", "constant"] = "cosine"
    weight_decay: Annotated[float, Range(least=0, most=10)] = 0.0
    betas: tuple[Annotated[float, Range(least=0, below=1)], Annotated[float, Range(least=0, below=1)]] = (
        0.9,
        0.99,
    )
    clip_norm: Annotated[float, Range(above=0)] | None = 1.0
    ema: Annotated[float, Range(least=0, below=1)] = 0.999
    condition_dropout: Annotated[float, Range(least=0, most=1)] = 0.1
    precision: Literal["fp32", "tf32", "bf16", "fp16"] = "fp32"
    checkpoint_every: _Every = 500
    validate_every: _Every = 500
    preview_every: _Every = 1000
    log_every: _Count = 50
    keep_checkpoints: _Count = 3
    keep_best: Literal["validation_loss", "loss"] | None = None
    diverged: Literal["stop", "roll_back"] = "stop"
    explosion: Annotated[float, Range(above=1)] | None = None
    snapshot_every: _Every = 0
    validation_batches: _Count = 4
    workers: Annotated[int, Range(least=0, most=1024)] = 0
    threads: Annotated[int, Range(least=1, most=4096)] | None = None
    compile: bool = False
    channels_last: bool = False
    shard: bool = False
    meeting: Annotated[float, Range(above=0)] = 60.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch_size % self.accumulate:
            raise ConfigError(f"trainer.accumulate={self.accumulate}: must divide trainer.batch_size={self.batch_size}")


@dataclass(frozen=True, kw_only=True)
class ProcessSettings(Settings):
    """How data is corrupted and what the network learns of it.

    Args:
        schedule: from the clock to (alpha, sigma), of real-valued fields.
        parameterization: what the network emits for them.
        weighting: how much an error of theirs counts at each noise level.
        clock: which noise levels training visits.
        reference: the field on whose levels grids and clock are built; None is the first real-valued one.
        self_conditioning: the share of training steps in which the network is given what it believed before.
        coupling: which noise goes with which sample; None is any with any.
        fields: what differs by field: ``name``, ``schedule``, ``prior``, ``warp``, ``independent``, ``weight``.
    """

    section: ClassVar[str] = "process"

    schedule: _Named
    parameterization: Literal["x0", "eps", "v", "velocity", "score", "edm"] = "edm"
    weighting: _Named
    clock: _Named
    reference: str | None = None
    self_conditioning: Annotated[float, Range(least=0, most=1)] = 0.0
    coupling: _Named | None = None
    fields: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TrainSettings(Settings):
    """Settings of ``suffuse train``.

    Args:
        seed: decides everything random in the run.
        device: ``auto`` (CUDA, then Apple's MPS, then the CPU) or a torch device.
        init: a run whose weights are the start, for fine-tuning.
        resume: a run to go on with.
        modality: with the ``name`` of the plugin that gives data, backbone and decoder.
        metric: what `suffuse evaluate` scores with; None where the modality has nothing of its own.
    """

    seed: _Seed = 0
    device: str = "auto"
    init: str | None = None
    resume: str | None = None
    modality: _Named
    data: _Named
    backbone: _Named
    decoder: _Named
    metric: _Named | None = None
    process: ProcessSettings
    trainer: TrainerSettings = field(default_factory=TrainerSettings)
    sampler: _Sampler
    guidance: _Guidance
    callbacks: dict[str, _Named] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _RunSettings(Settings):
    run: str
    checkpoint: Annotated[int, Range(least=0)] | None = None
    seed: _Seed = 0
    sampler: _SamplerChange = field(default_factory=dict)
    guidance: _GuidanceChange = field(default_factory=dict)
    device: str = "auto"


@dataclass(frozen=True, kw_only=True)
class ResampleSettings(Settings):
    """Going back to noise while a part is filled in.

    Args:
        jump: how many steps are gone back at once.
        repeats: how often each stretch of so many steps is walked in all.
    """

    section: ClassVar[str] = "resample"

    jump: _Count = 10
    repeats: _Count = 1


@dataclass(frozen=True, kw_only=True)
class MeasurementSettings(Settings):
    """How strictly samples keep to what was measured of them.

    Args:
        deviation: the standard deviation of the noise in it.
        route: how an estimate moves when it is pushed: as the ``network`` says, or as a Gaussian ``estimate``.
        iterations: of conjugate gradients at each step.
    """

    section: ClassVar[str] = "measurement"

    deviation: Annotated[float, Range(least=0, below=float("inf"))] = 0.01
    route: Literal["network", "estimate"] = "network"
    iterations: Annotated[int, Range(least=1, most=1000)] = 1


@dataclass(frozen=True, kw_only=True)
class SampleSettings(_RunSettings):
    """Settings of ``suffuse sample``. ``sampler`` and ``guidance`` hold what differs from the run's own.

    Args:
        run: the run directory, or a checkpoint in it.
        checkpoint: the step of one of its checkpoints; None is the newest.
        ema: the width of the power-function average of the weights, of a run with snapshots; None is the run's own.
        n: how many samples.
        indices: which samples of the seed; None is 0 to n - 1.
        condition: a value, a range such as ``2..4``, or a list of these, by condition name.
        size: of the samples, where it varies: a number of elements or a range; None is as often as in the data.
        own: settings of the modality's own, which are typed like these.
        out: where the samples go; None is a new folder in the run.
        task: None draws from noise, ``vary`` starts from ``input``, ``inpaint`` makes the part under ``mask`` anew,
            ``upscale`` enlarges ``input``, ``interpolate`` goes from ``input`` to ``other`` in ``n`` samples,
            ``reconstruct`` finds the noise of ``input`` and makes it again, ``given`` keeps the given fields of
            ``input`` and makes the rest. A decoder may have names of its own for them, so that the name, and what goes
            with it, is checked where the decoder is known.
        length: of samples from noise, or of what ``inpaint`` goes on to after the end of its input, where not that of
            the training; how it is written is the decoder's to say.
        overlap: the share of a window that the next one sees too, where samples are larger than those of the training
            and are made in windows.
        strength: how far ``vary`` goes back towards noise.
        resample: of ``inpaint``.
        measurement: of ``upscale``.
        callbacks: what else is told of the samples, beside what the run itself names.
        decoder: settings of the run's decoder that concern files alone, such as how samples of sound are stored.
        compute_batch: samples computed at once; results are equal in every bit for equal values of it.
        shard: samples of a part; what is there of a request when it is interrupted are whole parts.
    """

    ema: _Width = None
    n: Annotated[int, Range(least=1, most=100_000_000)] = 16
    indices: list[Annotated[int, Range(least=0)]] | None = None
    condition: dict[str, Any] = field(default_factory=dict)
    size: int | str | None = None
    own: dict[str, Any] = field(default_factory=dict)
    out: str | None = None
    task: str | None = None
    input: str | None = None
    other: str | None = None
    mask: str | None = None
    length: str | float | None = None
    overlap: Annotated[float, Range(least=0, below=1)] = 0.5
    strength: Annotated[float, Range(above=0, most=1)] = 0.5
    resample: ResampleSettings = field(default_factory=ResampleSettings)
    measurement: MeasurementSettings = field(default_factory=MeasurementSettings)
    callbacks: dict[str, _Named] = field(default_factory=dict)
    decoder: dict[str, Any] = field(default_factory=dict)
    compute_batch: _Batch = 64
    shard: _Batch = 1024

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.task and self.input is None:
            raise ConfigError(f"task={self.task} needs input=FILE")
        if self.task is None and self.input:
            raise ConfigError("input needs a task: task=vary, inpaint, upscale, interpolate, reconstruct or given")
        for key, task in (("mask", "inpaint"), ("other", "interpolate")):
            if self.task is None and getattr(self, key) is not None:
                raise ConfigError(f"{key} belongs to task={task}")


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings(_RunSettings):
    """Settings of ``suffuse evaluate``: those of drawing the samples that are scored, and of the likelihood.

    Args:
        ema: as for `SampleSettings`.
        likelihood: how many held-out samples have their likelihood computed; 0 leaves it out.
        metric: settings of the run's metric over those recorded.
    """

    ema: _Width = None
    n: Annotated[int, Range(least=2, most=100_000_000)] = 2000
    likelihood: _Every = 0
    compute_batch: _Batch = 64
    metric: Annotated[dict[str, Any], Component(named=False)] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ReportSettings(_RunSettings):
    """Settings of ``suffuse report``: those of drawing the samples that it shows."""


COMMANDS: dict[str, type[Settings]] = {
    "train": TrainSettings,
    "sample": SampleSettings,
    "evaluate": EvaluateSettings,
    "report": ReportSettings,
}


def check(command: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of a command as plain data, every value of the type that its record declares.

    Raises:
        ConfigError: a key, a type or a value is wrong.
    """
    return asdict(COMMANDS[command].read(config))


def _hints(record: type[Settings]) -> dict[str, Any]:
    hints = get_type_hints(record, include_extras=True)
    return {part.name: hints[part.name] for part in fields(record)}


def _settle(hint: Any, value: Any, key: str) -> Any:
    if isinstance(hint, type) and issubclass(hint, Settings):
        if isinstance(value, hint):
            return value
        return hint.read(fit(dict[str, Any], value, key))
    return fit(hint, value, key)
