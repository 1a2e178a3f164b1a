"""A step of the sampler is one graph, and the loop never waits for the device."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from suffuse.denoiser import Denoise, Denoiser
from suffuse.fields import Field
from suffuse.layouts import Masked
from suffuse.noise import Draws
from suffuse.posterior import Posterior, Statement
from suffuse.processes import Discrete, Gaussian, JointProcess, Level, WrappedGaussian
from suffuse.sampling import (
    DDIM,
    Ancestral,
    Confidence,
    DPMSolver2M,
    DPMSolver3M,
    Heun,
    Hook,
    Rules,
    Seeds,
    sample,
    uniform_lambda,
)
from suffuse.sampling.executor import Walk, move_fields, plans
from suffuse.sampling.hooks import Moment
from suffuse.schedules import EDM, Cosine, SquaredCosine
from suffuse.spaces import Categorical, Torus, ZeroCenterOfMass
from suffuse.state import State

K, COUNT, ROOM = 3, 4, 5
MASK = torch.arange(ROOM) < torch.tensor([5, 2, 4, 3])[:, None]


class Network(nn.Module):
    """Emits something for every field, from all of them."""

    condition_dim = 1

    def __init__(self, fields: Mapping[str, Field]) -> None:
        super().__init__()
        self.fields = dict(fields)
        self.gain = nn.Parameter(torch.tensor(0.3))

    def forward(self, state: State, log_snr: Mapping[str, Tensor], condition: Tensor) -> dict[str, Tensor]:
        whole = sum(value.float().flatten(1).mean(1) for value in state.values())
        output = {}
        for name, value in state.items():
            level = log_snr[name].reshape(-1, *(1,) * (value.ndim - 1))
            part = torch.tanh(self.gain * value + level + whole.reshape(level.shape))  # type: ignore[union-attr]
            if isinstance(self.fields[name].space, Categorical):
                part = part.unsqueeze(-1) * torch.arange(1, K + 1, device=part.device)
            output[name] = part
        return output


def process(kind: str) -> JointProcess:
    """Of a vector, of a padded graph with places, or of padded angles."""
    if kind == "gaussian":
        return JointProcess({"x": Field(shape=(3,))}, {"x": Gaussian(Cosine())})
    if kind == "torus":
        spec = Field(shape=(-1, 2), space=Torus(), layout=Masked(1))
        return JointProcess({"x": spec}, {"x": WrappedGaussian(EDM(0.002, 1.0))})
    tokens = Discrete(SquaredCosine(), (0.0,) * K + (1.0,) if kind == "masks" else (0.2, 0.3, 0.5))
    fields = {
        "x": Field(shape=(-1, 3), space=ZeroCenterOfMass(), layout=Masked(1)),
        "c": Field(shape=(-1,), space=Categorical(K), layout=Masked(1)),
        "e": Field(shape=(-1, -1), space=Categorical(K, symmetric=True), layout=Masked(2)),
    }
    return JointProcess(fields, {"x": Gaussian(Cosine()), "c": tokens, "e": tokens})


def begin(here: JointProcess) -> State:
    shapes = {
        name: (COUNT, *(ROOM if length < 0 else length for length in field.shape))
        for name, field in here.fields.items()
    }
    mask = MASK if any(field.layout.rank for field in here.fields.values()) else None
    return here.prior(shapes, Draws(0, "prior", range(COUNT)), mask)


CASES: list[tuple[str, Rules, int]] = [
    ("gaussian", Rules(DPMSolver2M()), 1),
    ("gaussian", Rules(Heun(churn=4.0)), 3),
    ("torus", Rules(DPMSolver3M(1.0)), 2),
    ("joint", Rules(DPMSolver2M(), Ancestral()), 1),
    ("joint", Rules(DDIM(1.0), Ancestral(0.3, 0.9)), 1),
    ("masks", Rules(DPMSolver2M(), Confidence()), 1),
]
"""What is moved, by which rules, and the move that is compiled."""

Pieces = tuple[State, dict[str, list[Statement]], dict[str, Tensor]]


def step(
    look: Denoise, here: JointProcess, walk: Walk, index: int, pieces: Pieces, levels: dict[str, Level], noise: Draws
) -> Callable[[], Pieces]:
    """One move of a walk, from (state, history, anchors) to these, as one call."""
    stages = {name: plan.stages[index] for name, plan in walk.plans.items()}
    state, history, anchors = pieces
    fresh = {n: here.noise(n, tuple(state[n].shape), noise) for n, stage in stages.items() if stage.random}

    def call() -> Pieces:
        kept: dict[str, list[Statement]] = {name: [] for name in history}
        if walk.moves[index].look:
            belief = look(state, levels)
            kept = {name: [belief[name], *history[name]][: walk.plans[name].memory] for name in history}
        started = {name: state[name] if stage.commit else anchors[name] for name, stage in stages.items()}
        return move_fields(stages, state, started, kept, fresh, here), kept, started

    return call


def differs_when_compiled(
    kind: str, rules: Rules, at: int, backend: str, wrap: Callable[[Denoise], Denoise] = lambda look: look
) -> float:
    """How far the state after a compiled move is from that after the plain one; infinite where a class differs."""
    here = process(kind)
    look = wrap(Denoiser(Network(here.fields), here.fields).eval())
    walk = plans(uniform_lambda(rules.solver.intervals(5), here.schedule), rules, here)
    state = begin(here)
    pieces: Pieces = state, {name: [] for name in here.fields}, dict(state.fields)
    for index, levels in enumerate(walk.columns(here, state)):
        call = step(look, here, walk, index, pieces, levels, Draws(0, "step", range(COUNT), index))
        with torch.no_grad():
            before, pieces = pieces, call()
            if index == at:
                torch._dynamo.reset()
                fused = torch.compile(call, fullgraph=True, backend=backend)()[0]
                break
    assert any(not torch.equal(before[0][name], value) for name, value in pieces[0].items())
    return max(
        float((fused[name] - value).abs().max())
        if value.is_floating_point()
        else float(torch.where(fused[name] == value, 0.0, torch.inf).max())
        for name, value in pieces[0].items()
    )


@pytest.mark.parametrize(("kind", "rules", "at"), CASES)
def test_a_step_is_one_graph(kind: str, rules: Rules, at: int) -> None:
    """Its network and the kernels of all fields."""
    assert differs_when_compiled(kind, rules, at, "eager") < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "rules", "at"), CASES)
def test_a_step_is_one_graph_for_inductor(kind: str, rules: Rules, at: int) -> None:
    assert differs_when_compiled(kind, rules, at, "inductor") < 1e-4


@dataclass(frozen=True)
class Peeking:
    """A denoiser that looks at a number on the way."""

    denoiser: Denoise

    def __call__(
        self,
        state: State,
        levels: Mapping[str, Level],
        condition: Mapping[str, Tensor] | None = None,
        previous: Posterior | None = None,
    ) -> Posterior:
        if float(state["x"].sum()) > 1e30:
            raise ValueError("never")
        return self.denoiser(state, levels)


def test_a_break_in_the_graph_is_noticed() -> None:
    with pytest.raises(torch._dynamo.exc.TorchDynamoException):
        differs_when_compiled("gaussian", Rules(DDIM()), 1, "eager", Peeking)


class Waits(TorchDispatchMode):
    """Counts operations whose result the host, or the shape of a tensor, depends on: those that wait for a device."""

    kinds = frozenset({"_local_scalar_dense", "is_nonzero", "equal", "nonzero", "masked_select", "bincount",
                       "unique_dim", "_unique2", "repeat_interleave"})  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket._qualified_op_name.removeprefix("aten::")
        by_mask = name in ("index", "index_put", "index_put_") and any(
            isinstance(part, Tensor) and part.dtype == torch.bool for part in tree_leaves(args[1])
        )
        self.count += name in self.kinds or by_mask
        return func(*args, **(kwargs or {}))


class OnDevice(Tensor):
    """A tensor that counts when it is asked for its numbers as such, which no operation shows."""

    asked = 0
    ways = frozenset({"tolist", "numpy", "cpu", "__array__", "item", "__bool__", "__float__", "__int__"})

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        OnDevice.asked += getattr(func, "__name__", "") in cls.ways
        return super().__torch_function__(func, types, args, kwargs or {})


class TellOnDevice(Hook):
    """Levels that count too."""

    def levels(self, levels: Mapping[str, Level], state: State, moment: Moment) -> Mapping[str, Level]:
        return {
            name: level._replace(
                alpha=level.alpha.as_subclass(OnDevice),
                sigma=level.sigma.as_subclass(OnDevice),
                log_snr=level.log_snr.as_subclass(OnDevice),
            )
            for name, level in levels.items()
        }


def waits(kind: str, rules: Rules, steps: int, wrap: Callable[[Denoise], Denoise] = lambda look: look) -> int:
    """How often a whole walk waits for the numbers of its tensors."""
    here = process(kind)
    look = wrap(Denoiser(Network(here.fields), here.fields).eval())
    grid = uniform_lambda(steps, here.schedule)
    OnDevice.asked = 0
    start, seeds = begin(here).map(lambda value: value.as_subclass(OnDevice)), Seeds(0, range(COUNT))
    with Waits() as mode:
        sample(look, start, grid, rules, process=here, seeds=seeds, hooks=[TellOnDevice()])
    return int(mode.count) + OnDevice.asked


@pytest.mark.parametrize(("kind", "rules"), [case[:2] for case in CASES])
def test_the_loop_never_waits(kind: str, rules: Rules) -> None:
    """A walk four times as long waits as often: at the end, to see that all is a number."""
    short = waits(kind, rules, 4)
    assert 1 <= short <= 3
    assert waits(kind, rules, 16) == short


def test_a_wait_in_the_loop_is_noticed() -> None:
    assert waits("gaussian", Rules(DDIM()), 16, Peeking) >= waits("gaussian", Rules(DDIM()), 4, Peeking) + 12
