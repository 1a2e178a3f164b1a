"""What the molecule plugin brings. Light on purpose: nothing here is imported until a configuration names it."""

from __future__ import annotations

from suffuse import hookimpl
from suffuse.plugins import Components, Trial

__all__ = ["suffuse_components", "suffuse_trials"]


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


@hookimpl
def suffuse_trials() -> list[Trial]:
    """Each backbone on the smallest of the embedded molecules: no network here knows in which order atoms come."""
    small = [
        "modality=molecule", "data.max_atoms=8", "data.descriptors=[logp]", "data.processes=0", "metric.processes=0",
        "metric.fcd=never", "metric.max_real=50", "data.cache_dir={folder}/cache",
    ]  # fmt: skip
    same = {"permutation": ["atoms", "bonds"]}
    return [
        Trial(name="graph_transformer", words=[*small, "backbone=graph_transformer_tiny"], symmetries=same),
        Trial(name="gps", words=[*small, "backbone=gps", "backbone.width=32"], symmetries=same),
    ]
