"""The figures that compare two sets of samples, against closed forms and against the definitions spelled out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.linalg import sqrtm
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from suffuse import metrics
from suffuse.metrics import (
    effective_number,
    frechet_distance,
    median_ratio,
    memorised_share,
    nearest_ratio,
    precision_recall_density_coverage,
    vendi_score,
)

Array = NDArray[np.float64]


def normal(count: int, dim: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal((count, dim))


def exact(count: int, mean: Array, cov: Array) -> Array:
    """Points whose sample mean and covariance are the given ones."""
    x = normal(count, len(mean))
    x -= x.mean(0)
    white = x @ np.linalg.inv(np.linalg.cholesky(np.cov(x.T))).T
    return white @ np.linalg.cholesky(cov).T + mean


def covariance(dim: int, seed: int) -> Array:
    root = normal(dim, dim, seed)
    return root @ root.T + 0.1 * np.eye(dim)


# Fréchet distance


def test_frechet_distance_of_round_gaussians() -> None:
    shift, spread = np.array([3.0, -1.0, 0.5]), 2.5
    a, b = exact(50, np.zeros(3), np.eye(3)), exact(70, shift, spread**2 * np.eye(3))
    assert frechet_distance(a, b) == pytest.approx(shift @ shift + 3 * (spread - 1) ** 2, rel=1e-10)


def test_frechet_distance_where_covariances_do_not_commute() -> None:
    cov_a, cov_b = covariance(5, 1), covariance(5, 2)
    shift = normal(1, 5, 3)[0]
    expected = shift @ shift + np.trace(cov_a + cov_b - 2 * sqrtm(cov_a @ cov_b).real)
    a, b = exact(40, np.zeros(5), cov_a), exact(60, shift, cov_b)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-8)
    assert frechet_distance(b, a) == pytest.approx(expected, rel=1e-8)
    without_cross_term = shift @ shift + np.sum((np.sqrt(np.diag(cov_a)) - np.sqrt(np.diag(cov_b))) ** 2)
    assert without_cross_term != pytest.approx(expected, rel=0.05)


def test_frechet_distance_of_a_set_to_itself_is_zero_and_never_negative() -> None:
    few = normal(5, 20)  # a singular covariance
    assert 0 <= frechet_distance(few, few) < 1e-6
    assert frechet_distance(few, few + 1) == pytest.approx(20, rel=1e-6)


def test_frechet_distance_takes_tensors_and_rotations() -> None:
    a, b = normal(30, 4), 2 * normal(30, 4, 1) + 1
    turn = np.linalg.qr(normal(4, 4, 2))[0]
    assert frechet_distance(a @ turn, b @ turn) == pytest.approx(frechet_distance(a, b), rel=1e-9)
    assert frechet_distance(torch.from_numpy(a), torch.from_numpy(b)) == frechet_distance(a, b)


def test_frechet_distance_is_biased_upwards_in_small_sets() -> None:
    def mean(count: int) -> float:
        pairs = [(normal(count, 8, 2 * s), normal(count, 8, 2 * s + 1)) for s in range(20)]
        return float(np.mean([frechet_distance(a, b) for a, b in pairs]))

    assert mean(50) > 2 * mean(200) > 0


# Precision, recall, density, coverage


def by_definition(real: Array, fake: Array, k: int, *, counts_itself: bool = False) -> tuple[float, ...]:
    """Naeem et al. 2020 in plain loops; ``counts_itself`` makes the classic mistake."""
    place = k - 1 if counts_itself else k
    reach_real = [sorted(math.dist(a, b) for b in real)[place] for a in real]
    reach_fake = [sorted(math.dist(a, b) for b in fake)[place] for a in fake]
    inside = [[math.dist(x, y) < r for x, r in zip(real, reach_real, strict=True)] for y in fake]
    back = [[math.dist(x, y) < r for y, r in zip(fake, reach_fake, strict=True)] for x in real]
    return (
        float(np.mean([any(row) for row in inside])),
        float(np.mean([any(row) for row in back])),
        float(np.sum(inside)) / (k * len(fake)),
        float(np.mean(np.any(inside, axis=0))),
    )


def figures(real: Any, fake: Any, k: int = 5) -> tuple[float, ...]:
    found = precision_recall_density_coverage(real, fake, k)
    return found.precision, found.recall, found.density, found.coverage


@pytest.mark.parametrize("k", [1, 3])
def test_neighbourhoods_are_those_of_the_definition(k: int) -> None:
    real, fake = normal(40, 3), 0.7 * normal(30, 3, 1) + 0.5
    assert figures(real, fake, k) == pytest.approx(by_definition(real, fake, k))
    assert figures(real, fake, k) != pytest.approx(by_definition(real, fake, k, counts_itself=True))


def test_a_set_agrees_with_itself_and_not_with_a_far_one() -> None:
    real = normal(50, 3)
    assert figures(real, real) == (1, 1, 1, 1)
    assert figures(real, real + 100) == (0, 0, 0, 0)


def test_fresh_samples_of_the_real_distribution_score_what_theory_says() -> None:
    n, m, k = 60, 40, 3
    trials = [precision_recall_density_coverage(normal(n, 2, 2 * s), normal(m, 2, 2 * s + 1), k) for s in range(150)]
    expected = 1 - math.prod((n - i) / (n + m - i) for i in range(1, k + 1))
    assert np.mean([t.density for t in trials]) == pytest.approx(1, abs=0.03)
    assert np.mean([t.coverage for t in trials]) == pytest.approx(expected, abs=0.015)


def test_a_lost_mode_costs_coverage_and_recall_but_no_precision() -> None:
    real = np.concatenate([normal(100, 2), normal(100, 2, 1) + 50])
    found = precision_recall_density_coverage(real, normal(100, 2, 2))
    assert found.precision > 0.9
    assert found.recall == pytest.approx(0.5, abs=0.05)
    assert found.coverage == pytest.approx(0.5, abs=0.05)


# Memorised share


def memorised_by_definition(train: Array, x: Array) -> float:
    distances, spacing = cdist(x, train), cdist(train, train)
    np.fill_diagonal(spacing, np.inf)
    nearest = distances.argmin(1)
    return float(np.mean(distances.min(1) <= spacing.min(1)[nearest]))


def test_memorised_share_is_that_of_the_definition() -> None:
    train, x = normal(60, 4), normal(40, 4, 1)
    expected = memorised_by_definition(train, x)
    assert 0.1 < expected < 0.9
    assert memorised_share(train, x) == pytest.approx(expected)


def test_copies_are_memorised_and_distant_samples_are_not() -> None:
    train = normal(60, 4)
    assert memorised_share(train, train[:20]) == 1
    assert memorised_share(train, train[:20] + 1e-3) == 1
    assert memorised_share(train, train[:20] + 50) == 0
    assert memorised_share(train, np.concatenate([train[:10], train[:30] + 50])) == 0.25


def test_a_copy_of_an_image_that_is_there_twice_is_memorised() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (30, 3, 64, 64), dtype=np.uint8)
    train = np.concatenate([images, images])
    assert memorised_share(train, images) == 1
    almost = images.copy()
    almost[:, 0, 0, 0] ^= 1
    assert memorised_share(train, almost) == 0


# Against the packages of those who proposed them


@pytest.mark.parametrize(("count", "dim", "k"), [(300, 6, 5), (60, 3, 1), (90, 150, 3)])
def test_neighbourhoods_are_those_of_the_reference_package(count: int, dim: int, k: int) -> None:
    prdc = pytest.importorskip("prdc")
    real, fake = normal(count, dim), 0.8 * normal(200, dim, seed=1) + 0.3
    expected = prdc.compute_prdc(real, fake, nearest_k=k)
    found = precision_recall_density_coverage(real, fake, k)
    for name in ("precision", "recall", "density", "coverage"):
        assert getattr(found, name) == pytest.approx(expected[name], abs=1e-12), name


@pytest.mark.parametrize("shape", [(300, 6), (20, 50)])
def test_vendi_score_is_that_of_the_reference_package(shape: tuple[int, int]) -> None:
    vendi = pytest.importorskip("vendi_score.vendi")
    x = normal(*shape)
    assert vendi_score(x) == pytest.approx(vendi.score_dual(x), rel=1e-8)
    near = np.exp(-cdist(x, x))
    assert effective_number(near) == pytest.approx(vendi.score_K(near), rel=1e-8)


# Vendi score


def test_vendi_score_counts_what_differs() -> None:
    """One for one direction, N for right angles; for unequal shares between the two, e to their entropy."""
    assert vendi_score(np.outer([1.0, 2.0, 5.0], [1.0, 1.0])) == pytest.approx(1, abs=1e-9)
    assert vendi_score(3 * np.eye(7)) == pytest.approx(7)
    shares = np.array([0.5, 0.25, 0.25])
    assert vendi_score(np.repeat(np.eye(3), [2, 1, 1], 0)) == pytest.approx(math.exp(-(shares * np.log(shares)).sum()))
    assert vendi_score(np.repeat(np.eye(3), [2, 1, 1], 0)) != pytest.approx(3, abs=0.1)  # a count of kinds is noticed


def test_an_effective_number_is_that_of_any_similarity() -> None:
    assert effective_number(np.ones((5, 5))) == pytest.approx(1)
    assert effective_number(np.eye(5)) == pytest.approx(5)
    for likeness in (0.2, 0.7):  # of two: the eigenvalues are known
        shares = np.array([1 + likeness, 1 - likeness]) / 2
        expected = math.exp(-(shares * np.log(shares)).sum())
        assert effective_number([[1, likeness], [likeness, 1]]) == pytest.approx(expected)  # type: ignore[arg-type]
        assert expected != pytest.approx(1 / (shares**2).sum(), abs=0.005)  # another order of entropy is noticed
    x = normal(30, 4)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    assert effective_number(unit @ unit.T) == pytest.approx(vendi_score(x))


def test_vendi_score_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="row of zeros"):
        vendi_score(np.zeros((3, 2)))


# Nearest-neighbour ratio


def ratio_by_tree(train: Array, x: Array, heldout: Array, *, k: int = 1, mean: bool = False, power: int = 1) -> float:
    """By scipy's search; another neighbour, means and squares make mistakes."""
    tree = cKDTree(train)
    own, scale = (tree.query(part, [k])[0] ** power for part in (x, heldout))
    return float(own.mean() / scale.mean()) if mean else float(np.median(own) / np.median(scale))


