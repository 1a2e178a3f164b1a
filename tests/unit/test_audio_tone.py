"""Numbers that are asked of a sound, drawn as sound: they are in tune, and a network sees where and in which phase."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import suffuse
from suffuse.conditions import ClassLabel, Condition, Scalar
from suffuse.data import Split
from suffuse.fields import Field
from suffuse.state import State
from suffuse_audio.backbones.contract import along
from suffuse_audio.clips import Clip
from suffuse_audio.data import Sounds
from suffuse_audio.data.measuring import decay_time, pitch
from suffuse_audio.data.synth import Note, hertz, render
from suffuse_audio.decoders import Stft
from suffuse_audio.decoders.tone import falls, tones

RATE, LENGTH = 8000, 5120
CONDITIONS: dict[str, Condition] = {"label": ClassLabel(("a",)), "pitch": Scalar(), "decay": Scalar()}


def midi(*numbers: float) -> Tensor:
    return torch.tensor(numbers)


def drawn(decoder: Stft, name: str, value: Tensor, *, channels: int = 1, length: int = LENGTH) -> Tensor:
    state = decoder.encode([Clip(torch.zeros(channels, length), RATE)] * len(value))
    fields = {"spectrogram": Field(shape=tuple(state["spectrogram"].shape[1:]), scale=0.5)}
    sketch = decoder.sketches(fields, CONDITIONS)[name]
    found = sketch.draw(value, state)
    assert tuple(found.shape[1:]) == sketch.field.shape
    assert sketch.field.given
    return found


@pytest.mark.parametrize("number", [31.0, 48.3, 69.0, 93.0])
def test_a_tone_is_made_of_its_partials(number: float) -> None:
    sine, cosine, harmonics = tones(midi(number), LENGTH, RATE)[0].double() / 0.3
    turns = 2 * math.pi * hertz(number) * torch.arange(LENGTH).double() / RATE
    torch.testing.assert_close(sine, turns.sin(), atol=1e-3, rtol=0)
    torch.testing.assert_close(cosine, turns.cos(), atol=1e-3, rtol=0)
    partials = [(n * turns).sin() for n in range(1, int(0.85 * RATE / 2 / hertz(number)) + 1)]
    torch.testing.assert_close(harmonics, torch.stack(partials).sum(0), atol=0.2, rtol=0)


def test_what_is_too_high_is_silent_and_all_is_finite() -> None:
    waves = tones(midi(-300.0, 0.0, 110.0, 500.0), LENGTH, RATE)
    assert waves.isfinite().all()
    assert not waves[2:].any()


@pytest.mark.parametrize("decay", [0.06, 0.5, 2.0])
def test_a_fall_is_one_of_60_decibels(decay: float) -> None:
    level = falls(torch.tensor([decay]), LENGTH, 1 / RATE)[0].double().numpy()
    assert decay_time(np.random.default_rng(0).standard_normal(LENGTH) * level, RATE) == pytest.approx(decay, rel=0.1)
    assert not falls(torch.tensor([0.0]), 10, 0.1).isnan().any()


def test_sketches_are_those_of_the_numbers_that_the_data_have() -> None:
    fields = {"spectrogram": Field(shape=(2, 64, 80))}
    decoder = Stft(tone="pitch", fall="decay")
    assert set(decoder.sketches(fields, CONDITIONS)) == {"tone", "fall"}
    assert set(decoder.sketches(fields, {"decay": Scalar()})) == {"fall"}
    assert not decoder.sketches(fields, {"pitch": ClassLabel(("c", "d"))})
    assert not Stft().sketches(fields, CONDITIONS)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("length", [1, 300, LENGTH])
def test_a_sketch_has_the_size_of_the_sound(channels: int, length: int) -> None:
    decoder = Stft(tone="pitch", fall="decay")
    tone = drawn(decoder, "tone", midi(60, 72), channels=channels, length=length)
    whole = drawn(decoder, "tone", midi(60, 72))
    assert tone.unflatten(1, (3, channels, 2)).eq(tone.unflatten(1, (3, channels, 2))[:, :, :1]).all()
    inside = max(0, length // 64 - 1)
    torch.testing.assert_close(tone[:, :2, :, :inside], whole[:, :2, :, :inside])
    assert drawn(decoder, "fall", torch.tensor([0.3, 0.6]), length=length).shape[2:] == (1, max(1, -(-length // 64)))


def struck(number: float) -> tuple[Tensor, Stft]:
    """A sound of the synthesiser as a spectrogram."""
    decoder = Stft(window=256, hop=128, tone="pitch")
    note = Note(kind="bell", pitch=number, decay=1.5, velocity=1.0, timbre=(0.0, 0.5, 0.5, 0.5))
    sound = torch.from_numpy(render([note], rate=RATE, seconds=LENGTH / RATE))
    return decoder.encode([Clip(sound, RATE)])["spectrogram"], decoder


def shared(number: float, asked: float) -> float:
    """The share of a sound that lies along the sine of a pitch, in its phase."""
    sound, decoder = struck(number)
    sine = drawn(decoder, "tone", midi(asked))[:, :2]
    return float((sound * sine).sum() / (sound.norm() * sine.norm()))


def test_a_sound_is_in_phase_with_its_tone() -> None:
    assert shared(75.3, 75.3) > 0.75


def test_a_tone_out_of_tune_is_noticed() -> None:
    assert shared(75.3, 75.9) < 0.4
    assert shared(75.3, 76.3) < 0.3


@pytest.mark.parametrize("turn", [0.0, 0.7, 2.5])
def test_strength_does_not_depend_on_phase_and_phase_is_told(turn: float) -> None:
    generator = torch.Generator().manual_seed(0)
    noisy, tone = torch.randn(2, 1, 2, 4, 5, generator=generator)
    turned = torch.stack(
        [
            math.cos(turn) * noisy[:, 0] - math.sin(turn) * noisy[:, 1],
            math.sin(turn) * noisy[:, 0] + math.cos(turn) * noisy[:, 1],
        ],
        1,
    )
    found = along(torch.cat([turned, tone], 1), 2)
    torch.testing.assert_close(found[:, 0], noisy.norm(dim=1), atol=0.06, rtol=0)
    torch.testing.assert_close(found[:, 1], (turned * tone).sum(1) / tone.norm(dim=1), atol=0.1, rtol=0.3)
    assert torch.equal(along(torch.cat([turned, 0 * tone], 1), 2)[:, 1], torch.zeros(1, 4, 5))


def test_a_run_sees_what_it_is_asked_for_and_keeps_doing_so(tmp_path: Path) -> None:
    words = ["modality=audio", "data.clips=20", "data.heldout=10", "data.seconds=0.32", "backbone=audio/unet2d_tiny"]
    short = ["trainer.steps=3", "trainer.batch_size=4", "trainer.warmup=1", "trainer.preview_every=0"]
    run = suffuse.train(suffuse.compose(*words, *short, "callbacks=none"), tmp_path / "run")
    model = suffuse.load(run)
    assert set(model.denoiser.sketches) == {"tone", "fall"}
    fields = {name: field.shape for name, field in model.fields.items()}
    assert list(fields) == ["spectrogram"], "it is not a part of what is made"

    def sound(**asked: float | None) -> Tensor:
        made = model.sample(1, {"label": None, **asked}, sampler={"steps": 2}, guidance={"scale": 1})
        return torch.as_tensor(made[0].samples)

    # The vector of conditions is silenced, so that only the sketches tell one from the other.
    assert model.denoiser.encoder is not None
    for parameter in model.denoiser.encoder.parameters():
        parameter.data.zero_()
    assert not torch.equal(sound(pitch=60.0), sound(pitch=61.0))
    assert not torch.equal(sound(decay=0.1), sound(decay=0.2))
    assert torch.equal(sound(), sound(pitch=None, decay=None))


def test_the_default_data_begin_in_phase_with_their_tone() -> None:
    """What the embedded data call a pitch is what is drawn of it."""
    split: Split = Sounds(kinds=["bell", "bass"], clips=20, heldout=0, invert=False).train
    for index in range(4):
        item = split[index]
        sound = item.value.samples[0].numpy()
        found = 69 + 12 * math.log2(pitch(sound, RATE) / 440)
        assert found == pytest.approx(item.condition["pitch"], abs=0.5)
        sine = tones(midi(item.condition["pitch"]), len(sound), RATE)[0, 0].numpy()
        assert float(sound @ sine) > 0.3 * float(np.linalg.norm(sound) * np.linalg.norm(sine))


def test_states_on_another_device_or_of_another_precision_get_their_tone_there() -> None:
    decoder = Stft(tone="pitch")
    state = State({"spectrogram": torch.zeros(1, 2, 64, 10, dtype=torch.float64)})
    fields = {"spectrogram": Field(shape=(2, 64, 10), scale=0.5)}
    assert decoder.sketches(fields, CONDITIONS)["tone"].draw(midi(60), state).shape == (1, 6, 64, 10)
