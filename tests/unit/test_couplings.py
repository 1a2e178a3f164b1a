"""Which noise goes with which sample: the nearest, of the same noise, among samples that are asked for alike."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from suffuse.errors import ConfigError
from suffuse.fields import Field
from suffuse.layouts import Masked
from suffuse.noise import Draws
from suffuse.plugins import Registry
from suffuse.processes import Discrete, Gaussian, JointProcess
from suffuse.schedules import RectifiedFlow, SquaredCosine
from suffuse.spaces import Categorical, ZeroCenterOfMass
from suffuse.state import State
from suffuse.training import couplings
from suffuse.training.clock import Uniform
from suffuse.training.couplings import OptimalTransport, align
from suffuse.training.objective import Objective
from suffuse.training.weightings import edm
from suffuse.warps import Frozen
from tiny import process

PLANE = process(RectifiedFlow())
CLOUDS = JointProcess(
    {"x": Field(shape=(-1, 3), space=ZeroCenterOfMass(), layout=Masked())}, {"x": Gaussian(RectifiedFlow())}
)


def points(count: int, dim: int = 2, seed: int = 0) -> Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))


def paired(clean: Tensor, conditions: Mapping[str, Tensor] | None = None, seed: int = 0) -> tuple[Tensor, Tensor]:
    """The noise of each row as coupled, and as it would have been."""
    draws = Draws(seed, "corrupt", range(len(clean)))
    made = OptimalTransport()(PLANE, State({"x": clean}), conditions or {}, draws)["x"]
    return made, draws.normal("x", tuple(clean.shape))


def cost(clean: Tensor, noise: Tensor) -> float:
    return float((clean - noise).square().sum())


def excess(clean: Tensor, made: Tensor, noise: Tensor) -> float:
    """How much dearer a pairing is than the cheapest of all permutations."""
    best = min(cost(clean, noise[list(order)]) for order in itertools.permutations(range(len(clean))))
    return cost(clean, made) - best


@pytest.mark.parametrize("seed", range(5))
def test_the_pairing_is_the_cheapest(seed: int) -> None:
    clean = points(5, seed=seed)
    made, noise = paired(clean, seed=seed)
    assert excess(clean, made, noise) == pytest.approx(0, abs=1e-4)
    assert excess(clean, noise, noise) > 0.1


def test_the_dearest_pairing_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutant: a sign."""
    right = couplings._distances
    monkeypatch.setattr(couplings, "_distances", lambda a, b: -right(a, b))
    clean = points(5)
    made, noise = paired(clean)
    assert excess(clean, made, noise) > 1


def same_rows(a: Tensor, b: Tensor) -> bool:
    """Whether two batches hold the same rows, in any order."""
    return sorted(a.flatten(1).tolist()) == sorted(b.flatten(1).tolist())


def test_all_noise_is_used_once() -> None:
    made, noise = paired(points(40))
    assert same_rows(made, noise)
    assert not torch.equal(made, noise)