@pytest.mark.parametrize("counts", [(2, 1, 1), (9, 4, 7), (60, 51, 80), (800, 300, 201)])
@pytest.mark.parametrize("dim", [1, 5, 40])
def test_nearest_ratio_is_that_of_another_search(counts: tuple[int, int, int], dim: int) -> None:
    train, x, heldout = (normal(count, dim, seed) for seed, count in enumerate(counts))
    x = 0.6 * x + 0.3
    found = nearest_ratio(train, x, heldout)
    assert found == pytest.approx(ratio_by_tree(train, x, heldout), rel=1e-9)
    assert found != pytest.approx(ratio_by_tree(train, x, heldout, k=2), rel=1e-4)
    assert found != pytest.approx(ratio_by_tree(train, x, heldout, power=2), rel=1e-4)
    if min(counts) > 1:
        assert found != pytest.approx(ratio_by_tree(train, x, heldout, mean=True), rel=1e-4)
    assert nearest_ratio(train, heldout, x) == pytest.approx(1 / found)


def test_nearest_ratio_of_whole_numbers_is_that_of_another_search() -> None:
    rng = np.random.default_rng(0)
    train, x, heldout = (rng.integers(0, 256, (count, 3, 4, 4), dtype=np.uint8) for count in (90, 41, 60))
    expected = ratio_by_tree(*(part.reshape(len(part), -1).astype(float) for part in (train, x // 2, heldout)))
    assert nearest_ratio(train, x // 2, heldout) == pytest.approx(expected, rel=1e-9)


def test_nearest_ratio_of_copies_is_exactly_zero() -> None:
    """Also far from the origin, where distances by way of products are rounded most, and where a few are no copies."""
    train, heldout = normal(300, 4) + 1e4, normal(100, 4, seed=1) + 1e4
    assert nearest_ratio(train, train[200:], heldout) == 0
    assert nearest_ratio(train, np.concatenate([train[:60], heldout[:40]]), heldout) == 0
    assert ratio_by_tree(train, np.concatenate([train[:60], heldout[:40]]), heldout, mean=True) > 0.1


def test_nearest_ratio_of_halves_of_real_data_is_one() -> None:
    ratios = [nearest_ratio(normal(300, 4, s), *np.split(normal(400, 4, 1000 + s), 2)) for s in range(30)]
    assert np.mean(ratios) == pytest.approx(1, abs=0.04)


def test_nearest_ratio_knows_no_order_place_turn_or_unit() -> None:
    rng = np.random.default_rng(3)
    train, x, heldout = parts = normal(80, 6), 0.5 * normal(40, 6, 1), normal(50, 6, 2)
    found = nearest_ratio(train, x, heldout)
    turn, columns = np.linalg.qr(normal(6, 6, 3))[0], rng.permutation(6)
    assert nearest_ratio(*map(rng.permutation, parts)) == pytest.approx(found)
    assert nearest_ratio(*(part[:, columns] for part in parts)) == pytest.approx(found)
    assert nearest_ratio(*(3 * part @ turn + 7 for part in parts)) == pytest.approx(found)
    assert nearest_ratio(*(part * [9, 1, 1, 1, 1, 1] for part in parts)) != pytest.approx(found, rel=0.01)


def test_nearest_ratio_is_one_for_fresh_data_and_falls_with_copying() -> None:
    train, fresh, heldout = normal(400, 4), normal(300, 4, seed=1), normal(300, 4, seed=2)
    assert nearest_ratio(train, fresh, heldout) == pytest.approx(1, abs=0.15)
    assert nearest_ratio(train, train[:300] + 1e-3 * fresh, heldout) < 0.01
    assert nearest_ratio(train, heldout, heldout) == 1
    assert nearest_ratio(train, train[:9], train[9:19]) == 1
    assert nearest_ratio(train, fresh, train[:9]) == math.inf


def test_a_ratio_of_medians_is_not_moved_by_a_few() -> None:
    few = np.array([1.0, 2.0, 1000.0])
    assert median_ratio(few, np.array([4.0, 4.0, 5.0])) == 0.5
    assert few.mean() / 4 > 80, "means would be noticed"


# All of them


def test_blocks_do_not_change_any_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    real, fake = normal(50, 3), 0.8 * normal(70, 3, 1)
    whole = figures(real, fake), memorised_share(real, fake)
    monkeypatch.setattr(metrics, "_BLOCK", 210)
    assert (figures(real, fake), memorised_share(real, fake)) == whole


@pytest.mark.parametrize("figure", [frechet_distance, precision_recall_density_coverage, memorised_share])
def test_sets_that_cannot_be_compared_are_refused(figure: Any) -> None:
    good = normal(20, 3)
    with pytest.raises(ValueError, match="3 and 4 values"):
        figure(good, normal(20, 4))
    with pytest.raises(ValueError, match="at least"):
        figure(good[:1], good)
    with pytest.raises(ValueError, match="not finite"):
        figure(good, np.where(good > 1, np.nan, good))


def test_a_neighbour_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 21 samples"):
        precision_recall_density_coverage(normal(20, 3), normal(30, 3), k=20)
    with pytest.raises(ValueError, match="k=0"):
        precision_recall_density_coverage(normal(20, 3), normal(30, 3), k=0)


def test_neighbourhood_scores_tell_samples_from_real_data() -> None:
    """Of samples that lie far off all figures are 0, and of those that stand beside them as real data none is."""
    rng = np.random.default_rng(0)
    reference, substitute = rng.normal(size=(2, 200, 3))
    scores = metrics.neighbourhood_scores(reference, reference + 100, substitute, 5, "dots", "against others")
    assert [score.name for score in scores] == ["precision", "recall", "density", "coverage"]
    assert all(score.value == 0 for score in scores)
    assert all(score.real is not None and score.real > 0.5 for score in scores)
    assert all("dots" in score.about and "against others" in score.about for score in scores)
