"""What the crystal plugin brings. Light on purpose: nothing here is imported until a configuration names it."""

from __future__ import annotations

from suffuse import hookimpl
from suffuse.plugins import Components

__all__ = ["suffuse_components"]


@hookimpl
def suffuse_components() -> Components:
    """Data sources, the backbone, the decoder and the metrics of crystals."""
    return {
        "data": {
            "aflow": "suffuse_crystal.data.aflow:Aflow",
            "folder": "suffuse_crystal.data.folder:Folder",
            "table": "suffuse_crystal.data.table:Table",
        },
        "backbone": {"periodic": "suffuse_crystal.backbones.periodic:Periodic"},
        "decoder": {"structure": "suffuse_crystal.decoder:Crystal"},
        "metric": {"crystal": "suffuse_crystal.metrics:CrystalMetrics"},
    }
