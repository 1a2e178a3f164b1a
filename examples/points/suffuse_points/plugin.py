"""What the plugin brings, by name. Nothing of it is imported before a configuration names it."""

from suffuse import hookimpl
from suffuse.plugins import Components, Trial


@hookimpl
def suffuse_components() -> Components:
    return {"data": {"shapes": "suffuse_points.shapes:Shapes"}, "decoder": {"cloud": "suffuse_points.cloud:Cloud"}}


@hookimpl
def suffuse_trials() -> list[Trial]:
    words = ["modality=points", "data.count=60", "backbone.width=16"]
    return [Trial(words=words, symmetries={"permutation": ["points"]})]
