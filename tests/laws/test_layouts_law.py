"""One network of elements and pairs on the same data gives the same losses and samples, however they lie in memory:
padded, packed one after another, or one sample at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor, nn

from suffuse.denoiser import Denoiser
from suffuse.errors import ConfigError
from suffuse.fields import Field, check, pad
from suffuse.layouts import Dense, Layout, Masked, owners
from suffuse.noise import Draws
from suffuse.posterior import Posterior
from suffuse.processes import Discrete, Gaussian, JointProcess, Noise, WrappedGaussian
from suffuse.sampling import (
    DDIM,
    Ancestral,
    Confidence,
    DPMSolver2M,
    Heun,
    Rules,
    Seeds,
    TokenSolver,
    sample,
    uniform_lambda,
)
from suffuse.schedules import EDM, Cosine, SquaredCosine
from suffuse.sizes import Sizes
from suffuse.spaces import Categorical, Torus, ZeroCenterOfMass
from suffuse.state import State
from suffuse.training.clock import Uniform
from suffuse.training.couplings import Coupling
from suffuse.training.objective import Objective
from suffuse.training.weightings import edm

SIZES = (5, 1, 3, 4)
MASK = torch.arange(5) < torch.tensor(SIZES)[:, None]
K = 3
FIELDS = {
    "x": Field(shape=(-1, 3), space=ZeroCenterOfMass(), layout=Masked(1), scale=0.8),
    "angle": Field(shape=(-1,), space=Torus(), layout=Masked(1)),
    "c": Field(shape=(-1,), space=Categorical(K), layout=Masked(1)),
    "e": Field(shape=(-1, -1), space=Categorical(K, symmetric=True), layout=Masked(2), weight=0.5),
    "stress": Field(shape=(-1, -1, 2), layout=Masked(2)),
}
"""Places, angles and classes of elements; classes and numbers of pairs."""


def process(prior: tuple[float, ...] = (0.2, 0.3, 0.5)) -> JointProcess:
    number, tokens = Gaussian(Cosine()), Discrete(SquaredCosine(), prior)
    kinds = {"x": number, "angle": WrappedGaussian(EDM(0.002, 1.0)), "c": tokens, "e": tokens, "stress": number}
    return JointProcess(FIELDS, kinds)


def seeded(*shape: int) -> nn.Parameter:
    generator = torch.Generator().manual_seed(sum(shape))
    return nn.Parameter(0.5 * torch.randn(shape, generator=generator, dtype=torch.float64))


class Elements(nn.Module):
    """A network of each element, or pair, with sums over those that belong to the same sample; on padded tensors.

    Args:
        careless: sums run over the padding too.
    """

    condition_dim = 1

    def __init__(self, careless: bool = False) -> None:
        super().__init__()
        self.careless = careless
        self.enter, self.pair = seeded(3 + 2 + K + 1 + 1, 8), seeded(K + 1 + 2 + 8 + 1, 7)
        self.leave = seeded(16, 3 + 1 + K)

    def atoms(self, x: Tensor, angle: Tensor, c: Tensor, log_snr: Tensor) -> Tensor:
        """Features of elements, ``[..., 8]``."""
        turn = 2 * torch.pi * angle[..., None]
        return torch.tanh(
            torch.cat([x, turn.sin(), turn.cos(), nn.functional.one_hot(c, K + 1), log_snr[..., None]], -1) @ self.enter
        )

    def bonds(self, e: Tensor, stress: Tensor, both: Tensor, log_snr: Tensor) -> Tensor:
        """What is emitted for pairs, ``[..., 7]``: logits, numbers, and a message to the first of the two."""
        return torch.tanh(
            torch.cat([nn.functional.one_hot(e, K + 1), stress, both, log_snr[..., None]], -1) @ self.pair
        )

    def split(self, out: Tensor, pairs: Tensor) -> dict[str, Tensor]:
        places, angle, classes = (out @ self.leave / 8).split([3, 1, K], -1)
        return {"x": places, "angle": angle[..., 0], "c": classes, "e": pairs[..., :K], "stress": pairs[..., K : K + 2]}

    def forward(self, state: State, log_snr: Mapping[str, Tensor], condition: Tensor) -> dict[str, Tensor]:
        assert state.mask is not None
        count, level = state.mask.shape[1], log_snr["x"]
        hidden = self.atoms(state["x"], state["angle"], state["c"], level[:, None].expand(-1, count))
        both = hidden[:, :, None] + hidden[:, None]
        pairs = self.bonds(state["e"], state["stress"], both, level[:, None, None].expand(-1, count, count))
        real = torch.ones_like(state.mask) if self.careless else state.mask
        message = (pairs[..., K + 2 :] * (real[:, :, None] & real[:, None])[..., None]).sum(2)
        whole = (hidden * real[..., None]).sum(1, keepdim=True).expand_as(hidden)
        return self.split(torch.cat([hidden + nn.functional.pad(message, [0, 6]), whole], -1), pairs)


class Packed(Elements):
    """The same network on elements that lie one after another, as of a library of graphs."""

    def forward(self, state: State, log_snr: Mapping[str, Tensor], condition: Tensor) -> dict[str, Tensor]:
        mask = state.mask
        assert mask is not None
        inner = {name: FIELDS[name].layout.to_packed(value, mask) for name, value in state.items()}
        owner, count = owners(mask), mask.sum(1)
        level = log_snr["x"]
        hidden = self.atoms(inner["x"], inner["angle"], inner["c"], level[owner])
        first, second = _pairs(count)
        pairs = self.bonds(inner["e"], inner["stress"], hidden[first] + hidden[second], level[owner[first]])
        message = torch.zeros(len(hidden), 2, dtype=hidden.dtype).index_add(0, first, pairs[:, K + 2 :])
        whole = torch.zeros(len(mask), 8, dtype=hidden.dtype).index_add(0, owner, hidden)[owner]
        out = self.split(torch.cat([hidden + nn.functional.pad(message, [0, 6]), whole], -1), pairs)
        return {name: FIELDS[name].layout.from_packed(value, mask, state[name]) for name, value in out.items()}


def _pairs(counts: Tensor) -> tuple[Tensor, Tensor]:
    """Places of both elements of every pair of each sample, in packed order."""
    first, second, begin = [], [], 0
    for count in counts.tolist():
        places = torch.arange(begin, begin + count)
        first.append(places.repeat_interleave(count))
        second.append(places.repeat(count))
        begin += count
    return torch.cat(first), torch.cat(second)


@dataclass(frozen=True)
class Rows:
    """The noise of some samples, cut to their room: that of an element does not depend on how much is padded."""

    draws: Draws

    def normal(self, field: str, shape: Sequence[int]) -> Tensor:
        return self._cut(self.draws.normal, field, shape).double()

    def uniform(self, field: str, shape: Sequence[int]) -> Tensor:
        return self._cut(self.draws.uniform, field, shape)

    def _cut(self, draw: Callable[[str, Sequence[int]], Tensor], field: str, shape: Sequence[int]) -> Tensor:
        rank = FIELDS[field].layout.rank
        whole = draw(field, (shape[0], *(8,) * rank, *shape[1 + rank :]))
        return whole[tuple(slice(length) for length in shape)]


class RowSeeds(Seeds):
    """Seeds of such noise."""

    def at(self, purpose: str, step: int = 0) -> Rows:  # type: ignore[override]
        return Rows(super().at(purpose, step))


RULES: list[Rules] = [
    Rules(DPMSolver2M()),
    Rules(Heun(churn=3.0), Ancestral(0.3, 0.9)),
    Rules(DDIM(1.0)),
]


def samples(network: Elements, rules: Rules, rows: Sequence[int], room: int, here: JointProcess) -> State:
    """Some of the four samples, with room for so many elements."""
    mask = torch.arange(room) < torch.tensor([SIZES[row] for row in rows])[:, None]
    seeds = RowSeeds(0, list(rows))
    shapes = {
        name: (len(rows), *(room if length < 0 else length for length in field.shape)) for name, field in FIELDS.items()
    }
    start = here.prior(shapes, seeds.at("prior"), mask)
    grid = uniform_lambda(rules.solver.intervals(7), here.schedule)
    return sample(Denoiser(network, FIELDS), start, grid, rules, process=here, seeds=seeds)


def apart(a: State, b: State) -> float:
    """The largest difference of a field, padding included; of periodic ones the short way round."""
    gaps = [(a[name].double() - b[name].double()).abs() for name in a if name != "angle"]
    gaps.append(Torus().difference(a["angle"], b["angle"]).abs())
    return max(float(gap.max()) for gap in gaps)


def differ(
    network: Elements, other: Elements, rules: Rules, rows: Sequence[int] = range(4), here: JointProcess | None = None
) -> float:
    """How far samples of one network, all padded, are from those of the other, made with no more room than needed."""
    here = here or process()
    room = max(SIZES[row] for row in rows)
    padded = samples(network, rules, range(4), 7, here)
    assert all(bool(padded[name].any()) for name in padded)
    for name, field in FIELDS.items():
        real = field.layout.mask(padded[name], padded.mask)
        assert real is not None
        assert not padded[name][~real.expand_as(padded[name])].any()
    alone = pad(samples(other, rules, rows, room, here), FIELDS, 7)
    return apart(padded.rows(torch.tensor(list(rows))), alone)


@pytest.mark.parametrize("rules", RULES)
def test_samples_are_the_same_padded_packed_and_one_by_one(rules: Rules) -> None:
    assert differ(Elements(), Packed(), rules) < 1e-5
    for row in range(4):
        assert differ(Elements(), Elements(), rules, [row]) < 1e-5
        assert differ(Elements(), Packed(), rules, [row]) < 1e-5


@pytest.mark.parametrize("rule", [Confidence(), Confidence(0.0, 0.8)])
def test_so_are_masks_that_are_lifted(rule: TokenSolver) -> None:
    here = process((0.0,) * K + (1.0,))
    for row in range(4):
        assert differ(Elements(), Packed(), Rules(DPMSolver2M(), rule), [row], here) < 1e-5


def test_a_sum_over_padding_is_noticed() -> None:
    assert differ(Elements(careless=True), Packed(), RULES[0]) > 1e-2


class Cut(Coupling):
    """No pairing, but noise that does not depend on how much is padded."""

    def __call__(
        self, process: JointProcess, clean: State, conditions: Mapping[str, Tensor], noise: Noise
    ) -> dict[str, Tensor]:
        assert isinstance(noise, Draws)
        return {name: process.noise(name, tuple(value.shape), Rows(noise)) for name, value in clean.items()}


def losses(network: Elements, rows: range, room: int, here: JointProcess | None = None) -> Tensor:
    """Of some of the four samples of a batch, by the objective."""
    here = here or process()
    mask = torch.arange(room) < torch.tensor([SIZES[row] for row in rows])[:, None]
    source = RowSeeds(0, rows).at("data")
    fields: dict[str, Tensor] = {}
    for name, field in FIELDS.items():
        shape = (len(rows), *(room if length < 0 else length for length in field.shape))
        if isinstance(field.space, Categorical):
            value = (source.uniform(name, shape) * K).ceil().long() - 1
        else:
            value = source.normal(name, shape)
        fields[name] = field.project(value, mask)
    clean = State(fields, mask)
    check(clean, FIELDS)
    objective = Objective(here, Uniform(), edm(), coupling=Cut())
    return objective(Denoiser(network, FIELDS), clean, {}, seed=0, step=0, rows=rows, total=4)


def test_losses_are_the_same_padded_packed_and_one_by_one() -> None:
    """And so are their gradients."""
    padded = losses(Elements(), range(4), 7)
    assert float(padded.detach().min()) > 1e-2
    for network in (Elements(), Packed()):
        torch.testing.assert_close(losses(network, range(4), 5), padded, rtol=1e-9, atol=1e-12)
        for row in range(4):
            one = losses(network, range(row, row + 1), SIZES[row])[0]
            torch.testing.assert_close(one, padded[row], rtol=1e-9, atol=1e-12)
    gradients = []
    for network, room in ((Elements(), 7), (Packed(), 5)):
        torch.autograd.backward(losses(network, range(4), room).sum())
        gradients.append([part.grad for part in network.parameters()])
    for mine, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("name", FIELDS)
def test_a_loss_that_counts_padding_is_noticed(name: str) -> None:
    """The mutant: a field whose layout takes all entries for real."""
    here = process()
    space = FIELDS[name].space
    if isinstance(space, Categorical):
        space = replace(space, symmetric=False)
    dense = replace(here, fields={**FIELDS, name: replace(FIELDS[name], layout=Dense(), space=space)})
    wide, narrow = losses(Elements(), range(4), 7, dense), losses(Elements(), range(4), 5, dense)
    assert float((wide - narrow).detach().abs().max()) > 1e-3


def prediction(network: Elements, state: State, here: JointProcess) -> Posterior:
    levels = here.levels(torch.full((state.batch_size,), 0.4, dtype=torch.float64))
    return Denoiser(network, FIELDS).forward(state, levels)


@pytest.mark.parametrize("network", [Elements(), Packed()])
def test_a_prediction_does_not_depend_on_batch_mates(network: Elements) -> None:
    here = process()
    state = samples(network, RULES[2], range(4), 5, here)
    whole = prediction(network, state, here)
    swapped = prediction(network, state.rows(torch.tensor([2, 1, 0, 3])), here)
    alone = prediction(network, state.rows(slice(2, 3)), here)
    for name, belief in whole.items():
        torch.testing.assert_close(swapped[name].value[0], belief.value[2], rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(alone[name].value[0], belief.value[2], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("layout", "shape"),
    [
        (Masked(1), (4, 5)),
        (Masked(1), (4, 5, 2)),
        (Masked(2), (4, 5, 5)),
        (Masked(2), (4, 5, 5, 3)),
        (Dense(), (4, 5, 2)),
    ],
)
def test_packing_has_its_inverse(layout: Layout, shape: tuple[int, ...]) -> None:
    """What is real comes back, in the order of samples, with zeros as padding; other axes may be new."""
    value = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    mask = None if isinstance(layout, Dense) else MASK
    packed = layout.to_packed(value, mask)
    assert torch.equal(layout.from_packed(packed, mask, value), Field(shape=(-1,), layout=layout).project(value, mask))
    wider = torch.stack([packed, -packed], -1)
    assert torch.equal(layout.from_packed(wider, mask, value)[..., 1], -layout.from_packed(packed, mask, value))
    sizes = [5] * 4 if mask is None else list(SIZES)
    assert len(packed) == sum(size ** max(layout.rank, 1) for size in sizes)


def test_owners_say_whose_an_element_is() -> None:
    assert owners(MASK).tolist() == [row for row, size in enumerate(SIZES) for _ in range(size)]
    holes = torch.tensor([[True, False, True], [False, False, True]])
    assert owners(holes).tolist() == [0, 0, 1]
    assert Masked(1).to_packed(torch.arange(6).reshape(2, 3), holes).tolist() == [0, 2, 5]


def test_padding_grows_fields_and_mask_together() -> None:
    state = State(
        {
            "x": torch.ones(2, 3, 3),
            "angle": torch.ones(2, 3),
            "c": torch.ones(2, 3).long(),
            "e": torch.ones(2, 3, 3).long(),
            "stress": torch.ones(2, 3, 3, 2),
        },
        torch.ones(2, 3, dtype=torch.bool),
    )
    grown = pad(state, FIELDS, 5)
    assert grown.mask is not None
    assert grown.mask.tolist() == [[True] * 3 + [False] * 2] * 2
    for name, value in grown.items():
        assert value.dtype == state[name].dtype
        inside = value[:, :3] if FIELDS[name].layout.rank == 1 else value[:, :3, :3]
        assert torch.equal(inside, state[name])
        assert float(value.sum()) == float(state[name].sum())
    assert pad(state, FIELDS, 3) is state
    whole = State({"image": torch.ones(2, 3)})
    assert pad(whole, {"image": Field(shape=(3,))}, 9) is whole
    mixed = State({"c": state["c"], "lattice": torch.ones(2, 6)}, state.mask)
    kept = pad(mixed, {"c": FIELDS["c"], "lattice": Field(shape=(6,))}, 4)
    assert torch.equal(kept["lattice"], mixed["lattice"])


def test_room_is_a_little_more_than_the_size() -> None:
    """A function of the size alone, never below it, at most an eighth above, and of few different values."""
    rooms = [Sizes.room(size) for size in range(1, 1001)]
    assert all(size <= room <= size * 9 / 8 for size, room in enumerate(rooms, 1))
    assert rooms == sorted(rooms)
    assert [Sizes.room(room) for room in rooms] == rooms
    assert rooms[:16] == list(range(1, 17))
    assert len(set(rooms)) < 70


def test_sizes_are_drawn_as_often_as_in_the_data() -> None:
    sizes = Sizes.of([3] * 60 + [9] * 30 + [4] * 10)
    assert list(sizes.counts.items()) == [(3, 60), (4, 10), (9, 30)]
    assert Sizes.from_json(sizes.to_json()) == sizes
    drawn = sizes.draw(0, range(4000))
    for size, share in ((3, 0.6), (4, 0.1), (9, 0.3)):
        assert drawn.count(size) / 4000 == pytest.approx(share, abs=0.03)
    assert drawn[17] == sizes.draw(0, [17])[0]  # a sample's size is its own
    assert drawn != sizes.draw(1, range(4000))
    within = sizes.within(4).draw(0, range(4000))
    assert set(within) == {4, 9}
    assert within.count(9) / 4000 == pytest.approx(0.75, abs=0.03)
    assert set(sizes.within(4, 4).draw(0, range(10))) == {4}
    with pytest.raises(ConfigError, match=r"size=5\.\.8: the training data had 3 to 9 elements"):
        sizes.within(5, 8)
