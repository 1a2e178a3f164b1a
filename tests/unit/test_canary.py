"""Files of strangers that would run code if anything unpickled or evaluated them, put wherever ours are read."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import audio_files
import numpy as np
import pytest
import torch

import suffuse
from suffuse.cli import main
from suffuse.disk import facts
from suffuse.errors import DataError, RunError
from suffuse.training.snapshots import Snapshots
from suffuse.training.teaching import kept

TINY = [
    "modality=image", "backbone=unet_tiny", "backbone.width=16", "trainer.batch_size=4", "trainer.steps=2",
    "trainer.checkpoint_every=2", "trainer.preview_every=0", "trainer.validate_every=0", "callbacks=none",
]  # fmt: skip


class Payload:
    """Whoever unpickles it makes the canary, a folder."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.canary),)


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    """What is not there when a test has ended."""
    path = tmp_path / "canary"
    yield path
    assert not path.exists()


def pickled(canary: Path) -> bytes:
    return pickle.dumps({"model": Payload(canary)})


def saved(canary: Path) -> bytes:
    """As `torch.save` writes it, a zip archive with a pickle."""
    torch.save({"model": Payload(canary)}, stream := io.BytesIO())
    return stream.getvalue()


def objects(canary: Path) -> bytes:
    """An .npy with an array of objects."""
    np.save(stream := io.BytesIO(), np.array([Payload(canary)], dtype=object), allow_pickle=True)
    return stream.getvalue()


def twice(_: Path) -> bytes:
    """A safetensors file with a key that is there twice; the library reads one of the two, which are numbers."""
    entry = '"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
    header = f"{{{entry},{entry}}}".encode()
    return len(header).to_bytes(8, "little") + header + bytes(4)


def beyond(_: Path) -> bytes:
    """A safetensors file whose header would end after the file does."""
    return (1 << 40).to_bytes(8, "little") + b"{}"


def no_file(_: Path) -> bytes:
    return b""


TENSORS = (pickled, saved, objects, twice, beyond, no_file)
ARRAYS = (objects, pickled, saved, no_file)

Hostile = Callable[[Path], bytes]


def test_the_canary_sings(tmp_path: Path) -> None:
    """Each file does run what it brings, with a loader that is not ours."""
    loaders: list[tuple[Hostile, Callable[[io.BytesIO], Any]]] = [
        (pickled, pickle.load),
        (saved, lambda stream: torch.load(stream, weights_only=False)),
        (objects, lambda stream: np.load(stream, allow_pickle=True)),
    ]
    for hostile, load in loaders:
        canary = tmp_path / hostile.__name__
        load(io.BytesIO(hostile(canary)))
        assert canary.is_dir()


