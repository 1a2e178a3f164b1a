"""The synthesiser: sounds are what was asked for, by a measurement that knows nothing of how they were made."""

from __future__ import annotations

import time
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from audio_files import one_line

from suffuse.conditions import ClassLabel, Scalar
from suffuse.errors import ConfigError
from suffuse_audio.data import Sounds
from suffuse_audio.data.synth import KINDS, Note, decay_time, draw, hertz, midi, pitch, render

RATE, SECONDS = 8000, 0.64


@pytest.fixture(scope="module")
def notes() -> list[Note]:
    return [draw(index) for index in range(400)]


@pytest.fixture(scope="module")
def sounds(notes: list[Note]) -> np.ndarray:
    return render(notes, rate=RATE, seconds=SECONDS)


def cents(found: float, wanted: float) -> float:
    return 1200 * float(np.log2(found / wanted))


def in_tune(notes: list[Note], sounds: np.ndarray) -> float:
    """The share of pitched notes that are within 50 cents of what was asked."""
    pairs = [(note.pitch, sound) for note, sound in zip(notes, sounds, strict=True) if note.pitch is not None]
    return float(np.mean([abs(cents(pitch(sound, RATE), hertz(number))) < 50 for number, sound in pairs]))


def test_midi_and_hertz_are_inverse() -> None:
    assert hertz(69) == 440
    assert hertz(81) == pytest.approx(880)
    assert midi(hertz(47.3)) == pytest.approx(47.3)


def test_pitch_measured_back_is_what_was_asked(notes: list[Note], sounds: np.ndarray) -> None:
    assert in_tune(notes, sounds) >= 0.99


def test_pitch_is_found_in_noise(notes: list[Note], sounds: np.ndarray) -> None:
    noise = np.random.default_rng(0).standard_normal(sounds.shape)
    level = np.sqrt(np.mean(sounds**2, axis=1, keepdims=True))
    assert in_tune(notes, sounds + 0.1 * level * noise) >= 0.95


def test_a_sound_out_of_tune_is_noticed(notes: list[Note], sounds: np.ndarray) -> None:
    lower = [note if note.pitch is None else replace(note, pitch=note.pitch - 0.6) for note in notes]
    assert in_tune(lower, sounds) < 0.05


def test_decay_measured_back_is_what_was_asked(notes: list[Note], sounds: np.ndarray) -> None:
    ratios = [decay_time(sound, RATE) / note.decay for note, sound in zip(notes, sounds, strict=True)]
    assert np.mean(np.abs(np.log(ratios)) < np.log(1.15)) >= 0.95
    assert np.median(ratios) == pytest.approx(1, abs=0.02)


def test_another_decay_is_noticed(notes: list[Note]) -> None:
    longer = render([replace(note, decay=1.5 * note.decay) for note in notes[:50]], rate=RATE, seconds=SECONDS)
    ratios = [decay_time(sound, RATE) / note.decay for note, sound in zip(notes[:50], longer, strict=True)]
    assert np.median(ratios) > 1.4


@pytest.mark.parametrize("samples", [np.zeros(5000), np.zeros(0), np.ones(3), np.full(5000, 1e-6)])
def test_silence_has_neither_pitch_nor_decay(samples: np.ndarray) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(pitch(samples, RATE))
        assert np.isnan(decay_time(samples, RATE))


def test_no_sound_clips_and_the_peak_is_the_velocity(notes: list[Note], sounds: np.ndarray) -> None:
    peaks = np.abs(sounds).max(1)
    assert peaks == pytest.approx([0.9 * note.velocity for note in notes], rel=1e-5)
    assert np.abs(sounds[:, [0, -1]]).max() < 1e-3  # no click at either end
    assert np.abs(sounds.mean(1)).max() < 0.02


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_aliased(kind: str) -> None:
    """Rendered at four times the rate, the band that both have holds the same sound; folding would add to it."""
    chosen = [note for note in map(draw, range(200)) if note.kind == kind]
    coarse, fine = (np.fft.rfft(render(chosen, rate=rate, seconds=SECONDS)) / rate for rate in (RATE, 4 * RATE))
    band = slice(0, int(3000 * SECONDS))
    a, b = coarse[:, band], fine[:, band]
    b = b * (np.sum(a * b.conj(), 1).real / np.sum(np.abs(b) ** 2, 1))[:, None]
    worst = np.linalg.norm(a - b, axis=1) / np.linalg.norm(a, axis=1)
    assert np.median(worst) < 10 ** (-40 / 20)
    assert worst.max() < 10 ** (-30 / 20)


