"""What the toy brings."""

from __future__ import annotations

from suffuse import hookimpl
from suffuse.plugins import Components, Trial

__all__ = ["suffuse_components", "suffuse_trials"]


@hookimpl
def suffuse_components() -> Components:
    """A whole modality, and a component of each kind that serves others."""
    return {
        "data": {"clouds": "suffuse_toy.data:Clouds"},
        "decoder": {"cloud": "suffuse_toy.data:Cloud"},
        "backbone": {"pairs": "suffuse_toy.network:Pairs"},
        "metric": {"spread": "suffuse_toy.parts:Spread"},
        "process": {"walk": "suffuse_toy.parts:walk"},
        "solver": {"plain": "suffuse_toy.parts:Plain"},
        "categorical": {"drawn": "suffuse_toy.parts:Drawn"},
        "callback": {"diary": "suffuse_toy.parts:Diary"},
    }


@hookimpl
def suffuse_trials() -> list[Trial]:
    """All of it at once."""
    symmetries = {
        "permutation": (),
        "rotation": ["positions"],
        "translation": ["angles"],
        "periodicity": ["angles"],
    }
    words = ["modality=toy", "sampler=plain", "sampler/categorical=toy/drawn", "callbacks=toy/diary"]
    return [Trial(words=words, symmetries=symmetries)]
