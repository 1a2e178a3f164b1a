"""Tasks of ``suffuse sample`` on sounds, from a WAV file to WAV files, by runs of a few steps."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from audio_files import RATE, tone, write
from numpy.typing import NDArray
from torch import Tensor

from suffuse.cli import main
from suffuse.data import Gap
from suffuse.fields import Field
from suffuse_audio.clips import Clip
from suffuse_audio.decoders import Stft
from suffuse_audio.decoders import sound as sound_decoder
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


def made(run: Path, out: Path, *words: str, n: int = 2, length: int = LENGTH) -> NDArray[np.float64]:
    assert main(["sample", f"run={run}", f"n={n}", f"out={out}", "compute_batch=8", *words]) == 0
    found = samples(out)
    assert found.shape == (n, length)
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


def below(samples: NDArray[Any], frequency: float) -> NDArray[np.float64]:
    """The part of sounds ``[..., T]`` below a frequency, cut sharply."""
    spectrum = np.fft.rfft(samples)
    spectrum[..., round(frequency * samples.shape[-1] / RATE) :] = 0
    return np.fft.irfft(spectrum, samples.shape[-1])


def low_band_error(extender: Path, folder: Path) -> float:
    """How far the lower half of extended sounds is from that of the input, as a share of it."""
    sound = tone(300.0, SECONDS, level=0.3) + tone(1400.0, SECONDS, level=0.2) + tone(3100.0, SECONDS, level=0.2)
    path = write(folder / "in.wav", sound)
    found = made(extender, folder / "out", "task=extend", f"input={path}") / 2**15
    inside = slice(200, -200)
    wanted = below(sound, 1700.0)
    assert np.abs(found - sound).mean() > 0.05, "the upper half is another"
    return float(np.abs(below(found, 1700.0) - wanted)[:, inside].max() / np.abs(wanted).max())


def test_extending_keeps_the_low_band(extender: Path, tmp_path: Path) -> None:
    assert low_band_error(extender, tmp_path) < 0.01


def test_a_low_band_that_is_made_anew_is_noticed(
    extender: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Stft, "restore", lambda decoder, made, known: made)
    assert low_band_error(extender, tmp_path) > 0.05


@pytest.mark.parametrize(("kind", "task"), [("vocoder", "vocode"), ("extender", "extend"), ("plain", "vary")])
@pytest.mark.parametrize("length", [1000, 3 * LENGTH + 77])
def test_a_file_of_any_length_comes_back_as_long(
    kind: str, task: str, length: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    sound = tone(300.0, length / RATE)
    sound[: length // 2] *= 0.2
    words = [f"task={task}", f"input={write(tmp_path / 'in.wav', sound)}", *(["strength=0.1"] * (task == "vary"))]
    found = made(request.getfixturevalue(kind), tmp_path / "out", *words, n=1, length=length)
    assert (found[0, -length // 8 :] != 0).mean() > 0.5, "up to its end"


@pytest.mark.parametrize(("length", "count"), [("1s", 8000), ("100ms", 800), ("0.32", LENGTH)])
def test_samples_have_the_length_that_is_asked_for(plain: Path, tmp_path: Path, length: str, count: int) -> None:
    found = made(plain, tmp_path / "out", f"length={length}", "condition.label=snare", length=count)
    assert (found != 0).mean() > 0.5
    assert not np.array_equal(found[0], found[1])
    assert read_record(tmp_path / "out" / "sample-000000.wav")["asked"] == "snare"
    usual = made(plain, tmp_path / "usual", "condition.label=snare")
    assert np.array_equal(found, usual) == (count == LENGTH)


def test_a_gap_in_a_long_file_is_filled_in(plain: Path, tmp_path: Path) -> None:
    length = 9000
    sound = tone(300.0, length / RATE, level=0.9) + 0.05
    path = write(tmp_path / "in.wav", sound.clip(-1, 1))
    (tmp_path / "gap.txt").write_text("0.8 0.9\n")
    whole = soundfile.read(path, dtype="int16")[0]
    words = ["task=inpaint", f"input={path}", f"mask={tmp_path / 'gap.txt'}"]
    found = made(plain, tmp_path / "out", *words, length=length)
    gap = np.zeros(length, bool)
    gap[6400:7200] = True
    assert (found[:, ~gap] == whole[~gap]).all(), "a constant offset is known too"
    assert (found[:, gap] != whole[gap]).mean() > 0.9
    assert not seams_jump(found, whole, [6400, 7200])


def seams_jump(found: NDArray[Any], known: NDArray[Any], seams: Sequence[int]) -> bool:
    """Whether a step at a seam is larger than 99 of 100 steps of the known sound."""
    usual = np.quantile(np.abs(np.diff(known.astype(int))), 0.99)
    return bool((np.abs(np.diff(found.astype(int)))[:, np.array(seams) - 1] > usual).any())


def test_a_hard_cut_is_noticed(plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the fade an untrained network clicks, so that the tests of seams are no empty ones."""

    def cut(made: Clip, given: Clip, marks: Tensor, *, limited: bool = True) -> Clip:
        return Clip(torch.where(marks, made.samples.clamp(-1, 1), given.samples), given.rate)

    monkeypatch.setattr(sound_decoder, "join", cut)
    path = write(tmp_path / "in.wav", tone(300.0, SECONDS, level=0.9))
    (tmp_path / "gap.txt").write_text("0.1 0.2\n")
    words = ["task=inpaint", f"input={path}", f"mask={tmp_path / 'gap.txt'}"]
    found = made(plain, tmp_path / "out", *words, n=4)
    assert seams_jump(found, soundfile.read(path, dtype="int16")[0], [800, 1600])


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
    assert not seams_jump(found, whole, [800, 1600])


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
    assert not seams_jump(found, known, [len(known)])
    assert np.array_equal(found, made(plain, tmp_path / "same", "task=inpaint", f"input={path}"))


