"""The metrics of sounds on generated ones: what real clips, copies, noise, wrong answers and faults score."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from suffuse.bias import Shift, shifts
from suffuse.conditions import ClassLabel, Condition, Scalar
from suffuse.data import Evaluation, Item, Score, Split
from suffuse.errors import ConfigError, DataError
from suffuse_audio.classifier import Classifier, LogMel, classify, train_classifier
from suffuse_audio.clips import Clip
from suffuse_audio.metrics import AudioMetrics, kernel_distance, principal_components

RATE, LENGTH = 8000, 2400
NAMES = ("tone", "buzz", "hiss")
SETS = ["Fréchet distance", "kernel distance", "kernel distance / noise", "Vendi score"]
SETS += ["precision", "recall", "density", "coverage"]
COPIES = ["memorised share", "nearest-neighbour ratio"]
LEVELS = ["level difference", "DC offset", "clipped share", "silent share"]
ATTRIBUTES = ["pitch as asked", "decay as asked"]
ACCURACY = ["conditional accuracy", "class imbalance"]


def sounds(count: int, seed: int) -> tuple[Tensor, dict[str, list[Any]]]:
    """Decaying sines, buzzes and hisses in turn, ``[N, 1, T]``, with what they are."""
    rng = np.random.default_rng(seed)
    time = np.arange(LENGTH) / RATE
    made, kinds, pitches, decays = [], [], [], []
    for index in range(count):
        kind = index % 3
        note, decay = rng.uniform(60, 80), rng.uniform(0.2, 0.5)
        frequency = 440 * 2 ** ((note - 69) / 12)
        cycles = 2 * np.pi * frequency * time + rng.uniform(0, 6)
        if kind == 2:
            sound = rng.standard_normal(LENGTH) / 3
        else:
            sound = np.stack([np.sin(n * cycles) / n for n in ((1,) if kind == 0 else (1, 2, 3, 4))]).sum(0)
        made.append(rng.uniform(0.1, 0.4) * sound * np.exp(-math.log(1000) / decay * time))
        kinds.append(kind)
        pitches.append(None if kind == 2 else float(note))
        decays.append(float(decay))
    known: dict[str, list[Any]] = {"label": kinds, "pitch": pitches, "decay": decays}
    return torch.from_numpy(np.stack(made)).float()[:, None], known


class Known(Split):
    def __init__(self, samples: Tensor, columns: Mapping[str, Sequence[Any]]) -> None:
        self.samples, self.columns = samples, columns
        kinds: dict[str, Condition] = {"label": ClassLabel(NAMES), "pitch": Scalar(70, 6), "decay": Scalar(0.3, 0.1)}
        kinds["played"] = ClassLabel(("no", "yes"))
        self.conditions = {name: kinds[name] for name in columns}

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Item:
        known = {n: v[index] for n, v in self.columns.items() if v[index] is not None}
        return Item(Clip(self.samples[index], RATE), known)


TRAIN, HELDOUT = Known(*sounds(240, 1)), Known(*sounds(90, 2))


def subject(
    samples: Tensor, columns: Mapping[str, Sequence[Any]], *, train: Split | None = None, heldout: Split | None = None
) -> Evaluation:
    clips = [Clip(sound, RATE) for sound in samples]
    return Evaluation(values=clips, conditions=columns, train=train or TRAIN, heldout=heldout or HELDOUT)


def scored(evaluation: Evaluation, **settings: Any) -> dict[str, Score]:
    return {score.name: score for score in AudioMetrics(**{"max_clips": 3200, **settings})(evaluation)}


def certain(evaluation: Evaluation) -> dict[tuple[str, str], Shift]:
    """The shifts that chance does not explain."""
    found = [shift for attribute in evaluation.attributes for shift in shifts(attribute)]
    return {(shift.attribute, shift.of): shift for shift in found if shift.certain}


def test_real_sounds_score_like_real_sounds() -> None:
    evaluation = subject(HELDOUT.samples, HELDOUT.columns)
    scores = scored(evaluation)
    assert list(scores) == [*ACCURACY, *ATTRIBUTES, *SETS, *COPIES, *LEVELS]
    for name in (*ACCURACY, *ATTRIBUTES, *LEVELS[1:], *COPIES):
        assert scores[name].value == scores[name].real, name
    assert scores["conditional accuracy"].value >= 0.97
    assert scores["pitch as asked"].value >= 0.95
    assert scores["decay as asked"].value >= 0.9
    assert scores["Fréchet distance"].value == pytest.approx(0, abs=1e-6)
    # Each sound beside itself, which the unbiased estimate leaves out of the real set alone.
    assert -2 * 100 / len(HELDOUT) < scores["kernel distance"].value < 0
    for name in ("precision", "recall", "density", "coverage"):
        assert scores[name].value == 1
        assert scores[name].real > 0.8
    assert scores["level difference"].value == 0
    assert scores["silent share"].value == scores["clipped share"].value == 0
    confusion = np.array(evaluation.details["confusion"]["asked by predicted"])
    assert confusion.sum() == len(HELDOUT)
    assert all(math.isfinite(score.value) and math.isfinite(score.real) for score in scores.values())
    names = ["label", "pitch (MIDI)", "decay (log2 s)", "level (dB)", "sounding (s)", "centroid (Hz)"]
    assert [attribute.name for attribute in evaluation.attributes] == names
    assert not certain(evaluation)


def test_wrong_answers_and_copies_are_found_out() -> None:
    """Copies of the training clips, asked to be another class, three semitones higher and half as long."""
    columns = {
        "label": [(kind + 1) % 3 for kind in TRAIN.columns["label"]],
        "pitch": [None if p is None else p + 3 for p in TRAIN.columns["pitch"]],
        "decay": [d / 2 for d in TRAIN.columns["decay"]],
    }
    scores = scored(subject(TRAIN.samples, columns))
    assert scores["conditional accuracy"].value < 0.05
    assert scores["pitch as asked"].value < 0.05
    assert scores["decay as asked"].value < 0.05
    assert scores["memorised share"].value == 1
    assert scores["memorised share"].real < 0.8
    assert scores["nearest-neighbour ratio"].value == 0
    assert scores["nearest-neighbour ratio"].real == 1


def test_pitch_is_counted_to_fifty_cents() -> None:
    for cents, share in ((40, 1.0), (-40, 1.0), (60, 0.0), (-60, 0.0)):
        moved = [None if p is None else p + cents / 100 for p in HELDOUT.columns["pitch"]][:30]
        scores = scored(subject(HELDOUT.samples[:30], {"pitch": moved}), max_clips=64, decay=None)
        assert scores["pitch as asked"].value == pytest.approx(share, abs=0.05)
        assert f"{sum(p is not None for p in moved)} samples" in scores["pitch as asked"].about


def test_noise_is_found_out() -> None:
    noise = 0.1 * torch.randn(90, 1, LENGTH, generator=torch.Generator().manual_seed(0))
    scores = scored(subject(noise, {}))
    assert list(scores) == [*SETS, *COPIES, *LEVELS], "nothing was asked for, so nothing can be as asked"
    assert scores["coverage"].value < 0.3 < 0.8 < scores["coverage"].real
    assert scores["Fréchet distance"].value > 10 * scores["Fréchet distance"].real
    assert scores["kernel distance"].value > 20 > 5 > scores["kernel distance"].real
    assert scores["kernel distance / noise"].value == pytest.approx(1, abs=0.1)
    assert scores["kernel distance / noise"].real < 0.1
    assert scores["memorised share"].value < 0.2
    assert scores["nearest-neighbour ratio"].value > 1


@pytest.mark.parametrize(
    ("change", "name", "least"),
    [
        (lambda x: x * 0, "silent share", 1.0),
        (lambda x: x * 20, "clipped share", 0.9),
        (lambda x: x + 0.05, "DC offset", 0.045),
        (lambda x: x / 2, "level difference", 5.9),
    ],
)
def test_a_fault_of_level_is_found_out(change: Any, name: str, least: float) -> None:
    scores = scored(subject(change(HELDOUT.samples), HELDOUT.columns), max_clips=64)
    assert scores[name].value >= least
    assert scores[name].real < least / 5


def test_one_class_alone_is_an_imbalance() -> None:
    tones = HELDOUT.samples[0::3].repeat(3, 1, 1)
    scores = scored(subject(tones, HELDOUT.columns))
    assert scores["class imbalance"].value == pytest.approx(2 / 3, abs=0.05)
    assert scores["recall"].value < 0.6
    assert scores["Vendi score"].value < 0.7 * scores["Vendi score"].real


# Shifts


@pytest.mark.parametrize(
    ("change", "name", "least", "most"),
    [
        (lambda x: x / 2, "level (dB)", -6.5, -5.5),
        (lambda x: torch.where(torch.arange(LENGTH) < LENGTH // 4, x, 0.0), "sounding (s)", -0.25, -0.05),
        (lambda x: (x + x.roll(1, -1) + x.roll(2, -1) + x.roll(3, -1)) / 4, "centroid (Hz)", -2000, -100),
    ],
)
def test_a_change_of_sounds_shifts_what_it_changes(change: Any, name: str, least: float, most: float) -> None:
    """Softer, shorter, duller: the shift is certain, and what is loud alone is no longer or brighter for it."""
    evaluation = subject(change(TRAIN.samples), {})
    scored(evaluation, max_clips=64)
    shift = certain(evaluation)[name, "mean"]
    assert least < shift.samples - shift.real < most
    if name == "level (dB)":
        assert not {("sounding (s)", "mean"), ("centroid (Hz)", "mean")} & certain(evaluation).keys()


def test_a_set_of_high_notes_shifts_the_pitch_by_what_they_are_higher() -> None:
    """Of held-out clips those above the middle: the shift is that of their notes, and decays are as they were."""
    notes = HELDOUT.columns["pitch"]
    high = [row for row, note in enumerate(notes) if note is not None and note > 70]
    columns = {name: [values[row] for row in high] for name, values in HELDOUT.columns.items()}
    evaluation = subject(HELDOUT.samples[high], columns)
    scored(evaluation, max_clips=64)
    found = certain(evaluation)
    expected = np.mean(columns["pitch"]) - np.mean([note for note in notes if note is not None])
    assert found["pitch (MIDI)", "mean"].samples - found["pitch (MIDI)", "mean"].real == pytest.approx(
        expected, abs=0.2
    )
    assert expected > 3
    assert ("decay (log2 s)", "mean") not in found


def test_one_class_in_place_of_others_shifts_all_of_them() -> None:
    """Also in a class that has no classifier of its own; labels in no relation to the sounds cannot tell it."""
    parts = {}
    for name, seed in (("train", None), ("heldout", None), ("mixed", 0)):
        split = HELDOUT if name == "heldout" else TRAIN
        played = [int(kind != 2) for kind in split.columns["label"]]
        played = played if seed is None else np.random.default_rng(seed).permutation(played).tolist()
        parts[name] = Known(split.samples, {"label": split.columns["label"], "played": played})
    hisses = HELDOUT.samples[2::3].repeat(3, 1, 1)
    right = {}
    for name in ("train", "mixed"):
        evaluation = subject(hisses, {}, train=parts[name], heldout=parts["heldout"])
        scored(evaluation)
        right[name] = evaluation.details["held-out classes told rightly"]["played"]
        if name == "train":
            found = certain(evaluation)
    assert {key: shift.samples - shift.real for key, shift in found.items() if key[0] in ("label", "played")} == (
        pytest.approx(
            {
                ("label", "tone"): -1 / 3, ("label", "buzz"): -1 / 3, ("label", "hiss"): 2 / 3,
                ("played", "no"): 2 / 3, ("played", "yes"): -2 / 3,
            },
            abs=0.08,
        )
    )  # fmt: skip
    assert right["train"] > 0.95
    assert right["mixed"] < 0.8, "mixed labels are noticed"


def test_silence_shifts_its_level_and_has_no_colour() -> None:
    evaluation = subject(0 * HELDOUT.samples, HELDOUT.columns)
    scored(evaluation, max_clips=64)
    found = certain(evaluation)
    assert found["level (dB)", "mean"].samples == -120
    assert found["sounding (s)", "mean"].samples == 0
    known = {attribute.name for attribute in evaluation.attributes if shifts(attribute)}
    assert not known & {"pitch (MIDI)", "decay (log2 s)", "centroid (Hz)"}


def test_without_classes_sets_are_compared_by_principal_components() -> None:
    bare = {"train": Known(TRAIN.samples, {}), "heldout": Known(HELDOUT.samples, {})}
    scores = scored(subject(0.3 * torch.randn(90, 1, LENGTH), {}, **bare))
    assert list(scores) == [*SETS, *COPIES, *LEVELS]
    assert all("principal components" in scores[name].about for name in SETS if "noise" not in name)
    assert scores["coverage"].value < 0.05 < 0.8 < scores["coverage"].real


def test_lengths_that_differ_are_cut_and_filled() -> None:
    """A decoder gives whole frames, and real clips need not fill them."""
    longer = torch.nn.functional.pad(HELDOUT.samples, (0, 50), value=0.9)
    shorter = HELDOUT.samples[..., :-50]
    exact, cut, filled = (scored(subject(x, HELDOUT.columns), max_clips=64) for x in (HELDOUT.samples, longer, shorter))
    assert exact == cut
    assert filled["Fréchet distance"].value < 0.1


def test_the_same_seed_gives_the_same_scores() -> None:
    first, second = (scored(subject(HELDOUT.samples, HELDOUT.columns), max_clips=64) for _ in range(2))
    assert first == second


def test_too_few_sounds_and_such_that_are_not_finite_are_named() -> None:
    with pytest.raises(ConfigError, match=r"n=5: .* need 6 samples"):
        scored(subject(HELDOUT.samples[:5], {}))
    few = Known(HELDOUT.samples[:3], {})
    with pytest.raises(DataError, match="held-out part of the data has 3 clips"):
        scored(subject(HELDOUT.samples, {}, heldout=few))
    with pytest.raises(DataError, match="not finite"):
        scored(subject(HELDOUT.samples * math.nan, {}))


def test_kernel_distance_is_that_of_its_definition() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((7, 3)), rng.standard_normal((5, 3)) + 1
    far = float(np.median([np.linalg.norm(a - b) for i, a in enumerate(x) for b in x[:i]]))

    def kernel(a: Any, b: Any) -> float:
        return math.exp(-(float(np.linalg.norm(a - b)) ** 2) / (2 * far**2))

    within = [np.mean([kernel(a, b) for i, a in enumerate(z) for j, b in enumerate(z) if i != j]) for z in (x, y)]
    expected = sum(within) - 2 * np.mean([kernel(a, b) for a in x for b in y])
    # Of an even number of distances, torch's median is the lower one of the middle two; here there are 21.
    assert kernel_distance(x, y) == pytest.approx(expected, rel=1e-9)
    with pytest.raises(ValueError, match="at least two"):
        kernel_distance(x, y[:1])


def test_kernel_distance_is_unbiased() -> None:
    """Around zero for equal distributions at any number of samples; a biased estimate is not."""
    rng = np.random.default_rng(0)
    draws = [kernel_distance(rng.standard_normal((40, 4)), rng.standard_normal((10, 4))) for _ in range(200)]
    error = np.std(draws) / math.sqrt(len(draws))
    assert abs(np.mean(draws)) < 3 * error
    assert 3 * error < 1 / 10, "the diagonal that a biased estimate keeps is larger than what this test can see"


@pytest.mark.parametrize(("rate", "length", "channels"), [(8000, 100, 1), (8000, 40_000, 2), (44_100, 30_000, 1)])
def test_the_classifier_takes_sounds_of_any_length_and_rate(rate: int, length: int, channels: int) -> None:
    heard = LogMel(rate)(0.1 * torch.randn(5, channels, length, generator=torch.Generator().manual_seed(0)))
    assert heard.shape[2] <= 64
    assert heard.min() >= -1
    model = train_classifier(heard, torch.tensor([0, 1, 2, 0, 1]), 3, epochs=1, max_clips=10, seed=0)
    assert classify(model, heard).features.shape == (5, 128)


def test_log_mel_counts_decibels_from_a_sine_at_full_scale() -> None:
    time = torch.arange(8000) / RATE
    sine = torch.sin(2 * math.pi * 1000 * time)[None, None]
    loud, soft, none = (LogMel(RATE)(sine * level).amax() for level in (1.0, 0.01, 0.0))
    assert float(loud) == pytest.approx(0, abs=0.1)
    assert float(loud - soft) == pytest.approx(40 / 80, abs=1e-3)
    assert float(none) == -1


def test_a_spectrogram_knows_how_bright_and_how_long_it_is() -> None:
    time = torch.arange(8000) / RATE
    hear = LogMel(RATE)
    heard = hear(
        torch.stack([torch.sin(2 * math.pi * f * time) * (time < end) for f, end in ((500, 1), (2000, 0.25))])[:, None]
    )
    assert hear.centroid(heard).tolist() == pytest.approx([500, 2000], rel=0.05)
    assert hear.sounding(heard).tolist() == pytest.approx([1, 0.25], abs=0.05)
    softer = hear.sounding(heard - 0.2 * (heard > -1))
    assert softer.tolist() == hear.sounding(heard).tolist(), "how loud it is does not matter"


def test_the_classifier_hears_every_moment_and_band() -> None:
    torch.manual_seed(0)
    model = Classifier(2).eval()
    with torch.no_grad():
        quiet = torch.full((1, 39, 33), -1.0)
        for band, frame in [(0, 0), (38, 32), (20, 10)]:
            changed = quiet.clone()
            changed[0, band, frame] = 0.0
            assert not torch.equal(model.features(quiet), model.features(changed))


def test_principal_components_keep_the_distances_of_few_sounds() -> None:
    heard = torch.randn(20, 6, 6)
    projected = torch.from_numpy(principal_components(heard)(heard))
    torch.testing.assert_close(torch.pdist(projected), torch.pdist(heard.double().flatten(1)))
