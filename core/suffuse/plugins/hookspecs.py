"""Every question that the core asks its plugins. Arguments are only ever added, never renamed or removed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import pluggy

__all__ = ["API", "KINDS", "PROJECT", "Components", "hookimpl", "hookspec", "suffuse_components"]

PROJECT = "suffuse"
API = 1
"""Goes up only when a hook is removed or changes its meaning. A plugin that needs a newer core sets ``SUFFUSE_API``."""

KINDS: Mapping[str, str] = {
    "data": "data",
    "backbone": "backbone",
    "decoder": "decoder",
    "metric": "metric",
    "condition": "condition",
    "process": "process.fields",
    "schedule": "process.schedule",
    "warp": "process.fields.warp",
    "coupling": "process.coupling",
    "clock": "process.clock",
    "weighting": "process.weighting",
    "solver": "sampler",
    "grid": "sampler.grid",
    "categorical": "sampler.categorical",
    "guidance": "guidance",
    "predictor": "guidance.predictor",
    "callback": "callbacks",
    "session": "",
}
"""What a component can be, and where a configuration names it."""

Components: TypeAlias = Mapping[str, Mapping[str, str]]
"""kind -> name -> ``"module:attribute"``."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def suffuse_components() -> Components:
    """The components of this plugin, by kind and name, as import paths that are followed when one is used.

    Called once, when a configuration first names the plugin. The registration module must import nothing heavy::

        from suffuse import hookimpl

        @hookimpl
        def suffuse_components():
            return {"backbone": {"unet": "suffuse_crystal.backbones:UNet"}}

    A class or function named here is called with the rest of its configuration as keyword arguments. A guidance gets
    the denoiser first and, where it has parameters of these names, ``load`` (a run directory and a step to the denoiser
    of that run) and ``build`` (a kind, its configuration and arguments to a component). A predictor gets the fields; a
    session, which has the plugin's own name, what `suffuse.data.Session` says.
    """
    raise NotImplementedError
