"""What benchmarks measure with: the exact solution, the direct kernel, the exact denoisers, the other libraries."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks import __main__ as entry
from benchmarks import direct, faults, figures, gpu, loop, mixture, peers, solvers, tasks, together
from benchmarks.harness import Findings, Record, Skipped, Spread, Table
from benchmarks.lives import Diary
from torch import Tensor

from suffuse.denoiser import Denoiser
from suffuse.posterior import Mean, Posterior
from suffuse.sampling import DDIM, DPMSolver2M, DPMSolver3M, Heun
from suffuse.sampling.kernels import reverse
from suffuse.training import Checkpoints, checkpoints
from suffuse_image.backbones import DiT

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def installed() -> None:
    """Skip a test where one of the other libraries is absent."""
    try:
        peers.versions()
    except Skipped as reason:
        pytest.skip(str(reason))


def test_the_belief_is_the_gradient_of_the_density() -> None:
    """Tweedie: E[x_0 | y] = y + u^2 grad log p(y)."""
    y, u = mixture.noisy(6, 1.3, 0).requires_grad_(), torch.tensor(1.3, dtype=torch.float64)
    variance = mixture.DEVIATIONS**2 + u**2
    apart = (y[:, None] - mixture.MEANS).square().sum(-1)
    density = (mixture.WEIGHTS / variance * torch.exp(-apart / variance / 2)).sum(1).log().sum()
    (score,) = torch.autograd.grad(density, y)
    torch.testing.assert_close(mixture.mean(y.detach(), u), (y + u**2 * score).detach(), rtol=1e-10, atol=1e-10)


def test_the_flow_goes_where_many_small_steps_go() -> None:
    y = mixture.noisy(8, 5.0, 0)
    ratios = [*torch.logspace(math.log10(5), -4, 400, dtype=torch.float64).tolist(), 0.0]
    made = peers.ours(DPMSolver2M())(mixture.mean, ratios, y)
    torch.testing.assert_close(made, mixture.flow(y, 5.0), atol=1e-3, rtol=0)
    half = mixture.flow(mixture.flow(y, 5.0, 0.5), 0.5)
    torch.testing.assert_close(half, mixture.flow(y, 5.0), atol=1e-9, rtol=0)


def test_quantiles_tell_the_data_from_others() -> None:
    near, far = mixture.clean(20_000, 1), 1.1 * mixture.clean(20_000, 1)
    assert mixture.sliced_distance(near) < 0.02 < 0.05 < mixture.sliced_distance(far)


@pytest.mark.parametrize("end", [0.05, 0.0])
def test_the_rule_of_each_library_takes_the_same_walk(end: float) -> None:
    """First and second order: equal to rounding, whatever the scale and the loop."""
    installed()
    y, ratios = mixture.noisy(8, 20.0, 0), [20.0, 8.0, 3.0, 1.0, 0.3, 0.1, end]
    rules = {
        DDIM(): [
            peers.scheduler("EulerDiscreteScheduler", "exploding", "epsilon"),
            peers.scheduler("FlowMatchEulerDiscreteScheduler", "flow", "velocity"),
            peers.along("sample_euler"),
            peers.azula("DDIMSampler"),
        ],
        Heun(): [
            peers.scheduler("HeunDiscreteScheduler", "exploding", "epsilon", "ends"),
            peers.along("sample_heun"),
            peers.azula("HeunSampler"),
        ],
    }
    if end == 0:  # elsewhere the scheduler makes its last step a first-order one by default
        rules[DPMSolver2M()] = [
            peers.scheduler("DPMSolverMultistepScheduler", "preserving", "sample"),
            peers.along("sample_dpmpp_2m"),
        ]
        rules[DDIM()] += [peers.ddim()]
    for solver, others in rules.items():
        made = peers.ours(solver)(mixture.mean, ratios, y)
        for walk in others:
            torch.testing.assert_close(walk(mixture.mean, ratios, y), made, atol=2e-5, rtol=0)


def test_another_rule_is_noticed() -> None:
    installed()
    y, ratios = mixture.noisy(8, 20.0, 0), [20.0, 8.0, 3.0, 1.0, 0.3, 0.1, 0.0]
    made = peers.ours(DPMSolver3M())(mixture.mean, ratios, y)
    other = peers.scheduler("DPMSolverMultistepScheduler", "preserving", "sample", solver_order=3)(
        mixture.mean, ratios, y
    )
    assert float((made - other).abs().max()) > 1e-3


def test_every_contender_keeps_to_its_budget_of_evaluations() -> None:
    installed()
    y = mixture.noisy(4, math.exp(-solvers.SCHEDULE.log_snr_min), 0)
    for one in solvers.deterministic():
        for grid in solvers.GRIDS:
            assert solvers.made(one, grid, 6, y).isfinite().all()


def test_the_first_of_every_rule_is_ours() -> None:
    installed()
    for contenders in (solvers.deterministic(), solvers.stochastic()):
        for rule in {one.rule for one in contenders} - {solvers.OWN}:
            names = [one.name for one in contenders if one.rule == rule]
            assert names[0] == "suffuse"
            assert len(names) > 1


def contender(rule: str, name: str) -> solvers.Contender:
    return solvers.Contender(rule, name, peers.ours(DDIM()))


def test_bars_of_accuracy_take_the_worst_place_and_the_best_other() -> None:
    rows = {
        contender("DDIM", "suffuse"): [0.2, 0.1, 0.1, 0.1],
        contender("DDIM", "a"): [0.1, 0.1, 0.1, 0.1],
        contender("DDIM", "b"): [0.4, 0.2, 0.2, 0.2],
        contender(solvers.OWN, "c"): [0.05, 0.0, 0.0, 0.0],
    }
    (bar,) = solvers.nearest("grid", rows)
    assert (bar.found, bar.met) == (2.0, False)
    table = solvers.best({"grid": rows})
    assert list(table.rows[0]) == ["grid, 5 NFE", "DDIM", 0.2, "c", 0.05]


def test_bars_of_time_compare_with_the_fastest_other() -> None:
    def walk() -> float:
        return 0.0

    rules = {"DDIM": dict.fromkeys(("ours", "a", "b"), walk), "UniPC": {"c": walk}}
    (bar,) = loop.fastest(rules, {"ours": Spread([2.0]), "a": Spread([4.0]), "b": Spread([8.0]), "c": Spread([1.0])})
    assert (bar.found, bar.met) == (0.5, True)


def shifted(belief: Tensor, token: Tensor, keep: float, keep_to: float, pi: Tensor) -> Tensor:
    """A kernel that takes one keep-probability for the other."""
    return reverse(belief, token, keep, keep, pi)


@pytest.mark.parametrize("kernel", [reverse, direct.Matrices.step])
@pytest.mark.parametrize("absorbing", [False, True])
def test_walks_of_one_entry_are_exact_and_a_broken_kernel_is_noticed(kernel: direct.Reverse, absorbing: bool) -> None:
    data = direct.toy(5, 1)
    pi = torch.tensor([0.0] * 5 + [1.0] if absorbing else [0.2] * 5, dtype=torch.float64)
    keeps = [0.0, 0.3, 0.7, 1.0]
    torch.testing.assert_close(direct.end_of_walk(data, pi, keeps, kernel), data, atol=1e-12, rtol=0)
    assert float((direct.end_of_walk(data, pi, keeps, shifted) - data).abs().sum()) > 0.1


def test_both_kernels_walk_two_entries_alike_and_come_nearer_with_more_steps() -> None:
    data, pi = direct.toy(3, 2), torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    errors = []
    for steps in (8, 16):
        keeps = torch.linspace(0, 1, steps + 1).tolist()
        end = direct.end_of_walk(data, pi, keeps, reverse)
        torch.testing.assert_close(end, direct.end_of_walk(data, pi, keeps, direct.Matrices.step), atol=1e-12, rtol=0)
        assert float(end.sum()) == pytest.approx(1)
        errors.append(float((end - data).abs().sum()))
    assert errors[1] < 0.6 * errors[0]


def test_the_joint_denoiser_is_right_and_a_wrong_one_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    floor = together.distance(together.exact(20_000, 3))
    assert together.distance(together.walked(DPMSolver2M(), 48, 20_000)) < 1.5 * floor
    right = together.denoise

    def shy(*given: Any, **named: Any) -> Posterior:
        belief = right(*given, **named)
        return {**belief, "x": Mean(0.95 * belief["x"].value)}

    monkeypatch.setattr(together, "denoise", shy)
    assert together.distance(together.walked(DPMSolver2M(), 48, 20_000)) > 2 * floor


def record(*titles: str) -> Record:
    rows = [[rule, name, 1.0, 0.5, 0.2, 0.1] for rule in figures.COLOURS for name in ("suffuse", "azula X")]
    columns = ("rule", "sampler", "5 NFE", "10 NFE", "20 NFE", "50 NFE")
    findings = Findings(bars=[], tables=[Table(title=title, columns=columns, rows=rows) for title in titles])
    return Record(
        name="solvers", about="", command="", date="", seconds=1.0, quick=False, machine={}, findings=findings
    )


def test_the_figure_is_drawn_from_the_record(tmp_path: Path) -> None:
    figures.solver_error(record(*(f"Error on the grid: {grid}" for grid in figures.GRIDS)), tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 10_000
    with pytest.raises(ValueError, match="no table"):
        figures.solver_error(record("Something else"), tmp_path / "b.png")


def test_figures_without_a_record_name_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert entry.draw(tmp_path) == 1
    assert "python -m benchmarks solvers" in capsys.readouterr().err


def test_a_library_that_is_absent_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(peers, "version", absent)
    with pytest.raises(Skipped, match="diffusers is not installed"):
        peers.versions()


def test_operations_of_a_step_are_counted() -> None:
    """Of linear layers alone: twice the products forward, and twice that again backward, but for the first layer."""
    task = tasks.labelled(8, 4)
    few, many = (
        gpu.operations(Denoiser(DiT(task.fields, width=64, depth=d, heads=4), task.fields, "edm"), task) for d in (1, 2)
    )
    tokens, width = 4 * 16, 64
    products = tokens * width * width * 12 + 2 * 4 * 16 * 16 * width  # qkv, out, two of the feed-forward; attention
    steering = 4 * 128 * 6 * width
    assert many - few == pytest.approx(3 * 2 * (products + steering), rel=0.1)


def test_peaks_are_known_by_card_and_precision() -> None:
    assert gpu.peak("NVIDIA H100 80GB HBM3", "bf16") == 2 * gpu.peak("NVIDIA H100 80GB HBM3", "tf32")
    assert gpu.peak("NVIDIA H100 80GB HBM3", "fp32") is None
    assert gpu.peak("Some other card", "bf16") is None


# Accidents


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoints that accidents happen to."""
    folder = tmp_path_factory.mktemp("sound")
    for step in faults.STEPS:
        Checkpoints(folder).save(faults.made(step, 400))
    return folder


