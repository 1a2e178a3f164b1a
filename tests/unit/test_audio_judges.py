"""Ears that others trained: what a recogniser and an embedding of speakers hear, and what is said without them.

The judges themselves are extras; their tests are skipped where one is missing.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from suffuse.conditions import ClassLabel, Condition
from suffuse.data import Evaluation, Item, Score, Split
from suffuse.errors import ConfigError, PluginError
from suffuse_audio.clips import Clip
from suffuse_audio.data.reference import Reference
from suffuse_audio.data.spoken import WORDS, SpokenDigits
from suffuse_audio.metrics import AudioMetrics, voices
from suffuse_audio.metrics.voices import Voiceprints, nearest, voice_scores
from suffuse_audio.metrics.words import Recogniser, word_scores

RATE = 8000


@pytest.fixture(scope="module")
def spoken() -> SpokenDigits:
    """Digits by two voices, unlike each other."""
    pytest.importorskip("espeakng_loader", reason="nobody speaks without the extra speech")
    return SpokenDigits(voices=["en-us", "en-us+f2"], clips=5, heldout=0.4, rate=16_000, seconds=0.8, invert=False)


def test_words_are_recognised(spoken: SpokenDigits) -> None:
    """By a recogniser that hears each sound by itself, whatever came before it and however loud it is."""
    pytest.importorskip("pocketsphinx")
    hear = Recogniser(WORDS, 16_000)
    items = [spoken.heldout[index] for index in range(20)]
    heard = [hear(item.value.samples[0].numpy()) for item in items]
    assert np.mean([word == WORDS[item.condition["label"]] for word, item in zip(heard, items, strict=True)]) >= 0.8
    again = [hear(0.1 * item.value.samples[0].numpy()) for item in reversed(items)]
    assert again[::-1] == heard
    assert hear(np.zeros(8000, np.float32)) is None


def test_words_that_are_asked_for_are_counted(spoken: SpokenDigits) -> None:
    pytest.importorskip("pocketsphinx")
    clips = [spoken.heldout[index] for index in range(20)]
    values = torch.stack([item.value.samples for item in clips])
    labels = np.array([item.condition["label"] for item in clips])
    subject = Evaluation(values=[item.value for item in clips], conditions={}, train=spoken.train, heldout=spoken.train)
    names = tuple("0123456789")
    (score,) = word_scores(subject, WORDS, names, values, (labels + 1) % 10, values, labels)
    assert score.value <= 0.1 < 0.8 <= score.real
    assert subject.details["recognised"]["real"].keys() == set(WORDS)
    unknown = np.full(20, -1)
    assert word_scores(subject, WORDS, names, values, unknown, values, labels) == []
    with pytest.raises(ConfigError, match=r"metric\.words: 3 words for 10 classes"):
        word_scores(subject, WORDS[:3], names, values, labels, values, labels)


def test_a_word_that_nobody_knows_is_named() -> None:
    pytest.importorskip("pocketsphinx")
    with pytest.raises(ConfigError, match=r"metric\.words: .*'sevn'"):
        Recogniser(["six", "sevn"], RATE)


@pytest.mark.slow
def test_voices_are_told_apart(spoken: SpokenDigits) -> None:
    pytest.importorskip("resemblyzer")
    prints = Voiceprints(16_000)

    def joined(split: Split, voice: int, start: int = 0) -> NDArray[np.float32]:
        rows = [row for row in range(len(split)) if split[row].condition["speaker"] == voice][start : start + 10]
        return prints([split[row].value.samples[0].numpy() for row in rows])

    known = np.stack([joined(spoken.train, voice) for voice in (0, 1)])
    np.testing.assert_allclose(np.linalg.norm(known, axis=1), 1, rtol=1e-4)
    assert nearest(np.stack([joined(spoken.heldout, voice) for voice in (1, 0, 1)]), known).tolist() == [1, 0, 1]


class Spectra:
    """Stands in for the embedding: of sounds the level in a few bands."""

    calls = 0

    def __init__(self, rate: int) -> None:
        self.rate = rate

    def __call__(self, sounds: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        Spectra.calls += 1
        power = sum(np.add.reduceat(np.abs(np.fft.rfft(sound, 512))[:256], range(0, 256, 16)) for sound in sounds)
        return np.asarray(power / np.linalg.norm(power), np.float32)


class Tones(Split):
    """Voices are tones, three of them; each of its clips comes with another one of the same."""

    def __init__(self, count: int, seed: int, shown: bool) -> None:
        rng = np.random.default_rng(seed)
        self.whose = [index % 3 for index in range(count)]
        time = np.arange(512) / RATE
        self.sounds = [
            np.sin(2 * np.pi * (600 + 900 * voice + rng.uniform(-40, 40)) * time).astype(np.float32)
            for voice in self.whose
        ]
        kind: Condition = Reference(RATE, 512) if shown else ClassLabel(("a", "b", "c"))
        self.name = "reference" if shown else "speaker"
        self.conditions = {self.name: kind}

    def __len__(self) -> int:
        return len(self.whose)

    def __getitem__(self, index: int) -> Item:
        other = (index + 3) % len(self)
        told = Clip(self.tensor[other], RATE) if self.name == "reference" else self.whose[index]
        return Item(Clip(self.tensor[index], RATE), {self.name: told})

    @property
    def tensor(self) -> Tensor:
        return torch.from_numpy(np.stack(self.sounds))[:, None]

    @property
    def told(self) -> dict[str, Tensor]:
        return self.collate([self[index].condition for index in range(len(self))])


def judged(asked: Sequence[Any], values: Tensor, train: Tones, heldout: Tones) -> tuple[list[Score], Evaluation]:
    clips = [Clip(value, RATE) for value in values]
    subject = Evaluation(values=clips, conditions={train.name: asked}, train=train, heldout=heldout)
    real = ((x.tensor, x.told) for x in (heldout, train))
    return voice_scores(subject, "always", "speaker", values, *real), subject


@pytest.mark.parametrize("shown", [False, True])
def test_a_wrong_voice_is_found_out(shown: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Named voices by which training clips are nearest, shown ones by the likeness to their references."""
    monkeypatch.setattr(voices, "Voiceprints", Spectra)
    train, heldout = Tones(90, 1, shown), Tones(60, 2, shown)
    asked = [heldout[index].condition[train.name] for index in range(60)]
    (right,), _ = judged(asked, heldout.tensor, train, heldout)
    (wrong,), _ = judged(asked, heldout.tensor.roll(1, 0), train, heldout)
    assert right.value == right.real > 0.8
    assert wrong.real == right.real
    assert wrong.value < 0.2
    assert right.name == ("voice similarity" if shown else "voice as asked")