@pytest.mark.parametrize(("subtype", "found"), [("pcm16", "PCM_16"), ("pcm24", "PCM_24"), ("float", "FLOAT")])
def test_the_form_of_the_samples_is_chosen_with_the_samples(
    plain: Path, tmp_path: Path, subtype: str, found: str
) -> None:
    made(plain, tmp_path / "out", f"decoder.subtype={subtype}")
    assert soundfile.info(tmp_path / "out" / "sample-000000.wav").subtype == found


def test_a_sound_goes_on_as_long_as_is_asked_for(plain: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "in.wav", tone(300.0, 0.6))
    known = soundfile.read(path, dtype="int16")[0]
    found = made(plain, tmp_path / "out", "task=continue", f"input={path}", "length=1.5s", length=12_000)
    assert (found[:, : len(known)] == known).all()
    assert (found[:, len(known) + 40 :] != 0).mean() > 0.9
    assert not seams_jump(found, known, [len(known)])


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
        (plain, ["decoder.hop=64"], "decoder.hop: taken from the run, only subtype can be changed"),
        (plain, ["decoder.subtype=pcm15"], "decoder.subtype=pcm15: must be one of pcm16, pcm24, float"),
        (plain, ["length=2.5m"], "length=2.5m: seconds such as 2.5s, or 800ms"),
        (plain, ["length=0s"], "length=0s: seconds such as 2.5s"),
        (plain, ["length=1e9"], "length=1000000000.0: seconds such as 2.5s, or 800ms, up to 86400s"),
        (plain, ["task=vary", f"input={path}", "length=1s"], "length belongs to samples from noise"),
        (plain, ["task=continue", f"input={path}", "length=0.2s"], "nothing comes after its end"),
        (plain, ["condition.label=snar"], "did you mean 'snare'"),
    ]:
        out = tmp_path / "out"
        assert expected in refused(f"run={run}", f"out={out}", *words)
        assert not out.exists(), "nothing was written"
