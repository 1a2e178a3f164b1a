"""What the loop is made of: losses that belong to a place, levels, hidden conditions, averages, learning rates."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from suffuse import noise
from suffuse.conditions import ClassLabel
from suffuse.errors import ConfigError
from suffuse.posterior import Mean, Posterior
from suffuse.schedules import EDM, Cosine, RectifiedFlow
from suffuse.state import State
from suffuse.training import TrainerSettings
from suffuse.training.averaging import Average
from suffuse.training.clock import LogNormal, Uniform, stratified
from suffuse.training.objective import Objective
from suffuse.training.trainer import learning_rate
from suffuse.training.weightings import edm, min_snr
from tiny import process, trainer


def test_losses_belong_to_a_place_in_the_run(tmp_path: Path) -> None:
    """The loss of a sample is a function of seed, step and row, however the batch is cut."""
    made = trainer(tmp_path)
    clean = made.decoder.encode([made.train[index].value for index in range(16)])
    sides = made.train.collate([made.train[index].condition for index in range(16)])["side"]

    @torch.no_grad()
    def losses(rows: range, step: int = 0, seed: int = 0) -> torch.Tensor:
        part = slice(rows.start, rows.stop)
        sample = clean.rows(part), {"side": sides[part]}
        return made.objective(made.denoiser, *sample, seed=seed, step=step, rows=rows, total=16)

    whole = losses(range(16))
    torch.testing.assert_close(torch.cat([losses(range(5)), losses(range(5, 16))]), whole, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(losses(range(16), step=1), whole)
    assert not torch.allclose(losses(range(16), seed=1), whole)


def hidden(dropout: float, *, steps: int = 40, size: int = 50) -> Tensor:
    """Which samples ``[steps, size]`` the network is not told the class of."""
    seen: list[Tensor] = []

    def listening(state: State, levels: object, condition: Any = None) -> Posterior:
        seen.append(condition["side"])
        return {"x": Mean(torch.zeros_like(state["x"]))}

    kinds = {"side": ClassLabel(("left", "right"))}
    objective = Objective(process(), Uniform(), edm(), "edm", kinds, dropout)
    clean, sides = State({"x": torch.zeros(size, 2)}), torch.arange(size) % 2
    for step in range(steps):
        objective(listening, clean, {"side": sides}, seed=0, step=step, rows=range(size), total=size)
    told = torch.stack(seen)
    assert ((told == sides) | (told == -1)).all()
    return told == -1


@pytest.mark.parametrize("dropout", [0.0, 0.1, 0.5, 1.0])
def test_conditions_are_hidden_from_a_share_of_samples(dropout: float) -> None:
    share = float(hidden(dropout).double().mean())
    assert share == pytest.approx(dropout, abs=4.5 * math.sqrt(dropout * (1 - dropout) / 2000))


def told_nothing(conditions: int, dropout: float = 0.2, size: int = 4000) -> tuple[Tensor, Tensor]:
    """The shares of samples from which each of some conditions is hidden, and from which all are."""
    kinds = {f"side{number}": ClassLabel(("left", "right")) for number in range(conditions)}
    seen: list[Tensor] = []

    def listening(state: State, levels: object, condition: Any = None) -> Posterior:
        seen.append(torch.stack(list(condition.values())) < 0)
        return {"x": Mean(torch.zeros_like(state["x"]))}

    asked = {name: torch.zeros(size, dtype=torch.long) for name in kinds}
    objective = Objective(process(), Uniform(), edm(), "edm", kinds, dropout)
    objective(listening, State({"x": torch.zeros(size, 2)}), asked, seed=0, step=0, rows=range(size), total=size)
    return seen[0].double().mean(1), seen[0].all(0).double().mean()


@pytest.mark.parametrize("conditions", [1, 2, 4])
def test_a_network_often_enough_knows_nothing_at_all(conditions: int) -> None:
    each, everything = told_nothing(conditions)
    assert each.tolist() == pytest.approx([0.2] * conditions, abs=0.03)
    assert float(everything) == pytest.approx((0.2 + 0.2**conditions) / 2, abs=0.02)


def test_conditions_that_are_hidden_by_themselves_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def alone(self: Objective, name: str, seed: int, positions: range, device: torch.device) -> Tensor:
        return noise.uniform(noise.key(seed, "hide", name), positions) <= self.dropout

    monkeypatch.setattr(Objective, "_coin", alone)
    assert float(told_nothing(4)[1]) < 0.02


def test_other_samples_each_step_have_their_condition_hidden() -> None:
    per_sample = hidden(0.5).double().mean(0)
    assert 0.1 < float(per_sample.min()) < float(per_sample.max()) < 0.9


@pytest.mark.parametrize("total", [1, 7, 64])
def test_draws_are_one_to_each_stratum(total: int) -> None:
    share = stratified(0, 3, range(total), total)
    assert sorted((share * total).long().tolist()) == list(range(total))
    assert torch.equal(
        torch.cat([stratified(0, 3, range(total // 2), total), stratified(0, 3, range(total // 2, total), total)]),
        share,
    )
    assert not torch.equal(stratified(0, 4, range(total), total), share)


def test_draws_are_uniform_over_steps() -> None:
    firsts = [float(stratified(0, step, range(1), 8)) for step in range(2000)]
    assert stats.kstest(firsts, "uniform").pvalue > 1e-4


@pytest.mark.parametrize("schedule", [EDM(), RectifiedFlow(), Cosine()])
def test_lognormal_levels_have_their_distribution(schedule: EDM | RectifiedFlow | Cosine) -> None:
    """Whatever the schedule, and as far as its bounds reach."""
    time = LogNormal(-1.2, 1.2).quantile(stratified(0, 0, range(4000), 4000), schedule)
    log_ratio = -schedule.log_snr(time)
    assert float(log_ratio.median()) == pytest.approx(-1.2, abs=0.01)
    assert stats.kstest(log_ratio.numpy(), stats.norm(-1.2, 1.2).cdf).statistic < 0.01


@pytest.mark.parametrize("make", [lambda: LogNormal(std=0.0), lambda: min_snr(gamma=-1.0)])
def test_bad_settings_of_levels_are_refused(make: Any) -> None:
    with pytest.raises(ConfigError, match=r"process\."):
        make()


def test_average_follows_its_formula() -> None:
    network = nn.Linear(2, 1)
    average = Average(network, 0.5)
    expected = network.weight.detach().clone()
    for update in range(12):
        with torch.no_grad():
            network.weight.copy_(torch.randn(1, 2, generator=torch.Generator().manual_seed(update)))
        average.update()
        keep = min(0.5, (1 + update) / (10 + update))
        expected = keep * expected + (1 - keep) * network.weight.detach()
    torch.testing.assert_close(average.model.weight, expected)
    assert average.updates == 12
    assert not average.model.weight.requires_grad
    assert not average.model.training


@pytest.mark.parametrize("decay", ["cosine", "rsqrt", "constant"])
def test_learning_rates(decay: str) -> None:
    settings = TrainerSettings(steps=1000, warmup=100, lr=0.1, decay=decay)
    rates = [learning_rate(step, settings) for step in range(1000)]
    assert rates[0] == pytest.approx(0.001, rel=1e-3)
    assert all(later > earlier for earlier, later in zip(rates[:50], rates[1:51], strict=True))
    assert max(rates) <= 0.1
    falls = [later <= earlier for earlier, later in zip(rates[100:-1], rates[101:], strict=True)]
    assert all(falls)
    last = {"cosine": 0.0, "rsqrt": 0.1 * math.sqrt(100 / 1000), "constant": 0.1}[decay]
    assert rates[-1] == pytest.approx(last, abs=1e-5)


@pytest.mark.parametrize("decay", ["cosine", "rsqrt", "constant"])
def test_without_warmup_the_first_rate_is_the_peak(decay: str) -> None:
    assert learning_rate(0, TrainerSettings(warmup=0, lr=0.1, decay=decay)) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"steps": 0}, "trainer.steps=0"),
        ({"batch_size": -1}, "trainer.batch_size=-1"),
        ({"accumulate": 0}, "trainer.accumulate=0"),
        ({"batch_size": 10, "accumulate": 3}, "trainer.accumulate=3"),
        ({"log_every": 0}, "trainer.log_every=0"),
        ({"keep_checkpoints": 0}, "trainer.keep_checkpoints=0"),
        ({"validation_batches": 0}, "trainer.validation_batches=0"),
        ({"decay": "cosin"}, "trainer.decay=cosin"),
        ({"lr": 0.0}, "trainer.lr=0"),
        ({"lr": math.nan}, "trainer.lr=nan"),
        ({"ema": 1.5}, "trainer.ema=1.5"),
        ({"warmup": -1}, "trainer.warmup=-1"),
        ({"workers": -1}, "trainer.workers=-1"),
    ],
)
def test_bad_settings_are_named(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        TrainerSettings(**settings)
