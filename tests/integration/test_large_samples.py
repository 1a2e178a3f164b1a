"""Many samples from the command line: in parts, killed, shared between processes, and always the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from suffuse.cli import main
from suffuse.commands.sample import _fingerprint
from suffuse.data import Session
from suffuse.disk import sha256
from suffuse.model import Model
from suffuse_image.decoder import Pixels
from tiny_graph import FIELDS, graph_model

TINY = ["modality=image", "backbone=unet_tiny", "backbone.width=16", "trainer.batch_size=32", "callbacks=none"]
N = 600


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps on digits."""
    directory = tmp_path_factory.mktemp("runs") / "run"
    assert main(["train", *TINY, "trainer.steps=2", f"hydra.run.dir={directory}"]) == 0
    return directory


def command(run: Path, out: Path, *words: str) -> list[str]:
    return ["sample", f"run={run}", f"n={N}", "sampler.steps=3", "compute_batch=20", f"out={out}", *words]


def manifest(out: Path) -> dict[str, Any]:
    found = json.loads((out / "samples.json").read_text())
    assert isinstance(found, dict)
    return found


@pytest.fixture(scope="module")
def whole(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All samples in one part, made without a break."""
    out = tmp_path_factory.mktemp("whole") / "out"
    assert main(command(trained, out)) == 0
    return out


def test_parts_of_any_size_hold_the_same(trained: Path, whole: Path, tmp_path: Path) -> None:
    assert main(command(trained, tmp_path / "o", "shard=256")) == 0
    found = manifest(tmp_path / "o")
    assert found["content"] == manifest(whole)["content"]
    assert [part["count"] for part in found["shards"]] == [256, 256, N - 512]
    assert (tmp_path / "o" / "shard-000000" / "sheet.png").is_file()
    assert (tmp_path / "o" / "shard-000002" / f"sample-{N - 1:06d}.png").is_file()
    assert (whole / f"sample-{N - 1:06d}.png").is_file()


def test_a_sample_made_alone_is_the_same(trained: Path, whole: Path, tmp_path: Path) -> None:
    words = [word for word in command(trained, tmp_path / "o") if not word.startswith("n=")]
    assert main([*words, "indices=[417]"]) == 0
    (sample,) = manifest(tmp_path / "o")["samples"]
    assert sample == manifest(whole)["samples"][417]


def test_another_request_into_the_same_folder(trained: Path, whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(path.name for path in whole.iterdir())
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        main(command(trained, whole, "seed=5"))
    assert caught.value.code == 2
    assert "holds samples of seed=0, not 5" in capsys.readouterr().err
    assert main(command(trained, whole)) == 0
    assert sorted(path.name for path in whole.iterdir()) == before


class Numbers(Session):
    """What a plugin may write in place of a file for each sample: here the numbers of the samples, in one list."""

    tables = True

    def write(
        self,
        values: Sequence[Any],
        records: Sequence[Mapping[str, Any]],
        asked: Sequence[Mapping[str, Any]],
        path: Path,
    ) -> None:
        pairs = zip(records, asked, strict=True)
        path.write_text("".join(f"{record['sample']} {wish['label']}\n" for record, wish in pairs))

    def join(self, paths: Sequence[Path], folder: Path) -> None:
        (folder / "numbers.txt").write_text("".join(path.read_text() for path in paths))


def test_a_session_writes_tables_instead(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of all samples, whatever the size of the parts, listed with its SHA-256; and the files of none."""
    monkeypatch.setattr(Model, "session", lambda self, own, condition: Numbers())
    monkeypatch.setattr(Pixels, "flaw", lambda self, value: "too bright" if value.mean() > 128 else None)
    found = {}
    for shard in (N, 200):
        assert main(command(trained, tmp_path / f"{shard}", f"shard={shard}")) == 0
        found[shard] = manifest(tmp_path / f"{shard}")
        table = tmp_path / f"{shard}" / "numbers.txt"
        assert [line.split()[0] for line in table.read_text().splitlines()] == [str(index) for index in range(N)]
        assert found[shard]["files"]["numbers.txt"]["sha256"] == sha256(table)
        assert not list(tmp_path.glob(f"{shard}/**/sample-*"))
    assert found[N]["files"]["numbers.txt"] == found[200]["files"]["numbers.txt"]
    flaws = sum("flaw" in sample for sample in found[N]["samples"])
    assert found[N]["invalid"] == found[200]["invalid"] == flaws


def test_padding_is_no_part_of_a_sample() -> None:
    """Of varied size, in any company."""
    model = graph_model()
    indices, prints = range(10), []
    for size in (10, 4, 1):
        found = []
        for start in range(0, 10, size):
            part = indices[start : start + size]
            state = model.draw(part, {}, model.recipe(sampler={"steps": 3}), compute_batch=4)
            found += [_fingerprint(state, row, FIELDS) for row in range(len(part))]
        prints.append(found)
    assert prints[0] == prints[1] == prints[2]
    assert len(set(prints[0])) == 10
    changed = state.replace(angle=state["angle"] + torch.finfo(torch.float32).eps)
    assert _fingerprint(changed, 0, FIELDS) != prints[0][-1]


def start(words: Sequence[str], **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "suffuse", *words],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_killed_and_then_shared(trained: Path, whole: Path, tmp_path: Path) -> None:
    """With torchrun's variables, that is, as two processes of one command; the last of them finishes."""
    words = command(trained, tmp_path / "o", "shard=20")
    process = start(words)
    while len(list((tmp_path / "o").glob("shard-*/samples.json"))) < 5:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert not (tmp_path / "o" / "samples.json").exists()
    together = [start(words, RANK=str(rank), WORLD_SIZE="2", LOCAL_RANK=str(rank)) for rank in range(2)]
    for each in together:
        text = each.communicate(timeout=120)[1]
        assert each.returncode == 0, text
    assert manifest(tmp_path / "o")["content"] == manifest(whole)["content"]
    assert not (tmp_path / "o" / ".unfinished").exists()
