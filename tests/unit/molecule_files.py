"""What the tests of molecules share: small files of written SMILES, and sources of them that leave nothing behind."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from suffuse.assembly import build_model
from suffuse.composition import compose
from suffuse.errors import SuffuseError
from suffuse.model import Model
from suffuse.plugins import Registry
from suffuse.sizes import Sizes
from suffuse_molecule.data.smiles import Smiles

SMILES = (
    "CCO",
    "CC(=O)O",
    "CC(=O)[O-]",
    "C[N+](=O)[O-]",
    "c1ccccc1",
    "c1ccc2[nH]ccc2c1",
    "Cc1ccncc1",
    "FC(F)(F)C#N",
    "CS(=O)(=O)NC",
    "OP(=O)(O)OC1CC1",
    "ClC1=CN=C(Br)O1",
    "[NH3+]CC(=O)[O-]",
    "C1CC12CC2",
    "Oc1ccccc1I",
    "CN1CCCC1",
    "O=C1CCCCC1",
    "N#CC1CC1",
    "CC(C)(C)O",
    "c1ccsc1",
    "Cn1ccnc1",
)
"""Distinct molecules of every kind that the graphs have a place for."""


def listed(path: Path, lines: Sequence[str] = SMILES) -> Path:
    """A file with the lines, compressed if its name says so."""
    text = "".join(f"{line}\n" for line in lines)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def source(tmp_path: Path, lines: Sequence[str] = SMILES, *, name: str = "molecules.smi", **settings: Any) -> Smiles:
    """A source of the lines, prepared in this process in a cache of its own."""
    return Smiles(**{**plain(tmp_path), "path": listed(tmp_path / name, lines), **settings})


def plain(tmp_path: Path) -> dict[str, Any]:
    """Settings of a source that starts no processes and writes nowhere else."""
    return {"cache_dir": tmp_path / "cache", "processes": 0}


def everything(data: Any) -> list[str]:
    """The canonical SMILES of both parts of a source."""
    return [*data.train.smiles(), *data.heldout.smiles()]


def facts(data: Any) -> dict[str, Any]:
    """The table of what was left out of a source."""
    return dict(data.train.library.facts)


def one_line(error: pytest.ExceptionInfo[SuffuseError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


def untrained(data: Smiles, *words: str) -> Model:
    """A model of the molecules of a source that has learned nothing."""
    registry = Registry()
    settings = ("backbone=graph_transformer_tiny", "sampler.steps=3", *words)
    config = compose("modality=molecule", "data=nci", *settings)
    decoder = registry.build("decoder", config["decoder"], plugin="molecule")
    fields = decoder.fields(data.train)
    return build_model(config, registry, fields, data.train.conditions, decoder, Sizes.of(data.train.sizes()))
