"""Every question that the core asks its plugins. Arguments are only ever added, never renamed or removed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import pluggy

__all__ = [
    "API",
    "PROJECT",
    "Components",
    "Trial",
    "hookimpl",
    "hookspec",
    "suffuse_components",
    "suffuse_trials",
]

PROJECT = "suffuse"
API = 1
"""Goes up only when a hook is removed or changes its meaning. A plugin that needs a newer core sets ``SUFFUSE_API``."""

Components: TypeAlias = Mapping[str, Mapping[str, str]]
"""kind -> name -> ``"module:attribute"``."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A tiny experiment in which the conformance kit tries what a plugin brings.

    Args:
        name: for the list of checks; only needed where there are several trials.
        words: of the command line, such as ``("modality=crystal", "backbone=net_tiny")``: so small that a step of
            training takes milliseconds. ``{folder}`` in one stands for a folder that all trials share and that is
            removed afterwards.
        symmetries: what the network keeps to, each with the fields that it moves: ``permutation`` (of the elements of
            all padded fields), ``rotation`` (of vectors along the last axis), ``translation`` and ``periodicity`` (of
            periodic fields).
        expected: checks that are known to fail, each with the reason; one that passes is a failure too.
    """

    name: str = ""
    words: Sequence[str]
    symmetries: Mapping[str, Sequence[str]] = field(default_factory=dict)
    expected: Mapping[str, str] = field(default_factory=dict)


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

    A class or function named here is called with what its kind is given (`suffuse.plugins.KINDS`) and with the rest of
    its configuration as keyword arguments. ``load``, for a guidance, is from a run directory and a step to the denoiser
    of that run; ``build`` from a kind, its configuration and arguments to a component.
    """
    raise NotImplementedError


@hookspec
def suffuse_trials() -> Sequence[Trial]:
    """How the conformance kit tries this plugin; by default as ``modality=NAME``, which is seldom small enough.

    Called by ``suffuse plugins check`` and `suffuse.testing` alone. One trial for each backbone is a good rule; a
    plugin without a modality of its own names the one that what it brings is made for::

        from suffuse import hookimpl
        from suffuse.plugins import Trial


        @hookimpl
        def suffuse_trials():
            return [Trial(words=["modality=crystal", "backbone=net_tiny"], symmetries={"permutation": []})]
    """
    raise NotImplementedError
