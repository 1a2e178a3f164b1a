"""Whatever the network emits, the posterior, the loss and the schedule stay out of one another's way."""

from __future__ import annotations

import math

import pytest
import torch
from oracle import MIXTURE, SCHEDULES, f64, level
from torch import Tensor

from suffuse.parameterizations import PARAMETERIZATIONS, Affine, input_scale
from suffuse.processes import Gaussian, JointProcess
from suffuse.state import State
from suffuse.training import weightings
from suffuse.training.clock import LogNormal
from suffuse.training.objective import Objective
from suffuse.training.weightings import Weighting
from tiny import denoiser, field

LOG_SNRS = (-6.0, -1.0, 0.0, 0.5, 6.0)
SCALE = 0.6


def target(name: str, x0: Tensor, eps: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """What a perfect network emits, by the definitions of the papers."""
    x = alpha * x0 + sigma * eps
    norm = torch.sqrt(alpha**2 + sigma**2)
    spread = torch.sqrt((alpha * SCALE) ** 2 + sigma**2)
    return {
        "x0": x0,
        "eps": eps,
        "score": -(x - alpha * x0) / sigma,
        "v": (alpha * eps - sigma * x0) / norm,
        "velocity": eps - x0,
        "edm": (x0 - alpha * SCALE**2 / spread**2 * x) * spread / (sigma * SCALE),
    }[name]


def error_of_reading(name: str, schedule: str) -> float:
    """How far the table's reading of the true target is from x_0, relative to how noisy x is."""
    generator = torch.Generator().manual_seed(1)
    x0, eps = torch.randn(2, 50, generator=generator, dtype=torch.float64)
    worst = 0.0
    for log_snr in LOG_SNRS:
        alpha, sigma = SCHEDULES[schedule].alpha_sigma(f64(log_snr))
        skip, out = PARAMETERIZATIONS[name](alpha, sigma, SCALE)
        read = skip * (alpha * x0 + sigma * eps) + out * target(name, x0, eps, alpha, sigma)
        worst = max(worst, float((read - x0).abs().max() / (1 + sigma / alpha)))
    return worst


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", PARAMETERIZATIONS)
def test_true_target_is_read_as_the_clean_value(name: str, schedule: str) -> None:
    assert error_of_reading(name, schedule) < 1e-12


def test_edm_has_outputs_and_inputs_of_unit_variance() -> None:
    """For x_0 of standard deviation `SCALE`; and on a variance-exploding schedule it is the paper's own table 1."""
    for schedule in SCHEDULES.values():
        for log_snr in LOG_SNRS:
            alpha, sigma = schedule.alpha_sigma(f64(log_snr))
            skip, out = PARAMETERIZATIONS["edm"](alpha, sigma, SCALE)
            variance = (((1 - skip * alpha) * SCALE) ** 2 + (skip * sigma) ** 2) / out**2
            assert float(variance) == pytest.approx(1, rel=1e-9)
            assert float(input_scale(alpha, sigma, SCALE) ** 2 * ((alpha * SCALE) ** 2 + sigma**2)) == pytest.approx(1)
    alpha, sigma = SCHEDULES["edm"].alpha_sigma(f64(-0.3))
    skip, out = PARAMETERIZATIONS["edm"](alpha, sigma, SCALE)
    assert float(skip) == pytest.approx(float(SCALE**2 / (sigma**2 + SCALE**2)))
    assert float(out) == pytest.approx(float(sigma * SCALE / (sigma**2 + SCALE**2).sqrt()))


def v_without_its_norm(alpha: Tensor, sigma: Tensor, scale: float) -> Affine:
    return Affine(alpha, -sigma)


def eps_of_the_wrong_sign(alpha: Tensor, sigma: Tensor, scale: float) -> Affine:
    return Affine(1 / alpha, sigma / alpha)


BROKEN = {"v": v_without_its_norm, "eps": eps_of_the_wrong_sign}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_tables_are_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PARAMETERIZATIONS, name, BROKEN[name])
    assert error_of_reading(name, "flow") > 1e-2


def change_by_rescheduling(name: str, first: str, second: str) -> float:
    """How much a real network's posterior mean changes with the schedule, at the same log-SNR and x / alpha."""
    network = denoiser(parameterization=name).double()
    clean_scale = torch.randn(6, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    worst = 0.0
    for log_snr in LOG_SNRS:
        means = []
        for schedule in (first, second):
            here = level(SCHEDULES[schedule], log_snr, 6)
            state = State({"x": here.alpha[:, None] * clean_scale})
            with torch.no_grad():
                means.append(network(state, {"x": here})["x"].value)
        worst = max(worst, float((means[0] - means[1]).abs().max() / means[0].abs().max()))
    return worst


@pytest.mark.parametrize("second", ["edm", "flow", "cosine"])
@pytest.mark.parametrize("name", PARAMETERIZATIONS)
def test_a_network_does_not_see_the_schedule(name: str, second: str) -> None:
    assert change_by_rescheduling(name, "vp", second) < 1e-9


def test_a_table_that_depends_on_the_schedule_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PARAMETERIZATIONS, "v", v_without_its_norm)
    assert change_by_rescheduling("v", "vp", "flow") > 1e-2


def losses(weighting: Weighting, parameterization: str, schedule: str = "cosine") -> Tensor:
    """The loss of each sample, of the same (exact) posterior, as if the network emitted ``parameterization``."""
    process = JointProcess(field(scale=SCALE), {"x": Gaussian(SCHEDULES[schedule])})
    objective = Objective(process, LogNormal(-0.5, 1.0), weighting, parameterization)
    clean = State({"x": torch.randn(32, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)})
    return objective(MIXTURE, clean, {}, seed=0, step=0, rows=range(32), total=32)


@pytest.mark.parametrize("weighting", [weightings.edm(), weightings.min_snr(gamma=5.0)])
@pytest.mark.parametrize("name", [name for name in PARAMETERIZATIONS if name != "x0"])
def test_loss_is_that_of_the_posterior(name: str, weighting: Weighting) -> None:
    torch.testing.assert_close(losses(weighting, name), losses(weighting, "x0"), rtol=1e-12, atol=0)


def test_uniform_is_measured_in_what_the_network_emits() -> None:
    assert float((losses(weightings.uniform(), "eps") / losses(weightings.uniform(), "x0")).log().std()) > 0.5


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_weights(schedule: str) -> None:
    """Each weighting at known levels: edm undoes the output factor of its own parameterization, uniform with eps is the
    SNR, and min-SNR is that up to its cap."""
    here = level(SCHEDULES[schedule], 0.0, 1)._replace(log_snr=f64(LOG_SNRS))
    alpha, sigma = SCHEDULES[schedule].alpha_sigma(here.log_snr)
    here = here._replace(alpha=alpha, sigma=sigma)
    snr = (alpha / sigma) ** 2
    out = PARAMETERIZATIONS["edm"](alpha, sigma, SCALE).out
    torch.testing.assert_close(weightings.edm()(here, out, SCALE) * out**2, torch.ones_like(out))
    out = PARAMETERIZATIONS["eps"](alpha, sigma, SCALE).out
    torch.testing.assert_close(weightings.uniform()(here, out, SCALE), snr)
    torch.testing.assert_close(weightings.min_snr(gamma=math.e)(here, out, SCALE), snr.clamp_max(math.e))