# Runs


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps and one checkpoint."""
    directory = tmp_path_factory.mktemp("runs") / "first"
    assert main(["train", *TINY, f"hydra.run.dir={directory}"]) == 0
    return directory


@pytest.fixture
def checkpoint(trained: Path, tmp_path: Path) -> Path:
    """The checkpoint of a copy of it."""
    return Path(shutil.copytree(trained, tmp_path / "run")) / "checkpoints" / "step-000000002"


def vouch(checkpoint: Path) -> None:
    """Make the manifest say what the files are, so that only their format protects."""
    manifest = checkpoint / "manifest.json"
    data = json.loads(manifest.read_text())
    data["files"] = {name: facts(checkpoint / name) for name in data["files"]}
    manifest.write_text(json.dumps(data))


def one_line(error: pytest.ExceptionInfo[suffuse.SuffuseError]) -> None:
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.update(config=3), "no config"),
        (lambda state: state.update(config={}), r"no config\.seed"),
        (lambda state: state.update(fields=None), "no fields"),
        (lambda state: state.update(sizes=[]), "no sizes"),
        (lambda state: state["config"].update(backbone="unet"), r"no config\.backbone"),
        (lambda state: state["config"].pop("process"), r"no config\.process"),
        (lambda state: state["config"]["backbone"].update(width=16 * 10**8), "cannot be built"),
    ],
)
def test_descriptions_of_a_network_that_are_none(checkpoint: Path, change: Callable[[Any], Any], message: str) -> None:
    state = json.loads((checkpoint / "state.json").read_text())
    change(state)
    (checkpoint / "state.json").write_text(json.dumps(state))
    vouch(checkpoint)
    with pytest.raises(RunError, match=message) as error:
        suffuse.load(checkpoint.parents[1])
    one_line(error)


def test_a_run_of_no_modality(checkpoint: Path) -> None:
    (checkpoint.parents[1] / "config.yaml").write_text("modality: 3\n")
    with pytest.raises(RunError, match=r"config\.yaml") as error:
        suffuse.load(checkpoint.parents[1])
    one_line(error)


@pytest.mark.parametrize("hostile", TENSORS)
def test_tensors_that_are_none(checkpoint: Path, canary: Path, hostile: Hostile) -> None:
    for name in ("average", "model"):
        (checkpoint / f"{name}.safetensors").write_bytes(hostile(canary))
    vouch(checkpoint)
    run = checkpoint.parents[1]
    with pytest.raises(RunError, match=r"(average|model)\.safetensors|weights do not fit") as error:
        suffuse.load(run)
    one_line(error)


@pytest.mark.parametrize("command", ["sample", "evaluate", "train"])
def test_commands_say_so_in_one_line(
    checkpoint: Path, canary: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (checkpoint / "average.safetensors").write_bytes(saved(canary))
    vouch(checkpoint)
    capsys.readouterr()
    key = "resume" if command == "train" else "run"
    assert code_of(command, f"{key}={checkpoint.parents[1]}") == 2
    text = capsys.readouterr().err
    assert "Traceback" not in text
    (line,) = [line for line in text.splitlines() if line.startswith("suffuse: ")]
    assert "average.safetensors: no safetensors file" in line


def code_of(*words: str) -> int:
    try:
        return main(list(words))
    except SystemExit as stop:
        return int(stop.code or 0)


def test_what_lies_beside_is_not_opened(checkpoint: Path, canary: Path) -> None:
    run = checkpoint.parents[1]
    for folder in (checkpoint, checkpoint.parent, run):
        for name in ("model.pt", "model.pkl", "average.safetensors.pkl", "pytorch_model.bin", "config.pickle"):
            (folder / name).write_bytes(pickled(canary) if "pk" in name else saved(canary))
    (run / ".hydra" / "config.pickle").write_bytes(pickled(canary))
    assert suffuse.load(run).step == 2
    assert main(["sample", f"run={run}", "n=1", "sampler.steps=1", f"out={run / 'out'}"]) == 0


def test_a_manifest_that_lists_them_has_them_hashed_and_no_more(checkpoint: Path, canary: Path) -> None:
    (checkpoint / "extra.pt").write_bytes(saved(canary))
    manifest = checkpoint / "manifest.json"
    data = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**data, "files": {**data["files"], "extra.pt": {}}}))
    vouch(checkpoint)
    assert suffuse.load(checkpoint.parents[1]).step == 2


@pytest.mark.parametrize("name", ["average.safetensors", "state.json", "manifest.json"])
def test_a_link_to_the_outside(checkpoint: Path, canary: Path, tmp_path: Path, name: str) -> None:
    """It is followed, as stores of shared files have them, to what has to be of the same format."""
    (tmp_path / "secret").write_bytes(pickled(canary))
    (checkpoint / name).unlink()
    (checkpoint / name).symlink_to(tmp_path / "secret")
    with pytest.raises(RunError, match=name) as error:
        suffuse.load(checkpoint.parents[1])
    one_line(error)
    if name != "manifest.json":
        vouch(checkpoint)
        with pytest.raises(RunError, match=name) as error:
            suffuse.load(checkpoint.parents[1])
        one_line(error)


@pytest.mark.parametrize("hostile", [each for each in TENSORS if each is not twice])
def test_snapshots_and_predictors(tmp_path: Path, canary: Path, hostile: Hostile) -> None:
    path = tmp_path / "step-000000002.safetensors"
    path.write_bytes(hostile(canary))
    for read in (lambda: Snapshots(tmp_path).read(2), lambda: kept(path)):
        with pytest.raises(RunError, match=r"step-000000002\.safetensors") as error:
            read()
        one_line(error)


# Caches of prepared data, which are made again


@pytest.mark.parametrize("hostile", ARRAYS)
def test_prepared_sounds(tmp_path: Path, canary: Path, hostile: Hostile) -> None:
    first = audio_files.clips(audio_files.folder(audio_files.tree(tmp_path / "sounds", 4)))
    (array,) = (tmp_path / "cache").glob("*/peaks.npy")
    array.write_bytes(hostile(canary))
    again = audio_files.clips(audio_files.folder(tmp_path / "sounds"))
    assert all(torch.equal(a.samples, b.samples) for a, b in zip(first, again, strict=True))
    assert np.load(array).dtype == np.float32


@pytest.mark.parametrize("hostile", ARRAYS)
def test_prepared_molecules(tmp_path: Path, canary: Path, hostile: Hostile) -> None:
    pytest.importorskip("rdkit")
    from molecule_files import SMILES, everything, source

    from suffuse_molecule.data.library import Preparing
    from suffuse_molecule.descriptors import fingerprints_of

    lines, settings = SMILES[:6], {"descriptors": ["logp"]}
    data = source(tmp_path, lines, **settings)
    first = everything(data)
    library = data.train.library
    prints = np.array(fingerprints_of(library, Preparing(processes=0)))
    values = [item.condition["logp"] for item in data.train]
    library.folder.joinpath("fingerprints.npy").write_bytes(hostile(canary))
    assert np.array_equal(fingerprints_of(library, Preparing(processes=0)), prints)
    (library.folder / "descriptors" / "logp.npy").write_bytes(hostile(canary))
    assert [item.condition["logp"] for item in source(tmp_path, lines, **settings).train] == values
    for name in ("atoms", "bonds_starts", "keys"):
        array = library.folder / f"{name}.npy"
        whole = array.read_bytes()
        array.write_bytes(hostile(canary))
        assert everything(source(tmp_path, lines, **settings)) == first, array.name
        assert array.read_bytes() == whole


@pytest.mark.parametrize("hostile", ARRAYS)
def test_prepared_crystals(tmp_path: Path, canary: Path, hostile: Hostile) -> None:
    pytest.importorskip("pymatgen")
    from tests.plugins.crystal_files import COPPER, SALT, plain, written

    from suffuse_crystal.data.folder import Folder

    path = written(tmp_path / "crystals", {"copper": COPPER, "salt": SALT})
    folder = Folder(**plain(tmp_path), path=path).train.library.folder
    for array in sorted(folder.glob("*.npy")):
        whole = array.read_bytes()
        array.write_bytes(hostile(canary))
        Folder(**plain(tmp_path), path=path)
        assert array.read_bytes() == whole, array.name


# Data that parsers of others once evaluated


def test_a_cif_with_an_expression(tmp_path: Path, canary: Path) -> None:
    """CVE-2024-23346 of pymatgen, by its published form, and a JSON that names a function as the class to make."""
    pytest.importorskip("pymatgen")
    from suffuse_crystal.data.folder import Folder

    run = f"__import__('os').mkdir({str(canary)!r})"
    text = (
        "data_x\n_cell_length_a 3\n_cell_length_b 3\n_cell_length_c 3\n_cell_angle_alpha 90\n_cell_angle_beta 90\n"
        "_cell_angle_gamma 90\n_symmetry_space_group_name_H-M 'P 1'\nloop_\n_atom_site_label\n_atom_site_fract_x\n"
        "_atom_site_fract_y\n_atom_site_fract_z\nCu 0 0 0\n_space_group_magn.transform_BNS_Pp_abc  "
        f'"a,b,{run};0,0,0"\n_space_group_magn.number_BNS  62.448\n_space_group_magn.name_BNS  "P  n\'  m  a\'  "\n'
    )
    made = {"@module": "os", "@class": "mkdir", "name": str(canary), "path": str(canary)}
    (tmp_path / "crystals").mkdir()
    (tmp_path / "crystals" / "evil.cif").write_text(text)
    (tmp_path / "crystals" / "evil.json").write_text(json.dumps(made))
    with pytest.raises(DataError) as error:
        Folder(path=tmp_path / "crystals", cache_dir=tmp_path / "cache", processes=0, max_bad_share=0.0)
    one_line(error)
