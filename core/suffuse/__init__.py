"""suffuse: one diffusion core, any kind of data.

Public names are imported when they are first used, so that the command line and the plugins' registration modules start
without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from suffuse.assembly import load
    from suffuse.commands.evaluate import evaluate
    from suffuse.commands.train import train
    from suffuse.composition import compose
    from suffuse.conditions import ClassLabel, Condition, Scalar, Vector
    from suffuse.data import Backbone, Batch, DataSource, Decoder, Evaluation, InMemory, Item, Metric, Score, Split
    from suffuse.denoiser import Denoiser
    from suffuse.errors import ConfigError, DataError, PluginError, RunError, SuffuseError
    from suffuse.fields import Field
    from suffuse.guidance import Wrapper
    from suffuse.layouts import Dense, Masked
    from suffuse.model import Model
    from suffuse.plugins import Registry, hookimpl
    from suffuse.processes import Level
    from suffuse.runs import Run
    from suffuse.sampling import Solver, Stage, sample
    from suffuse.sampling.plan import Leg, Point
    from suffuse.spaces import Categorical, Euclidean, Torus, ZeroCenterOfMass
    from suffuse.state import State
    from suffuse.training.callbacks import Callback, Written

__all__ = [
    "Backbone",
    "Batch",
    "Callback",
    "Categorical",
    "ClassLabel",
    "Condition",
    "ConfigError",
    "DataError",
    "DataSource",
    "Decoder",
    "Denoiser",
    "Dense",
    "Euclidean",
    "Evaluation",
    "Field",
    "InMemory",
    "Item",
    "Leg",
    "Level",
    "Masked",
    "Metric",
    "Model",
    "PluginError",
    "Point",
    "Registry",
    "Run",
    "RunError",
    "Scalar",
    "Score",
    "Solver",
    "Split",
    "Stage",
    "State",
    "SuffuseError",
    "Torus",
    "Vector",
    "Wrapper",
    "Written",
    "ZeroCenterOfMass",
    "compose",
    "evaluate",
    "hookimpl",
    "load",
    "sample",
    "train",
]

_HOME = {
    "assembly": ("load",),
    "commands.evaluate": ("evaluate",),
    "commands.train": ("train",),
    "composition": ("compose",),
    "conditions": ("ClassLabel", "Condition", "Scalar", "Vector"),
    "data": (
        "Backbone",
        "Batch",
        "DataSource",
        "Decoder",
        "Evaluation",
        "InMemory",
        "Item",
        "Metric",
        "Score",
        "Split",
    ),
    "denoiser": ("Denoiser",),
    "errors": ("ConfigError", "DataError", "PluginError", "RunError", "SuffuseError"),
    "fields": ("Field",),
    "guidance": ("Wrapper",),
    "layouts": ("Dense", "Masked"),
    "model": ("Model",),
    "plugins": ("Registry", "hookimpl"),
    "processes": ("Level",),
    "runs": ("Run",),
    "sampling": ("Solver", "Stage", "sample"),
    "sampling.plan": ("Leg", "Point"),
    "spaces": ("Categorical", "Euclidean", "Torus", "ZeroCenterOfMass"),
    "state": ("State",),
    "training.callbacks": ("Callback", "Written"),
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("suffuse")
    for module, names in _HOME.items():
        if name in names:
            return getattr(importlib.import_module(f"suffuse.{module}"), name)
    raise AttributeError(f"module 'suffuse' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__, "__version__"])
