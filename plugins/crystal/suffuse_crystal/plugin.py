"""What the crystal plugin brings. Light on purpose: nothing here is imported until a configuration names it."""

from __future__ import annotations

from suffuse import hookimpl
from suffuse.plugins import Components, Trial

__all__ = ["suffuse_components", "suffuse_trials"]


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


@hookimpl
def suffuse_trials() -> list[Trial]:
    """The backbone on the smallest of the embedded crystals; it knows neither the order of atoms nor the origin."""
    words = [
        "modality=crystal", "backbone=periodic_tiny", "data.max_sites=6", "data.descriptors=[density]",
        "data.cache_dir={folder}/cache", "metric.smact=never",
    ]  # fmt: skip
    same = {"permutation": ["positions", "atoms"], "translation": ["positions"], "periodicity": ["positions"]}
    return [Trial(words=words, symmetries=same)]
