"""A run from the command line, from training to report, and what a user can do wrong on the way."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from suffuse.cli import main
from suffuse.runs import Run
from suffuse.state import State
from suffuse_image.decoder import Pixels

TINY = ["modality=image", "backbone=unet_tiny", "backbone.width=16", "trainer.batch_size=32"]
SHORT = ["trainer.steps=30", "trainer.checkpoint_every=10", "trainer.log_every=10", "trainer.preview_every=15"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of thirty steps on digits."""
    directory = tmp_path_factory.mktemp("runs") / "first"
    assert main(["train", *TINY, *SHORT, "trainer.validate_every=15", f"hydra.run.dir={directory}"]) == 0
    return directory


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of it to do harm to."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that must fail for the user's sake: code 2, one line, no traceback. Gives the line."""

    def command(*words: str) -> str:
        capsys.readouterr()
        try:
            code = main(list(words))
        except SystemExit as error:  # Hydra lets it pass
            code = error.code
        text = capsys.readouterr().err
        assert code == 2, text
        assert "Traceback" not in text
        lines = [line for line in text.splitlines() if line.startswith("suffuse: ")]
        assert len(lines) == 1, text
        return lines[0]

    return command


def pixels(path: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.asarray(Image.open(path))


def test_a_run_directory_holds_what_people_look_for(trained: Path) -> None:
    names = {path.name for path in trained.iterdir()}
    assert {"config.yaml", "run.json", "metrics.jsonl", "checkpoints", "samples", "tensorboard"} <= names
    run = Run(trained)
    assert [line["step"] for line in run.metrics() if "loss" in line] == [10, 20, 30]
    assert all(np.isfinite(line["validation_loss"]) for line in run.metrics() if "validation_loss" in line)
    assert {"seed", "device", "torch", "suffuse", "seconds", "plugins", "parameters"} <= set(run.facts)
    assert sorted(p.name for p in (trained / "checkpoints").iterdir()) == [
        "step-000000010",
        "step-000000020",
        "step-000000030",
    ]
    assert (trained / "samples" / "step-000000015.png").is_file()


def test_sample_writes_pictures_that_say_what_they_are(trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main(["sample", f"run={trained}", "n=5", "condition.label=3", f"out={out}"]) == 0
    record = json.loads(Image.open(out / "sample-000004.png").text["suffuse"])  # type: ignore[attr-defined]
    assert record["sample"] == 4
    assert record["asked"] == "3"
    assert record["digitalSourceType"].endswith("trainedAlgorithmicMedia")
    assert record["checkpoint"] == Run(trained).checkpoint().digest
    manifest = json.loads((out / "samples.json").read_text())
    assert [entry["index"] for entry in manifest["samples"]] == [0, 1, 2, 3, 4]
    assert (out / "sheet.png").is_file()


def test_a_sample_can_be_made_again_alone(trained: Path, tmp_path: Path) -> None:
    assert main(["sample", f"run={trained}", "n=9", f"out={tmp_path / 'all'}"]) == 0
    assert main(["sample", f"run={trained}", "indices=[7]", f"out={tmp_path / 'one'}"]) == 0
    again, first = (pixels(tmp_path / folder / "sample-000007.png") for folder in ("one", "all"))
    assert (again == first).all()
    assert main(["sample", f"run={trained}", "indices=[7]", "seed=1", f"out={tmp_path / 'other'}"]) == 0
    assert (pixels(tmp_path / "other" / "sample-000007.png") != first).any()


def test_settings_of_the_run_can_be_changed_one_by_one(trained: Path, tmp_path: Path) -> None:
    words = ["sampler=heun", "sampler.steps=9", "guidance.scale=2", "condition.label=[1,2]", f"out={tmp_path / 'o'}"]
    assert main(["sample", f"run={trained}", "n=3", *words]) == 0
    manifest = json.loads((tmp_path / "o" / "samples.json").read_text())
    assert manifest["sampler"]["name"] == "heun"
    assert manifest["evaluations"] == 9
    assert manifest["guidance"]["scale"] == 2
    assert [entry["asked"] for entry in manifest["samples"]] == ["1", "2", "1"]


def test_inpainting_keeps_what_is_given_and_variation_stays_near(trained: Path, tmp_path: Path) -> None:
    given = (np.arange(64).reshape(8, 8) * 4).astype(np.uint8)
    Image.fromarray(given).save(tmp_path / "given.png")
    mask = np.zeros((8, 8), np.uint8)
    mask[:4] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    both = [f"run={trained}", "n=3", f"input={tmp_path / 'given.png'}"]
    assert main(["sample", *both, "task=inpaint", f"mask={tmp_path / 'mask.png'}", f"out={tmp_path / 'in'}"]) == 0
    for index in range(3):
        made = pixels(tmp_path / "in" / f"sample-{index:06d}.png")
        assert (made[4:] == given[4:]).all()
        assert (made[:4] != given[:4]).any()
    distances = []
    for strength in (0.1, 1.0):
        out = tmp_path / f"vary{strength}"
        assert main(["sample", *both, "task=vary", f"strength={strength}", f"out={out}"]) == 0
        made = np.stack([pixels(out / f"sample-{index:06d}.png") for index in range(3)]).astype(float)
        distances.append(np.abs(made - given).mean())
    assert distances[0] < distances[1] / 2


def test_pictures_are_enlarged_joined_and_found_again(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"a": np.eye(8) * 255, "b": np.tri(8) * 255, "small": np.eye(4) * 127.5}.items():
        Image.fromarray(value.astype(np.uint8)).save(tmp_path / f"{name}.png")
    words = [f"run={trained}", "sampler=heun", "sampler.steps=79", f"input={tmp_path / 'a.png'}"]
    assert main(["sample", *words, "task=reconstruct", f"out={tmp_path / 'again'}"]) == 0
    assert "pixels: off by" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "again").glob("*.png")] == ["sample-000000.png"]
    both = ["task=interpolate", f"other={tmp_path / 'b.png'}", "n=3", f"out={tmp_path / 'between'}"]
    assert main(["sample", *words, *both]) == 0
    for index, name in ((0, "a"), (2, "b")):
        made = pixels(tmp_path / "between" / f"sample-{index:06d}.png").astype(float)
        assert np.abs(made - pixels(tmp_path / f"{name}.png")).mean() < 15
    asked = ["task=upscale", f"input={tmp_path / 'small.png'}", "n=2", f"out={tmp_path / 'large'}"]
    assert main(["sample", f"run={trained}", *asked]) == 0
    assert pixels(tmp_path / "large" / "sample-000001.png").shape == (8, 8)


