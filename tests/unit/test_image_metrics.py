"""The metrics of images on real digits: what real images, copies, noise and wrong labels score."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from suffuse.bias import shifts
from suffuse.data import Evaluation, Score
from suffuse.errors import ConfigError, DataError
from suffuse_image.classifier import Classifier, classify, train_classifier
from suffuse_image.data import Digits, ImageSplit
from suffuse_image.metrics import ClassifierMetrics, principal_components

NAMES = [
    "Fréchet distance",
    "Vendi score",
    "precision",
    "recall",
    "density",
    "coverage",
    "memorised share",
    "nearest-neighbour ratio",
]


@pytest.fixture(scope="module")
def digits() -> Digits:
    return Digits()


def images_of(split: ImageSplit) -> tuple[Tensor, list[int]]:
    batch = split.gather(range(len(split)))
    return batch.values, batch.conditions["label"].tolist()


def subject(digits: Any, values: Tensor | NDArray[np.uint8], labels: Sequence[int | None] | None) -> Evaluation:
    conditions = {} if labels is None else {"label": labels}
    return Evaluation(
        values=list(np.asarray(values)), conditions=conditions, train=digits.train, heldout=digits.heldout
    )


def scored(evaluation: Evaluation, **settings: Any) -> dict[str, Score]:
    return {score.name: score for score in ClassifierMetrics(**{"epochs": 4, **settings})(evaluation)}


def test_the_default_classifier_knows_digits_that_it_has_not_seen(digits: Digits) -> None:
    images, labels = images_of(digits.train)
    model = train_classifier(images, torch.tensor(labels), 10, epochs=15, max_images=90_000, seed=0)
    unseen, truth = images_of(digits.heldout)
    assert (classify(model, unseen).predicted == truth).mean() >= 0.97


def test_real_images_score_like_real_images(digits: Digits) -> None:
    images, labels = images_of(digits.heldout)
    evaluation = subject(digits, images, labels)
    scores = scored(evaluation)
    assert list(scores) == ["conditional accuracy", *NAMES]
    accuracy = scores["conditional accuracy"]
    assert accuracy.value == accuracy.real > 0.95
    assert scores["Fréchet distance"].value == pytest.approx(0, abs=1e-6)
    assert scores["Fréchet distance"].real > 0.1
    for name in ("precision", "recall", "density", "coverage"):
        assert scores[name].value == 1
        assert scores[name].real > 0.9
    assert scores["memorised share"].value == scores["memorised share"].real
    assert scores["nearest-neighbour ratio"].value == 1
    assert not any(shift.certain for attribute in evaluation.attributes for shift in shifts(attribute))
    confusion = np.array(evaluation.details["confusion"]["asked by predicted"])
    assert confusion.sum() == len(images)
    assert confusion.trace() == pytest.approx(accuracy.value * len(images))


def test_wrong_labels_and_copies_are_found_out(digits: Digits) -> None:
    images, labels = images_of(digits.train)
    shuffled = np.random.default_rng(0).permutation(labels).tolist()
    scores = scored(subject(digits, images, shuffled))
    assert scores["conditional accuracy"].value == pytest.approx(0.1, abs=0.04)
    assert scores["memorised share"].value == 1
    assert scores["nearest-neighbour ratio"].value == 0
    assert scores["memorised share"].real < 0.6
    assert scores["coverage"].value == scores["coverage"].real > 0.9


def test_noise_is_found_out(digits: Digits) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (500, 1, 8, 8), dtype=np.uint8)
    scores = scored(subject(digits, noise, None))
    assert list(scores) == NAMES, "nothing was asked for, so there is no accuracy"
    assert scores["coverage"].value < 0.25 < 0.9 < scores["coverage"].real
    assert scores["Fréchet distance"].value > 10 * scores["Fréchet distance"].real
    assert scores["memorised share"].value < 0.05


def test_one_class_in_place_of_another_shifts_its_share(digits: Digits) -> None:
    """All threes become eights: both shares move by a tenth, the others by nothing that is certain."""
    images, labels = images_of(digits.heldout)
    wanted = torch.tensor(labels)
    eights = (wanted == 8).nonzero().flatten()
    images = images.clone()
    threes = (wanted == 3).nonzero().flatten()
    images[threes] = images[eights[torch.arange(len(threes)) % len(eights)]]
    evaluation = subject(digits, images, labels)
    scored(evaluation)
    certain = {s.of: s.samples - s.real for a in evaluation.attributes for s in shifts(a) if s.certain and a.classes}
    assert set(certain) == {"3", "8"}
    assert (certain["8"], certain["3"]) == pytest.approx((0.1, -0.1), abs=0.02)


def test_both_columns_hold_equal_numbers(digits: Digits) -> None:
    images, _ = images_of(digits.heldout)
    scores = scored(subject(digits, images[:100], None))
    assert "as many training images as samples, 100" in scores["coverage"].about
    held = len(digits.heldout)
    expected = 1 - math.prod((held - i) / (held + 100 - i) for i in range(1, 6))
    assert scores["coverage"].real == pytest.approx(expected, abs=0.15)
    assert expected < 0.75, "far below that of the full set, so that a column of another size would not compare"


def test_without_classes_sets_are_compared_by_pixels(digits: Digits) -> None:
    def bare(split: ImageSplit) -> ImageSplit:
        values, _ = images_of(split)
        rows = np.arange(len(values))
        return ImageSplit(images=values, rows=rows, shape=(8, 8), conditions={}, columns={})

    class Bare:
        train, heldout = bare(digits.train), bare(digits.heldout)

    noise = np.random.default_rng(0).integers(0, 256, (300, 1, 8, 8), dtype=np.uint8)
    scores = scored(subject(Bare, noise, None))
    assert list(scores) == NAMES
    assert all("principal components of pixels" in scores[name].about for name in NAMES[:-2])
    assert scores["coverage"].value < 0.05 < 0.9 < scores["coverage"].real


def test_the_same_seed_gives_the_same_scores(digits: Digits) -> None:
    images, labels = images_of(digits.heldout)
    first, second = (scored(subject(digits, images, labels), epochs=1) for _ in range(2))
    assert first == second


def test_too_few_images_are_named(digits: Digits) -> None:
    images, _ = images_of(digits.heldout)
    with pytest.raises(ConfigError, match=r"n=5: .* need 6 samples"):
        scored(subject(digits, images[:5], None))
    with pytest.raises(DataError, match="held-out part of the data has 0 images"):
        scored(subject(Digits(heldout=0), images, None))


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 28, 28), (3, 33, 50), (1, 1, 5)])
def test_the_classifier_takes_images_of_any_size(shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.integers(0, 256, (5, *shape), dtype=np.uint8))
    model = train_classifier(images, torch.tensor([0, 1, 2, 0, 1]), 3, epochs=1, max_images=100, seed=0)
    assert classify(model, images).features.shape == (5, 128)


def test_the_classifier_sees_every_pixel() -> None:
    torch.manual_seed(0)
    model = Classifier(3, 33, 2).eval()
    with torch.no_grad():
        grey = torch.full((1, 3, 33, 20), 128, dtype=torch.uint8)
        for place in [(0, 0), (32, 19), (16, 10)]:
            changed = grey.clone()
            changed[..., place[0], place[1]] = 255
            assert not torch.equal(model.features(grey), model.features(changed))


def test_principal_components_keep_the_distances_of_small_images() -> None:
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (20, 1, 6, 6), dtype=np.uint8))
    projected = torch.from_numpy(principal_components(images)(images))
    expected = torch.pdist(images.double().flatten(1) / 127.5)
    torch.testing.assert_close(torch.pdist(projected), expected)
