"""What a component can be: where a configuration names it, and what the program gives it when it is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["KINDS", "Kind"]


@dataclass(frozen=True)
class Kind:
    """A kind of component.

    Args:
        where: the key of a configuration that names one; empty where the program itself does.
        about: what it is, in a line.
        contract: what it has to fulfil or, where that is a plain function, one of them; as an import path.
        given: what the program gives it when it is made, in order, before its settings.
        named: what it is given by name, where it has parameters of these names.
    """

    where: str
    about: str
    contract: str
    given: tuple[str, ...] = ()
    named: tuple[str, ...] = ()


_COUPLING = "suffuse.training.couplings:Coupling"

KINDS: Mapping[str, Kind] = {
    "data": Kind("data", "where samples come from", "suffuse.data:DataSource"),
    "decoder": Kind("decoder", "between a clean state and what people use", "suffuse.data:Decoder"),
    "backbone": Kind("backbone", "the network", "suffuse.data:Backbone", ("fields",)),
    "condition": Kind("", "what a sample may be asked for", "suffuse.conditions:Condition"),
    "metric": Kind("metric", "scores a set of samples", "suffuse.data:Metric"),
    "process": Kind(
        "process.fields", "how one field is corrupted", "suffuse.processes.process:Process", ("field", "schedule")
    ),
    "schedule": Kind("process.schedule", "how noisy each time is", "suffuse.schedules:Schedule"),
    "warp": Kind("process.fields.warp", "from the clock to a field's own time", "suffuse.warps:Warp"),
    "coupling": Kind("process.coupling", "which noise goes with which sample", _COUPLING),
    "clock": Kind("process.clock", "which noise levels training visits", "suffuse.training.clock:Clock"),
    "weighting": Kind("process.weighting", "how much an error counts", "suffuse.training.weightings:Weighting"),
    "solver": Kind("sampler", "a rule that moves fields of numbers", "suffuse.sampling.solvers:Solver"),
    "categorical": Kind("sampler.categorical", "a rule that moves classes", "suffuse.sampling.tokens:TokenSolver"),
    "grid": Kind(
        "sampler.grid", "where the sampler stops", "suffuse.sampling.grids:uniform", ("steps", "schedule"), ("start",)
    ),
    "guidance": Kind(
        "guidance", "a wrapper around the denoiser", "suffuse.guidance.wrapper:Guidable",
        ("denoiser",), ("load", "build"),
    ),
    "predictor": Kind(
        "guidance.predictor", "says how near a state is to what is wanted", "suffuse.guidance.property:Predictor",
        ("fields",),
    ),
    "session": Kind(
        "", "settings of `suffuse sample` that one modality has", "suffuse.data:Session", ("fields",),
        ("decoder", "spans", "data"),
    ),
    "callback": Kind("callbacks", "watches a run", "suffuse.training.callbacks:Callback"),
}  # fmt: skip
"""By name, as plugins register them."""