def test_noise_used_twice_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutant: each sample takes the nearest, whoever has it already."""
    monkeypatch.setattr(couplings, "linear_sum_assignment", lambda cost: (range(len(cost)), cost.argmin(1)))
    made, noise = paired(points(40))
    assert not same_rows(made, noise)


LABELS: dict[str, dict[str, Tensor]] = {
    "classes": {"label": torch.arange(30) % 3},
    "missing": {"label": torch.tensor([0, 1, -1] * 10)},
    "numbers": {"size": torch.tensor([0.5, 1.5, math.nan] * 10)},
    "both": {"label": torch.arange(30) % 2, "size": torch.tensor([0.5, math.nan, math.nan] * 10)},
}


@pytest.mark.parametrize("kind", LABELS)
def test_only_equals_exchange(kind: str) -> None:
    conditions = LABELS[kind]
    made, noise = paired(points(30), conditions)
    rows = torch.stack([value.double().nan_to_num(9.0) for value in conditions.values()], 1)
    for one in set(map(tuple, rows.tolist())):
        group = (rows == torch.tensor(one)).all(1)
        assert same_rows(made[group], noise[group])
        assert not torch.equal(made[group], noise[group])


def test_exchange_across_conditions_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(couplings, "_groups", lambda clean, conditions: [torch.arange(clean.batch_size)])
    with pytest.raises(AssertionError):
        test_only_equals_exchange("classes")


def test_a_number_of_its_own_keeps_its_noise() -> None:
    made, noise = paired(points(6), {"size": torch.arange(6.0)})
    assert torch.equal(made, noise)


def test_classes_keep_their_noise_and_given_fields_have_none() -> None:
    fields = {"x": Field(shape=(2,)), "c": Field(shape=(3,), space=Categorical(3)), "low": Field(shape=(1,))}
    parts = {
        "x": Gaussian(RectifiedFlow()),
        "c": Discrete(SquaredCosine(), (0.5, 0.3, 0.2)),
        "low": Gaussian(RectifiedFlow()),
    }
    joint = JointProcess(fields, parts, {"low": Frozen()})
    draws = Draws(0, "corrupt", range(8))
    clean = State({"x": points(8), "c": torch.zeros(8, 3, dtype=torch.long), "low": torch.zeros(8, 1)})
    made = OptimalTransport()(joint, clean, {}, draws)
    assert set(made) == {"x", "c"}
    assert torch.equal(made["c"], draws.uniform("c", (8, 3)))
    assert not torch.equal(made["x"], draws.normal("x", (8, 2)))


def test_several_fields_go_together() -> None:
    """One permutation for both, the cheapest for their sum."""
    fields = {name: Field(shape=(1,)) for name in "xy"}
    joint = JointProcess(fields, {name: Gaussian(RectifiedFlow()) for name in "xy"})
    clean, draws = points(5), Draws(0, "corrupt", range(5))
    made = OptimalTransport()(joint, State({"x": clean[:, :1], "y": clean[:, 1:]}), {}, draws)
    noise = torch.cat([draws.normal("x", (5, 1)), draws.normal("y", (5, 1))], 1)
    together = torch.cat([made["x"], made["y"]], 1)
    assert same_rows(together, noise)
    assert excess(clean, together, noise) == pytest.approx(0, abs=1e-4)


# Clouds -------------------------------------------------------------------------------------------------------------


def turn(seed: int = 0) -> Tensor:
    """A random rotation."""
    q, r = torch.linalg.qr(points(3, 3, seed))
    q = q * torch.sign(torch.diagonal(r))
    proper: Tensor = q * torch.tensor([1.0, 1.0, float(torch.det(q))])
    return proper


def cloud(seed: int, count: int = 7) -> Tensor:
    value = points(count, 3, seed)
    return value - value.mean(0)


@pytest.mark.parametrize("seed", range(5))
def test_alignment_lies_nearer_and_moves_rigidly(seed: int) -> None:
    moved, target = cloud(seed), cloud(seed + 100)
    made = align(moved, target)
    assert cost(made, target) < 0.8 * cost(moved, target)
    spread = [torch.cdist(each, each).flatten().sort()[0] for each in (moved, made)]
    torch.testing.assert_close(*spread, rtol=1e-4, atol=1e-4)
    assert cost(align(moved, target, rounds=4), target) <= cost(made, target) + 1e-4


def test_no_cloud_is_mirrored() -> None:
    """A nearly flat cloud and its mirror image, which no rotation brings together."""
    target = torch.tensor([[1.0, 0, 0.5], [0, 2, -0.5], [-3, -1, 0.4], [2, -1, -0.4]])
    moved = target * torch.tensor([1.0, 1.0, -1.0])
    made = align(moved, target)
    signed = [torch.det(each[each.norm(dim=1).argsort()][:3]) for each in (moved, made)]
    torch.testing.assert_close(*signed, rtol=1e-4, atol=1e-4)
    assert cost(made, target) > 0.1


def test_a_mirror_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutant: the best orthogonal matrix, whatever its sign."""
    monkeypatch.setattr(torch, "sign", torch.ones_like)
    with pytest.raises(AssertionError):
        test_no_cloud_is_mirrored()


