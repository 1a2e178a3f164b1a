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


def test_a_decoder_may_export_otherwise(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One table for each part, without what is flawed; the numbers of the samples stay."""

    def export(
        self: Pixels, values: Sequence[Any], records: Sequence[Mapping[str, Any]], folder: Path
    ) -> Sequence[int]:
        out = [record["sample"] for record in records if record["sample"] % 3 == 0]
        rows = [f"{record['sample']}\n" for record in records if record["sample"] % 3]
        (folder / "table.csv").write_text("".join(rows))
        return out

    monkeypatch.setattr(Pixels, "export", export)
    monkeypatch.setattr(Pixels, "flaw", lambda self, value: "too bright" if value.mean() > 128 else None)
    assert main(command(trained, tmp_path / "o", "shard=200")) == 0
    found = manifest(tmp_path / "o")
    assert (found["count"], found["filtered"]) == (N, N // 3)
    flaws = 0
    for number, part in enumerate(found["shards"]):
        folder = tmp_path / "o" / part["folder"]
        rows = [int(row) for row in (folder / "table.csv").read_text().split()]
        assert rows == [index for index in range(200 * number, 200 * number + 200) if index % 3]
        flaws += sum(sample.get("flaw") == "too bright" for sample in manifest(folder)["samples"])
    assert found["invalid"] == flaws


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
def test_killed_twice_and_then_shared(trained: Path, whole: Path, tmp_path: Path) -> None:
    """With torchrun's variables, that is, as two processes of one command; the last of them finishes."""
    words = command(trained, tmp_path / "o", "shard=20")
    for least in (5,):
        process = start(words)
        while len(list((tmp_path / "o").glob("shard-*/samples.json"))) < least:
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
