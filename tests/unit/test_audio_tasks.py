"""Tasks of ``suffuse sample`` on sounds, from a WAV file to WAV files, by runs of a few steps."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import soundfile
from audio_files import tone, write
from numpy.typing import NDArray

from suffuse.cli import main
from suffuse.data import Gap
from suffuse.fields import Field
from suffuse_audio.clips import Clip
from suffuse_audio.decoders import Stft
from suffuse_audio.wav import read_record

SECONDS = 0.32
LENGTH = 2560
TINY = ["modality=audio", "data.clips=20", "data.heldout=10", f"data.seconds={SECONDS}", "backbone=audio/unet2d_tiny"]
SHORT = ["trainer.steps=20", "trainer.batch_size=8", "trainer.preview_every=0", "trainer.validate_every=0"]
FAST = ["sampler=dpmpp_2m", "sampler.steps=3"]


def train(directory: Path, *words: str) -> Path:
    assert main(["train", *TINY, *SHORT, *FAST, *words, f"hydra.run.dir={directory}"]) == 0
    return directory


@pytest.fixture(scope="module")
def vocoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that is given mel spectrograms."""
    return train(tmp_path_factory.mktemp("runs") / "mel", "decoder.given=mel")


@pytest.fixture(scope="module")
def extender(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that is given the lower half of the band."""
    return train(tmp_path_factory.mktemp("runs") / "low", "decoder.given=low")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that is given nothing."""
    return train(tmp_path_factory.mktemp("runs") / "plain")


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that must fail for the user's sake: code 2, one line. Gives the line."""

    def command(*words: str) -> str:
        capsys.readouterr()
        try:
            code: object = main(["sample", *words])
        except SystemExit as error:  # Hydra lets it pass
            code = error.code
        assert code == 2
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("suffuse: ")]
        assert len(lines) == 1
        return lines[0]

    return command


def samples(folder: Path) -> NDArray[np.float64]:
    """What `suffuse sample` wrote, ``[N, T]``, in 16-bit steps."""
    return np.stack([soundfile.read(path, dtype="int16")[0] for path in sorted(folder.glob("*.wav"))])


def made(run: Path, out: Path, *words: str, n: int = 2) -> NDArray[np.float64]:
    assert main(["sample", f"run={run}", f"n={n}", f"out={out}", *words]) == 0
    found = samples(out)
    assert found.shape == (n, LENGTH)
    return found