def test_nothing_is_said_of_voices_that_nobody_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voices, "Voiceprints", Spectra)
    train, heldout = Tones(90, 1, False), Tones(60, 2, False)
    assert judged([None] * 60, heldout.tensor, train, heldout)[0] == []
    assert judged([0] * 5, heldout.tensor[:5], train, heldout)[0] == [], "five sounds are no group of ten"


@pytest.mark.parametrize(
    ("missing", "settings", "line"),
    [
        ("pocketsphinx", {"words": ["one", "two", "six"]}, r'metric\.words.*pip install "suffuse\[recognise\]"'),
        ("resemblyzer", {"voice": "always"}, r'metric\.voice=always.*pip install "suffuse\[voice\]"'),
    ],
)
def test_an_extra_that_is_not_installed_is_named(
    missing: str, settings: dict[str, Any], line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    train, heldout = Tones(30, 1, False), Tones(30, 2, False)
    subject = Evaluation(
        values=[heldout[i].value for i in range(30)],
        conditions={"speaker": heldout.whose},
        train=train,
        heldout=heldout,
    )
    with pytest.raises(PluginError, match=line) as caught:
        AudioMetrics(label="speaker", max_clips=64, **{"voice": "never", **settings})(subject)
    assert "\n" not in str(caught.value)


def test_voices_are_passed_over_with_a_note_where_the_extra_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resemblyzer", None)
    train, heldout = Tones(30, 1, False), Tones(30, 2, False)
    subject = Evaluation(values=[], conditions={}, train=train, heldout=heldout)
    real = (heldout.tensor, heldout.told), (train.tensor, train.told)
    clips = [heldout[0].value]
    subject = Evaluation(values=clips, conditions={}, train=train, heldout=heldout)
    assert voice_scores(subject, "auto", "speaker", heldout.tensor, *real) == []
    assert "suffuse[voice]" in subject.details["voice"]
    subject.details.clear()
    assert voice_scores(subject, "never", "speaker", heldout.tensor, *real) == []
    assert not subject.details