def test_alignment_is_equivariant() -> None:
    """To turning both clouds, and to the order of the target; the order of the noise does not matter."""
    moved, target, q = cloud(0), cloud(1), turn()
    order = torch.tensor([3, 1, 6, 0, 2, 5, 4])
    made = align(moved, target)
    torch.testing.assert_close(align(moved @ q, target @ q), made @ q, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(align(moved, target[order]), made[order], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(align(moved[order], target), made, rtol=1e-4, atol=1e-4)


def clouds(count: int = 6, room: int = 8) -> State:
    """Clouds of 5 and 7 elements in turn."""
    mask = torch.arange(room) < torch.tensor([5, 7])[torch.arange(count) % 2][:, None]
    return State({"x": CLOUDS.fields["x"].project(points(count * room, 3).view(count, room, 3), mask)}, mask)


@pytest.mark.parametrize("turning", [False, True])
def test_padded_clouds_of_equal_size_exchange(turning: bool) -> None:
    clean, draws = clouds(), Draws(0, "corrupt", range(6))
    assert clean.mask is not None
    made = OptimalTransport(turning)(CLOUDS, clean, {}, draws)["x"]
    noise = CLOUDS.fields["x"].tangent(draws.normal("x", (6, 8, 3)), clean.mask)
    assert (made[~clean.mask] == 0).all()
    torch.testing.assert_close(made.sum(1), torch.zeros(6, 3), rtol=0, atol=1e-4)
    for size in (5, 7):
        rows = clean.mask.sum(1) == size
        if not turning:
            assert same_rows(made[rows], noise[rows])
        norms = [sorted(each[rows].square().sum((1, 2)).tolist()) for each in (made, noise)]
        assert norms[0] == pytest.approx(norms[1], rel=1e-4)
    assert cost(made, clean["x"]) < (0.7 if turning else 1.0) * cost(noise, clean["x"])


def test_masks_of_one_size_in_different_places_do_not_exchange() -> None:
    mask = torch.tensor([[1, 1, 1, 0], [0, 1, 1, 1], [1, 1, 1, 0], [0, 1, 1, 1]]).bool()
    clean = State({"x": CLOUDS.fields["x"].project(points(16, 3).view(4, 4, 3), mask)}, mask)
    made = OptimalTransport()(CLOUDS, clean, {}, Draws(0, "corrupt", range(4)))["x"]
    assert (made[~mask] == 0).all()
    assert (made[mask] != 0).all()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"x": Field(shape=(2, 3)), "y": Field(shape=(2, 3))}, "one Gaussian field can be aligned, not x, y"),
        ({"x": Field(shape=(3, 8, 8))}, "the field x is no cloud"),
        ({"x": Field(shape=(-1, 3), layout=Masked()), "atoms": Field(shape=(-1,), layout=Masked())}, "the given field"),
        ({"c": Field(shape=(3,), space=Categorical(3))}, "no field is Gaussian"),
    ],
)
def test_what_cannot_be_paired_is_said(fields: dict[str, Field], said: str) -> None:
    parts: dict[str, Any] = {
        name: Discrete(SquaredCosine(), (0.5, 0.3, 0.2)) if name == "c" else Gaussian(RectifiedFlow())
        for name in fields
    }
    joint = JointProcess(fields, parts, {"atoms": Frozen()} if "atoms" in fields else {})
    values = {name: torch.zeros(2, *(4 if length < 0 else length for length in f.shape)) for name, f in fields.items()}
    clean = State({name: v.long() if name == "c" else v for name, v in values.items()}, torch.ones(2, 4).bool())
    with pytest.raises(ConfigError, match=said) as caught:
        OptimalTransport(align=True)(joint, clean, {}, Draws(0, "corrupt", range(2)))
    assert "\n" not in str(caught.value)


# What it is for -----------------------------------------------------------------------------------------------------


def restlessness(coupled: bool) -> float:
    """The share of the velocity's variance that the place x_t does not tell, over all times: 0 on straight paths.

    By the nearest neighbours of each place; data are a ring of eight points, in batches of 128.
    """
    angle = 2 * math.pi * torch.arange(128) / 8
    clean = 2 * torch.stack([angle.cos(), angle.sin()], 1)
    starts, ends = [], []
    for batch in range(8):
        draws = Draws(batch, "corrupt", range(128))
        noise = (
            OptimalTransport()(PLANE, State({"x": clean}), {}, draws)["x"] if coupled else draws.normal("x", (128, 2))
        )
        starts.append(clean)
        ends.append(noise)
    x0, eps = torch.cat(starts), torch.cat(ends)
    shares = []
    for t in (0.3, 0.6, 0.9):
        near = torch.cdist((1 - t) * x0 + t * eps, (1 - t) * x0 + t * eps).topk(9, largest=False)[1]
        velocity = (eps - x0)[near]
        shares.append(float(velocity.var(1).sum(-1).mean() / (eps - x0).var(0).sum()))
    return sum(shares) / len(shares)


def test_paths_are_straighter() -> None:
    assert restlessness(coupled=True) < 0.35 * restlessness(coupled=False)


def test_in_one_dimension_no_two_paths_cross() -> None:
    line = JointProcess({"x": Field(shape=(1,))}, {"x": Gaussian(RectifiedFlow())})
    clean, draws = points(60, 1), Draws(0, "corrupt", range(60))
    made = OptimalTransport()(line, State({"x": clean}), {}, draws)["x"]

    def crossings(noise: Tensor) -> int:
        return int((((clean - clean.T) * (noise - noise.T)) < 0).sum()) // 2

    assert crossings(made) == 0
    assert crossings(draws.normal("x", (60, 1))) > 500


def test_the_objective_takes_its_noise_from_it() -> None:
    """What is denoised is alpha x_0 + sigma times the coupled noise, row by row."""
    clean, seen = State({"x": points(16)}), []

    def looking(state: State, levels: Any, condition: Any = None, previous: Any = None) -> Any:
        seen.append((state["x"], levels["x"]))
        raise StopIteration

    objective = Objective(PLANE, Uniform(), edm(), coupling=Registry().build("coupling", {"name": "optimal_transport"}))
    with pytest.raises(StopIteration):
        objective(looking, clean, {}, seed=3, step=2, rows=range(16), total=16)
    ((noisy, level),) = seen
    noise = (noisy - level.alpha[:, None] * clean["x"]) / level.sigma[:, None]
    expected = OptimalTransport()(PLANE, clean, {}, Draws(3, "corrupt", range(32, 48)))["x"]
    torch.testing.assert_close(noise, expected, rtol=1e-2, atol=1e-2)