@pytest.mark.parametrize("harm", [faults.cut, faults.emptied, faults.removed, faults.flipped])
def test_accidents_are_detected(
    sound: Path, tmp_path: Path, harm: Callable[[Path, random.Random], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faults, "made", partial(faults.made, size=400))
    for file in faults.FILES:
        assert faults.damaged(sound, tmp_path / "now", harm, file, random.Random(0)), file


def test_accidents_that_nobody_detects_count_against_us(
    sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mutant: what is in a file is held against nothing."""
    monkeypatch.setattr(faults, "made", partial(faults.made, size=400))
    trusting = lambda path: json.loads((path.parent / "manifest.json").read_text())["files"][path.name]  # noqa: E731
    monkeypatch.setattr(checkpoints, "facts", trusting)
    assert not faults.damaged(sound, tmp_path / "now", faults.flipped, "model.safetensors", random.Random(0))


class Worker:
    """Does something that is noted."""

    def work(self, diary: Diary) -> str | None:
        return diary.inside()


@pytest.mark.parametrize("rank", [None, 0, 1])
def test_a_diary_says_what_its_process_is_in(rank: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several processes, that of the first."""
    monkeypatch.setattr(Worker, "work", Worker.work)  # and so put back
    if rank is not None:
        monkeypatch.setenv("RANK", str(rank))
    diary = Diary(tmp_path / "diary")
    assert (diary.entered("some work"), diary.inside(), diary.length("some work")) == (0, None, 0.0)
    diary.keep({"some work": (Worker, "work")})
    for _ in range(2):
        assert Worker().work(diary) == (None if rank else "some work")
    assert diary.inside() is None
    assert diary.entered("some work") == (0 if rank else 2)
    assert (diary.length("some work") > 0) is not bool(rank)