@pytest.mark.parametrize(("kind", "task"), [("vocoder", "vocode"), ("extender", "extend"), ("vocoder", "given")])
def test_a_wav_becomes_wavs(kind: str, task: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    run = request.getfixturevalue(kind)
    low, high = (write(tmp_path / f"{f}.wav", tone(f, SECONDS)) for f in (300.0, 900.0))
    one = made(run, tmp_path / "one", f"task={task}", f"input={low}")
    other = made(run, tmp_path / "other", f"task={task}", f"input={high}")
    free = made(run, tmp_path / "free", "condition.label=null")
    assert not np.array_equal(one, other), "what is given counts"
    assert not np.array_equal(one, free), "that something is given counts"
    assert not np.array_equal(one[0], one[1]), "the rest is made anew each time"
    manifest = json.loads((tmp_path / "one" / "samples.json").read_text())
    assert manifest["task"] == task
    assert read_record(tmp_path / "one" / "sample-000000.wav")["modality"] == "audio"


def test_a_file_of_half_the_rate_is_extended(extender: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "narrow.wav", tone(300.0, SECONDS, rate=4000), 4000)
    assert made(extender, tmp_path / "out", "task=extend", f"input={path}").any()


@pytest.mark.parametrize("kind", ["plain", "vocoder"])
def test_inpainting_keeps_what_is_known_to_the_last_bit(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    run = request.getfixturevalue(kind)
    sound = tone(300.0, SECONDS, level=0.9)
    path = write(tmp_path / "in.wav", sound)
    (tmp_path / "gap.txt").write_text("0.1 0.2\n")
    gap = np.zeros(LENGTH, bool)
    gap[800:1600] = True
    whole = soundfile.read(path, dtype="int16")[0]
    found = made(run, tmp_path / "out", "task=inpaint", f"input={path}", f"mask={tmp_path / 'gap.txt'}", n=3)
    assert (found[:, ~gap] == whole[~gap]).all()
    assert (found[:, gap] != whole[gap]).mean() > 0.9
    assert not np.array_equal(found[0], found[1])
    steps = np.abs(np.diff(found.astype(int), axis=1))
    assert steps[:, [799, 1599]].max() < 1.5 * np.abs(np.diff(whole.astype(int))).max()


def equally_filled(run: Path, folder: Path) -> bool:
    """Whether two files that differ in the gap alone are filled in alike."""
    (folder / "gap.txt").write_text("0.1 0.2\n")
    found = []
    for frequency in (300, 1700):
        sound = tone(300.0, SECONDS)
        sound[800:1600] = tone(frequency, SECONDS)[800:1600]
        words = [f"input={write(folder / f'{frequency}.wav', sound)}", f"mask={folder / 'gap.txt'}"]
        found.append(made(run, folder / str(frequency), "task=inpaint", *words))
    return np.array_equal(found[0], found[1])


@pytest.mark.parametrize("kind", ["plain", "vocoder"])
def test_nothing_of_the_gap_is_seen(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """What the file holds in the gap must not show, not even through a given field."""
    assert equally_filled(request.getfixturevalue(kind), tmp_path)


def test_a_given_field_that_gives_the_gap_away_is_noticed(
    vocoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Stft.gap

    def told(decoder: Stft, value: Clip, mask: Path | None, fields: Mapping[str, Field]) -> Gap:
        gap = whole(decoder, value, mask, fields)
        return gap._replace(unknown=gap.unknown.replace(mel=~gap.unknown["mel"]))

    monkeypatch.setattr(Stft, "gap", told)
    assert not equally_filled(vocoder, tmp_path)


def test_a_short_sound_is_continued(plain: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "in.wav", tone(300.0, 0.15))
    known = soundfile.read(path, dtype="int16")[0]
    found = made(plain, tmp_path / "out", "task=continue", f"input={path}")
    assert (found[:, : len(known)] == known).all()
    assert (found[:, len(known) + 40 :] != 0).mean() > 0.9
    assert np.abs(np.diff(found.astype(int), axis=1))[:, len(known) - 1].max() < 1.5 * np.abs(np.diff(known)).max()
    assert np.array_equal(found, made(plain, tmp_path / "same", "task=inpaint", f"input={path}"))


def test_what_cannot_be_done_is_one_line(
    plain: Path, vocoder: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    path, quiet = write(tmp_path / "in.wav", tone(300.0, SECONDS)), write(tmp_path / "quiet.wav", np.zeros(4000))
    short = write(tmp_path / "short.wav", tone(300.0, 0.005))
    (tmp_path / "gap.txt").write_text("5 6")
    mask = f"mask={tmp_path / 'gap.txt'}"
    for run, words, expected in [
        (
            plain,
            ["task=vocode", f"input={path}"],
            "without the given field mel: train with decoder=stft decoder.given=mel",
        ),
        (plain, ["task=extend", f"input={path}"], "decoder.given=low"),
        (vocoder, ["task=extend", f"input={path}"], "decoder.given=low"),
        (plain, ["task=given", f"input={path}"], "task=given: this run was trained without given fields"),
        (vocoder, ["task=vocod", f"input={path}"], "continue, vocode, extend; did you mean 'vocode'?"),
        (vocoder, ["task=vocode"], "task=vocode needs input=FILE"),
        (vocoder, ["task=vocode", f"input={path}", mask], "mask belongs to task=inpaint"),
        (vocoder, ["task=vocode", f"input={quiet}"], "quiet.wav: there is nothing to be heard"),
        (vocoder, ["task=vocode", f"input={short}"], "short.wav: a sound of 0.005 s is too short"),
        (vocoder, ["task=vocode", f"input={tmp_path / 'none.wav'}"], "none.wav: there is no such file"),
        (plain, ["task=continue", f"input={path}"], "nothing comes after its end"),
        (plain, ["task=continue", f"input={short}"], "short.wav: a sound of 0.005 s is too short"),
        (plain, ["task=inpaint", f"input={path}", mask], "gap.txt: the gap from 5 to 6 s does not lie in the clip"),
        (plain, ["task=upscale", f"input={path}"], "has no coarser files"),
    ]:
        out = tmp_path / "out"
        assert expected in refused(f"run={run}", f"out={out}", *words)
        assert not out.exists(), "nothing was written"
