"""A clock that falls and can be read backwards, a scale of its family, and no infinity at either end."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from suffuse.errors import ConfigError
from suffuse.fields import Field
from suffuse.processes import Gaussian
from suffuse.schedules import EDM, Cosine, LinearBetaVP, RectifiedFlow, Schedule

SCHEDULES = {
    "vp": LinearBetaVP(),
    "edm": EDM(),
    "flow": RectifiedFlow(),
    "cosine": Cosine(),
    "mild vp": LinearBetaVP(beta_min=0.5, beta_max=4.0, log_snr_max=4.0),
    "low edm": EDM(sigma_min=0.01, sigma_max=5.0, rho=1.0),
}
DTYPES = {"float32": torch.float32, "float64": torch.float64}


def round_trip_error(schedule: Schedule) -> float:
    """The largest error of a time read back from its log-SNR, inside the bounds."""
    t = torch.linspace(0, 1, 1001, dtype=torch.float64)
    log_snr = schedule.log_snr(t)
    inside = (log_snr > schedule.log_snr_min) & (log_snr < schedule.log_snr_max)
    assert inside.sum() > 900
    return float((schedule.time(log_snr) - t)[inside].abs().max())


@pytest.mark.parametrize("name", SCHEDULES)
def test_times_are_read_back(name: str) -> None:
    schedule = SCHEDULES[name]
    assert round_trip_error(schedule) < 1e-10
    log_snr = torch.linspace(schedule.log_snr_min, schedule.log_snr_max, 101, dtype=torch.float64)
    torch.testing.assert_close(schedule.log_snr(schedule.time(log_snr)), log_snr, rtol=0, atol=1e-6)


@dataclass(frozen=True)
class Slanted(Cosine):
    """Its inverse forgets a factor of two."""

    def time(self, log_snr: Tensor) -> Tensor:
        return torch.atan(torch.exp(-log_snr)) / math.pi


def test_a_wrong_inverse_is_noticed() -> None:
    assert round_trip_error(Slanted()) > 0.1


@pytest.mark.parametrize("name", SCHEDULES)
def test_noise_rises_between_finite_bounds(name: str) -> None:
    schedule = SCHEDULES[name]
    log_snr = schedule.log_snr(torch.linspace(0, 1, 1001, dtype=torch.float64))
    assert -math.inf < schedule.log_snr_min < schedule.log_snr_max < math.inf
    assert (log_snr.diff() <= 0).all()
    inside = (log_snr > schedule.log_snr_min) & (log_snr < schedule.log_snr_max)
    assert (log_snr[inside].diff() < 0).all()
    assert float(log_snr[0]) == pytest.approx(schedule.log_snr_max)
    assert float(log_snr[-1]) == pytest.approx(schedule.log_snr_min)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SCHEDULES)
def test_both_ends_are_finite(name: str, dtype: str) -> None:
    schedule, kind = SCHEDULES[name], DTYPES[dtype]
    tiny = torch.finfo(kind).tiny
    t = torch.tensor([0.0, tiny, 1e-7, 0.5, 1 - 1e-7, 1.0], dtype=kind)
    log_snr = schedule.log_snr(t)
    alpha, sigma = schedule.alpha_sigma(log_snr)
    assert log_snr.dtype == alpha.dtype == sigma.dtype == schedule.time(log_snr).dtype == kind
    for value in (log_snr, alpha, sigma, 1 / alpha, 1 / sigma, schedule.time(log_snr)):
        assert torch.isfinite(value).all()
    assert (alpha > 0).all()
    assert (sigma > 0).all()
    slack = 1e-4
    assert (log_snr >= schedule.log_snr_min - slack).all()
    assert (log_snr <= schedule.log_snr_max + slack).all()


@pytest.mark.parametrize("name", SCHEDULES)
def test_scales(name: str) -> None:
    """alpha / sigma is e^lambda, in the family that the schedule belongs to."""
    schedule = SCHEDULES[name]
    log_snr = torch.linspace(schedule.log_snr_min, schedule.log_snr_max, 101, dtype=torch.float64)
    alpha, sigma = schedule.alpha_sigma(log_snr)
    torch.testing.assert_close((alpha / sigma).log(), log_snr)
    family = {LinearBetaVP: alpha**2 + sigma**2, Cosine: alpha**2 + sigma**2, RectifiedFlow: alpha + sigma, EDM: alpha}
    torch.testing.assert_close(family[type(schedule)], torch.ones_like(alpha))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SCHEDULES)
def test_clean_state(name: str, dtype: str) -> None:
    schedule = SCHEDULES[name]
    clean = torch.tensor(math.inf, dtype=DTYPES[dtype])
    assert [float(part) for part in schedule.alpha_sigma(clean)] == [1, 0]
    assert float(schedule.time(clean)) == 0


def test_clocks_follow_their_formulas() -> None:
    t = torch.linspace(0.05, 0.95, 19, dtype=torch.float64)
    alpha, sigma = Cosine().alpha_sigma(Cosine().log_snr(t))
    torch.testing.assert_close(alpha, torch.cos(math.pi * t / 2))
    torch.testing.assert_close(sigma, torch.sin(math.pi * t / 2))
    alpha, sigma = RectifiedFlow().alpha_sigma(RectifiedFlow().log_snr(t))
    torch.testing.assert_close(alpha, 1 - t)
    torch.testing.assert_close(sigma, t)
    sigma = EDM().alpha_sigma(EDM().log_snr(t))[1]
    torch.testing.assert_close(sigma, (0.002 ** (1 / 7) + t * (80 ** (1 / 7) - 0.002 ** (1 / 7))) ** 7)
    alpha = LinearBetaVP().alpha_sigma(LinearBetaVP().log_snr(t))[0]
    torch.testing.assert_close(alpha, torch.exp(-(t**2) * 19.9 / 4 - t * 0.05))


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_prior_is_the_marginal_at_the_end_of_the_clock(name: str) -> None:
    """A sampler starts from the spread that training data of the field's scale have at the clock's 1."""
    process, field = Gaussian(SCHEDULES[name]), Field(shape=(1,), scale=0.3)
    here = process.level(torch.tensor(1.0, dtype=torch.float64))
    spread = float(torch.hypot(0.3 * here.alpha, here.sigma))
    assert float(process.begin(torch.ones(1, 1, dtype=torch.float64), field, None)) == pytest.approx(spread)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: LinearBetaVP(beta_min=0.0), "beta_min"),
        (lambda: LinearBetaVP(beta_min=5.0, beta_max=1.0), "beta_max"),
        (lambda: EDM(sigma_min=-1.0), "sigma_min"),
        (lambda: EDM(sigma_min=3.0, sigma_max=2.0), "sigma_max"),
        (lambda: EDM(rho=0.0), "rho"),
        (lambda: Cosine(log_snr_min=2.0, log_snr_max=1.0), "log_snr_min"),
        (lambda: RectifiedFlow(log_snr_max=math.inf), "log_snr_max"),
        (lambda: Cosine(log_snr_min=math.nan), "log_snr_min"),
    ],
)
def test_bad_settings_are_refused(make: object, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        make()  # type: ignore[operator]