def test_an_earlier_checkpoint_guides(trained: Path, tmp_path: Path) -> None:
    words = ["guidance=autoguidance", "guidance.checkpoint=10", "guidance.scale=3"]
    for out, more in (("weak", words), ("other", [*words, f"guidance.run={trained}"]), ("plain", [])):
        assert main(["sample", f"run={trained}", "n=2", *more, f"out={tmp_path / out}"]) == 0
    weak, other, plain = (pixels(tmp_path / out / "sample-000001.png") for out in ("weak", "other", "plain"))
    assert (weak == other).all()
    assert (weak != plain).any()


def test_evaluate_and_report(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", f"run={run}", "n=60"]) == 0
    assert "real data" in capsys.readouterr().out
    evaluation = json.loads((run / "evaluation.json").read_text())
    names = {score["name"] for score in evaluation["scores"]}
    assert {"conditional accuracy", "precision", "recall", "coverage", "memorised share"} <= names
    assert all(np.isfinite(score["real"]) and np.isfinite(score["value"]) for score in evaluation["scores"])
    assert main(["evaluate", f"run={run}", "n=60", "sampler.steps=5", "guidance.scale=2"]) == 0
    lines = [json.loads(line) for line in (run / "evaluations.jsonl").read_text().splitlines()]
    assert [(line["sampler"]["steps"], (line["guidance"] or {}).get("scale")) for line in lines][-1] == (5, 2)
    assert all({"label", "brightness"} <= {shift["attribute"] for shift in line["shifts"]} for line in lines)
    assert main(["report", f"run={run}"]) == 0
    page = (run / "report.html").read_text()
    assert "5 steps, guidance 2" in page
    assert page.count("<img") > 100
    assert "conditional accuracy" in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_resume_goes_on_to_the_same_end(trained: Path, tmp_path: Path) -> None:
    """Set back to 20 of 30 by losing the last checkpoint, then resumed: equal in every bit to the run as it was."""
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    shutil.rmtree(run / "checkpoints" / "step-000000030")
    assert main(["train", f"resume={run}"]) == 0
    ours, theirs = Run(run).checkpoint(), Run(trained).checkpoint()
    assert ours.step == theirs.step == 30
    for group, tensors in theirs.tensors.items():
        for name, value in tensors.items():
            assert value.equal(ours.tensors[group][name]), f"{group}: {name}"
    losses = [[(line["step"], line["loss"]) for line in Run(r).metrics() if "loss" in line] for r in (run, trained)]
    assert losses[0] == losses[1]


def test_fine_tuning_on_other_pictures(trained: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for kind in ("bright", "dark"):
        (tmp_path / "pictures" / kind).mkdir(parents=True)
        for index in range(12):
            picture = rng.integers(0, 100, (9, 11, 3)) + (150 if kind == "bright" else 0)
            Image.fromarray(picture.astype(np.uint8)).save(tmp_path / "pictures" / kind / f"{index}.png")
    words = ["modality=image", "data=folder", f"data.path={tmp_path / 'pictures'}", "data.size=8", "data.mode=grey"]
    out = tmp_path / "tuned"
    code = main(["train", *words, f"init={trained}", "trainer.steps=2", "trainer.batch_size=4", f"hydra.run.dir={out}"])
    assert code == 0
    assert Run(out).config["backbone"] == Run(trained).config["backbone"]
    assert Run(out).checkpoint().state["conditions"]["label"]["names"] == ["bright", "dark"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["n=0"], "n=0"),
        (["n=-3"], "n=-3"),
        (["sampler.steps=0"], "sampler.steps=0"),
        (["sampler.steps=10000000"], "sampler.steps=10000000"),
        (["condition.label=12"], "condition.label=12"),
        (["condition.colour=red"], "condition.colour"),
        (["task=enlarge", "input=a.png"], "task=enlarge"),
        (["task=interpolate", "input=a.png"], "other=FILE"),
        (["guidance=autoguidance"], "guidance.checkpoint=STEP"),
        (["guidance=autoguidance", "guidance.run=nowhere"], "run=nowhere"),
        (["task=vary"], "input"),
        (["task=vary", "input=missing.png"], "missing.png"),
        (["input=a.png"], "task"),
        (["sampler.eta=2", "sampler=ddim"], "eta"),
        (["guidance.scale=-1"], "guidance.scale"),
        (["checkpoint=7"], "step 7"),
        (["device=abacus"], "device=abacus"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_bad_requests_are_one_line(run: Path, words: list[str], expected: str, refused: Callable[..., str]) -> None:
    before = sorted(path.name for path in run.rglob("*"))
    assert expected in refused("sample", f"run={run}", *words)
    assert sorted(path.name for path in run.rglob("*")) == before, "something was written"


def test_a_directory_that_holds_a_run_is_not_overwritten(run: Path, refused: Callable[..., str]) -> None:
    assert str(run) in refused("train", *TINY, *SHORT, f"hydra.run.dir={run}")


def test_damage_is_told_and_the_checkpoint_before_is_used(run: Path, tmp_path: Path) -> None:
    newest = run / "checkpoints" / "step-000000030" / "average.safetensors"
    newest.write_bytes(newest.read_bytes()[:-100])
    with pytest.warns(UserWarning, match="step-000000030"):
        assert main(["sample", f"run={run}", "n=1", f"out={tmp_path / 'o'}"]) == 0
    assert json.loads((tmp_path / "o" / "samples.json").read_text())["step"] == 20


def test_all_checkpoints_damaged(run: Path, refused: Callable[..., str]) -> None:
    for file in (run / "checkpoints").rglob("average.safetensors"):
        file.write_bytes(file.read_bytes()[:-1])
    assert "average.safetensors" in refused("sample", f"run={run}")


def test_checkpoints_are_listed_and_verified(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["checkpoints", f"run={run}"]) == 0
    text = capsys.readouterr().out
    assert [line.split()[0] for line in text.splitlines()] == ["step", "10", "20", "30", "suffuse"]
    assert text.count("whole") == 3
    assert f"resume={run} goes on from step 30" in text
    newest = run / "checkpoints" / "step-000000030" / "model.safetensors"
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 4
    newest.write_bytes(data)
    assert main(["checkpoints", f"run={run}"]) == 2
    text = capsys.readouterr().out
    assert "model.safetensors: damaged" in text
    assert "goes on from step 20" in text
    assert main(["checkpoints", f"run={run / 'checkpoints' / 'step-000000010'}"]) == 0
    for words in ([], ["n=3"], [f"run={run}", "n=3"]):
        assert main(["checkpoints", *words]) == 2
        assert "run=DIR is needed" in capsys.readouterr().err


def test_a_batch_that_diverges_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the setting that says so; the log then shows each step once."""
    encode = Pixels.encode
    calls = 0

    def poisoned(self: Pixels, values: Any) -> State:
        nonlocal calls
        calls += 1
        return encode(self, values).map(lambda value: value * float("nan") if calls == 8 else value)

    monkeypatch.setattr(Pixels, "encode", poisoned)
    words = [
        *TINY,
        "trainer.steps=20",
        "trainer.checkpoint_every=5",
        "trainer.log_every=5",
        "trainer.diverged=roll_back",
    ]
    assert main(["train", *words, "trainer.preview_every=0", f"hydra.run.dir={tmp_path / 'run'}"]) == 0
    run = Run(tmp_path / "run")
    assert run.facts["skipped"] == [6]
    assert [line["step"] for line in run.metrics() if "loss" in line] == [5, 10, 15, 20]


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_newer_format_asks_for_an_upgrade(run: Path, refused: Callable[..., str]) -> None:
    edit(run / "checkpoints" / "step-000000030" / "manifest.json", format=99)
    assert "pip install" in refused("sample", f"run={run}")


def test_a_checkpoint_of_another_modality(run: Path, refused: Callable[..., str]) -> None:
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("name: image", "name: smell"))
    assert "smell" in refused("sample", f"run={run}")


def test_a_run_whose_plugin_was_uninstalled(
    run: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("suffuse.plugins.registry.installed", list)
    line = refused("sample", f"run={run}")
    assert "no plugin provides 'image'" in line


def test_not_a_run(tmp_path: Path, refused: Callable[..., str]) -> None:
    assert "no such folder" in refused("sample", f"run={tmp_path / 'nowhere'}")
    assert "not a run" in refused("sample", f"run={tmp_path}")


def test_nothing_is_left_of_a_run_that_could_not_begin(tmp_path: Path, refused: Callable[..., str]) -> None:
    (tmp_path / "empty").mkdir()
    directory = tmp_path / "run"
    line = refused("train", *TINY, "data=folder", f"data.path={tmp_path / 'empty'}", f"hydra.run.dir={directory}")
    assert "empty" in line
    assert not directory.exists()


def test_pictures_that_the_network_cannot_take(tmp_path: Path, refused: Callable[..., str]) -> None:
    Image.new("L", (16, 16)).save(tmp_path / "a.png")
    Image.new("L", (16, 16)).save(tmp_path / "b.png")
    words = ["data=folder", f"data.path={tmp_path}", "data.size=15", f"hydra.run.dir={tmp_path / 'run'}"]
    assert "15" in refused("train", *TINY, *words)


def test_a_disk_that_is_full(tmp_path: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("suffuse.training.checkpoints.save_file", full)
    line = refused("train", *TINY, "trainer.steps=2", f"hydra.run.dir={tmp_path / 'run'}")
    assert "No space left on device" in line
    assert not list((tmp_path / "run" / "checkpoints").iterdir()), "a draft was left"


def test_an_output_folder_that_is_not_empty(run: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / "mine.txt").write_text("keep")
    assert "not empty" in refused("sample", f"run={run}", f"out={tmp_path / 'o'}")
    assert [path.name for path in (tmp_path / "o").iterdir()] == ["mine.txt"]


def test_a_place_that_cannot_be_written(run: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    (tmp_path / "file").write_text("in the way")
    assert "cannot be made" in refused("sample", f"run={run}", f"out={tmp_path / 'file' / 'o'}")


def test_a_loss_that_is_not_a_number(
    tmp_path: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = Pixels.encode
    calls = 0

    def poisoned(self: Pixels, values: Any) -> State:
        nonlocal calls
        calls += 1
        return encode(self, values).map(lambda value: value * float("nan") if calls == 8 else value)

    monkeypatch.setattr(Pixels, "encode", poisoned)
    words = [*TINY, "trainer.steps=40", "trainer.checkpoint_every=5", "trainer.log_every=10"]
    line = refused("train", *words, f"hydra.run.dir={tmp_path / 'run'}")
    assert "at step 7" in line  # one call measured the data
    assert "training items" in line
    assert "step 5 is intact" in line
    assert Run(tmp_path / "run").checkpoint().step == 5
