"""What the image plugin brings. Light on purpose: nothing here is imported until a configuration names it."""

from __future__ import annotations

from suffuse import hookimpl
from suffuse.plugins import Components, Trial

__all__ = ["suffuse_components", "suffuse_trials"]


@hookimpl
def suffuse_components() -> Components:
    """Data sources, backbones, the decoder and the metrics of images."""
    return {
        "data": {
            "digits": "suffuse_image.data.digits:Digits",
            "idx": "suffuse_image.data.idx:Idx",
            "folder": "suffuse_image.data.folder:Folder",
            "hub": "suffuse_image.data.hub:Hub",
        },
        "backbone": {
            "unet": "suffuse_image.backbones.unet:UNet",
            "dit": "suffuse_image.backbones.dit:DiT",
        },
        "decoder": {"pixels": "suffuse_image.decoder:Pixels"},
        "metric": {"classifier": "suffuse_image.metrics:ClassifierMetrics"},
    }


@hookimpl
def suffuse_trials() -> list[Trial]:
    """Each backbone on the embedded digits, at its smallest."""
    return [
        Trial(name="unet", words=["modality=image", "backbone=unet_tiny", "backbone.width=16"]),
        Trial(name="dit", words=["modality=image", "backbone=dit_tiny"]),
    ]
