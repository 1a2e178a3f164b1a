"""What the molecule plugin brings. Light on purpose: nothing here is imported until a configuration names it."""

from __future__ import annotations

from suffuse import hookimpl
from suffuse.plugins import Components

__all__ = ["suffuse_components"]


@hookimpl
def suffuse_components() -> Components:
    """Data sources, backbones, the decoder and the metrics of molecules."""
    return {
        "data": {
            "nci": "suffuse_molecule.data.nci:Nci",
            "smiles": "suffuse_molecule.data.smiles:Smiles",
            "sdf": "suffuse_molecule.data.sdf:Sdf",
            "qm9": "suffuse_molecule.data.geometric:Qm9",
            "zinc": "suffuse_molecule.data.geometric:Zinc",
            "moleculenet": "suffuse_molecule.data.geometric:MoleculeNet",
        },
        "backbone": {
            "graph_transformer": "suffuse_molecule.backbones.graph_transformer:GraphTransformer",
            "gps": "suffuse_molecule.backbones.gps:Gps",
        },
        "decoder": {"graph": "suffuse_molecule.decoder:Graph"},
        "metric": {"molecule": "suffuse_molecule.metrics:MoleculeMetrics"},
        "predictor": {"learned": "suffuse_molecule.predictor:Learned"},
        "session": {"molecule": "suffuse_molecule.session:MoleculeSession"},
    }