def test_an_aliased_saw_is_noticed() -> None:
    rates = (RATE, 4 * RATE)
    coarse, fine = (np.fft.rfft(2 * (np.arange(int(SECONDS * r)) / r * 1234.5 % 1) - 1) / r for r in rates)
    band = slice(0, int(3000 * SECONDS))
    assert np.linalg.norm(coarse[band] - fine[band]) > 10 ** (-30 / 20) * np.linalg.norm(coarse[band])


def test_a_sound_depends_on_its_own_note_alone(notes: list[Note], sounds: np.ndarray) -> None:
    assert np.array_equal(render(notes[37:38], rate=RATE, seconds=SECONDS)[0], sounds[37])
    assert np.array_equal(render(notes[100:50:-1], rate=RATE, seconds=SECONDS), sounds[100:50:-1])


def test_sounds_of_a_kind_differ(notes: list[Note], sounds: np.ndarray) -> None:
    unit = sounds / np.linalg.norm(sounds, axis=1, keepdims=True)
    for kind in KINDS:
        rows = unit[[note.kind == kind for note in notes]]
        assert np.abs(rows @ rows.T - np.eye(len(rows))).max() < 0.999


@pytest.mark.slow
def test_two_thousand_sounds_take_seconds() -> None:
    start = time.process_time()
    render([draw(index) for index in range(2000)], rate=RATE, seconds=SECONDS)
    assert time.process_time() - start < 15


def test_the_source_knows_every_fact() -> None:
    source = Sounds(clips=40, heldout=20)
    assert source.train.conditions["label"] == ClassLabel(tuple(KINDS))
    assert isinstance(source.train.conditions["pitch"], Scalar)
    for index, note in enumerate(source.notes["train"]):
        value, known = source.train[index]
        assert value.samples.shape == (1, 5120)
        assert value.samples.dtype == torch.float32
        assert value.rate == RATE
        assert known["decay"] == note.decay
        assert known.get("pitch") == note.pitch
        assert known["label"] == tuple(KINDS).index(note.kind)
    batch = source.train.gather([0, 4])
    assert batch.conditions["pitch"].isnan().tolist() == [True, False]


def test_the_source_is_the_same_every_time_and_holds_out_other_sounds() -> None:
    first, second, more = Sounds(clips=20, heldout=20), Sounds(clips=20, heldout=20), Sounds(clips=40, heldout=20)
    for split in ("train", "heldout"):
        for index in range(20):
            value = getattr(first, split)[index].value.samples
            assert torch.equal(value, getattr(second, split)[index].value.samples)
            assert torch.equal(value, getattr(more, split)[index].value.samples)
    assert not set(first.notes["train"]) & set(first.notes["heldout"])
    assert not set(first.notes["train"]) & set(Sounds(clips=20, heldout=0, seed=1).notes["train"])


def test_kinds_can_be_chosen_and_unpitched_ones_have_no_pitch() -> None:
    source = Sounds(kinds=["kick", "clap"], clips=4, heldout=2)
    assert list(source.train.conditions) == ["label", "decay"]
    assert source.train.conditions["label"] == ClassLabel(("kick", "clap"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kinds": ["snair"]}, r"data\.kinds=snair: .*did you mean 'snare'"),
        ({"clips": 3}, r"data\.clips=3"),
        ({"rate": 100}, r"data\.rate=100"),
        ({"seconds": 0}, r"data\.seconds=0"),
        ({"heldout": -1}, r"data\.heldout=-1"),
    ],
)
def test_settings_are_checked(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        Sounds(**settings)  # type: ignore[arg-type]
    one_line(error)


def test_the_sign_is_turned_in_half_the_cases_where_asked() -> None:
    split = Sounds(clips=10, heldout=0, invert=True).train
    indices = [0] * 64
    values = split.gather(indices, [np.random.default_rng(seed) for seed in range(64)]).values
    again = split.gather(indices, [np.random.default_rng(seed) for seed in range(64)]).values
    plain = split[0].value.samples
    signs = [1 if torch.equal(value.samples, plain) else -1 for value in values]
    assert all(torch.equal(value.samples, sign * plain) for value, sign in zip(values, signs, strict=True))
    assert all(torch.equal(a.samples, b.samples) for a, b in zip(values, again, strict=True))
    assert 16 < signs.count(-1) < 48
