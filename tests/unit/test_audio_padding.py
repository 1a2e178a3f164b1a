"""Clips that end before the length of the training: they count as far as they sound, and the silence behind them does
not."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import soundfile
import torch
from torch import Tensor

import suffuse
from suffuse.conditions import Condition
from suffuse.data import Item, Split
from suffuse.fields import check
from suffuse_audio.clips import Clip
from suffuse_audio.data import Folder
from suffuse_audio.decoders import Mel, Stft, Waveform
from suffuse_audio.decoders.sound import SoundDecoder

RATE, LENGTH = 8000, 1024
DECODERS: list[Callable[[], SoundDecoder]] = [Stft, lambda: Stft(window=256, hop=128), Waveform, Mel]
MAKE = pytest.mark.parametrize("make", DECODERS)


def hiss(length: int = LENGTH, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(1, length, generator=torch.Generator().manual_seed(seed))


def filled(*lengths: int) -> list[Clip]:
    """Noise up to some lengths, silence up to the whole one."""
    return [Clip(hiss(seed=n) * (torch.arange(LENGTH) < n), RATE, None if n == LENGTH else n) for n in lengths]


class Clips(Split):
    def __init__(self, clips: list[Clip]) -> None:
        self.clips = clips
        self.conditions: Mapping[str, Condition] = {}

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> Item:
        return Item(self.clips[index], {})


@MAKE
@pytest.mark.parametrize("lengths", [(LENGTH, 1, 129), (1, 2, LENGTH - 1)])
def test_a_clip_counts_as_far_as_it_sounds(make: Callable[[], SoundDecoder], lengths: tuple[int, ...]) -> None:
    decoder = make()
    state = decoder.encode(filled(*lengths))
    values = state[decoder.field]
    hop = LENGTH // values.shape[-1]
    assert state.mask is not None
    assert state.mask.sum(1).tolist() == [math.ceil(n / hop) for n in lengths]
    assert not (state.mask[:, 1:] & ~state.mask[:, :-1]).any(), "from the start on"
    check(state, decoder.fields(Clips(filled(*lengths))))
    assert decoder.encode(filled(LENGTH)).mask is None


def power(decoder: SoundDecoder, lengths: tuple[int, ...]) -> Tensor:
    """The mean square of the field over what counts of each clip."""
    state = decoder.encode(filled(*lengths))
    field = decoder.fields(Clips(filled(*lengths)))[decoder.field]
    return field.mean(state[decoder.field].square(), state.mask)


def scale(decoder: SoundDecoder, length: int) -> float:
    return decoder.fields(Clips(filled(*[length] * 3)))[decoder.field].scale


@pytest.mark.parametrize("make", [Stft, Waveform])
def test_silence_that_fills_up_makes_nothing_softer(make: Callable[[], SoundDecoder]) -> None:
    short, whole = power(make(), (LENGTH // 2, LENGTH))
    assert float(short / whole) == pytest.approx(1, abs=0.3)
    assert scale(make(), LENGTH // 4) == pytest.approx(scale(make(), LENGTH), rel=0.2)


def test_silence_that_counts_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SoundDecoder, "_heard", lambda *arguments: None)
    short, whole = power(Stft(), (LENGTH // 2, LENGTH))
    assert float(short / whole) < 0.7
    assert scale(Stft(), LENGTH // 4) < 0.7 * scale(Stft(), LENGTH)


@pytest.mark.parametrize("ending", ["unknown", "silence"])
def test_what_comes_after_a_recording_is_as_the_data_say(ending: str, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", hiss(400)[0].numpy(), RATE)
    split = Folder(path=tmp_path, seconds=LENGTH / RATE, heldout=0, ending=ending, cache="never").train
    (clip,) = split.gather([0]).values
    assert clip.samples.shape == (1, LENGTH)
    assert clip.valid == (400 if ending == "unknown" else None)
    assert (Stft().encode([clip]).mask is None) == (ending == "silence")


@pytest.mark.parametrize("length", [2, 127])
def test_clips_shorter_than_a_hop_are_learned_and_made(length: int, tmp_path: Path) -> None:
    """Both a clip that fills less than a frame and a training length of less than one."""
    for number in range(4):
        soundfile.write(tmp_path / f"{number}.wav", hiss(length, seed=number)[0].numpy(), RATE)
    tiny = ["modality=audio", "data=folder", f"data.path={tmp_path}", "backbone=audio/unet2d_tiny", "data.heldout=0"]
    short = ["trainer.steps=1", "trainer.batch_size=4", "trainer.preview_every=0", "callbacks=none", "data.cache=never"]
    long = length / RATE if length > 2 else 0.1
    run = suffuse.train(suffuse.compose(*tiny, *short, f"data.seconds={long}"), tmp_path / "run")
    (clip,) = suffuse.load(run).sample(1, sampler={"steps": 1})
    assert clip.samples.isfinite().all()
