"""Training steps on one GPU in our own loop, with all that it does in a real run: of a DiT without and with
``trainer.compile``, and of a U-Net without and with ``trainer.channels_last``. Floating-point operations are counted by
torch on one step in full precision; the share of peak is of what the maker states for dense matrices in that precision,
where the card is known here. Then samples in full precision, with the network asked launch by launch and as a recorded
graph, in turn. Without a GPU it is skipped."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from itertools import product
from pathlib import Path

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import loops, tasks
from benchmarks.harness import Cell, Findings, Options, Skipped, Table, interleaved
from suffuse.denoiser import Denoiser
from suffuse.guidance import Captured, Guidable
from suffuse.sampling import DDIM, Seeds, sample, uniform
from suffuse.state import State
from suffuse.training.engine import SingleProcess, exact
from suffuse_image.backbones import DiT, UNet
from suffuse_image.decoder import Pixels

__all__ = ["measure", "operations", "peak"]

_PEAKS = {"H100": (494.7e12, 989.4e12), "H200": (494.7e12, 989.4e12), "A100": (155.9e12, 311.9e12)}
"""Operations a second with TF32 and with 16 bits, dense, of the SXM forms (makers' data sheets)."""
_PRECISIONS = ("fp32", "tf32", "bf16")
_EVALUATIONS = 50


def measure(options: Options) -> Findings:
    """A row for each way to run."""
    if not torch.cuda.is_available():
        raise Skipped("there is no CUDA device")
    card = torch.cuda.get_device_name()
    size, batch, width, depth, steps, rounds = (8, 8, 64, 2, 2, 1) if options.quick else (32, 256, 512, 8, 40, 5)
    small, large, task = tasks.labelled(8, 64), tasks.labelled(size, 64), tasks.labelled(size, batch)
    compiled, last = {"compile": True}, {"channels_last": True}
    networks: list[tuple[str, nn.Module, dict[str, bool]]] = [
        ("DiT", DiT(task.fields, width=width, depth=depth, heads=8), compiled),
        ("U-Net", UNet(task.fields), last),
    ]
    made = [
        ["U-Net of the embedded default, 8x8", *_sampling(small, UNet(small.fields), rounds)],
        [f"DiT, {size}x{size}", *_sampling(large, DiT(large.fields, width=width, depth=depth, heads=8), rounds)],
    ]
    sampling = Table(
        title=f"Samples in batches of 64 by {_EVALUATIONS} evaluations in fp32",
        columns=("", "ms an evaluation, by launches", "by a graph", "samples a second, by launches", "by a graph"),
        rows=made,
    )
    training = [
        Table(
            title=f"{name} with {sum(p.numel() for p in network.parameters()):,} parameters, {size}x{size}, "
            f"batch {batch}, on one {card}",
            columns=("", "ms a step", "samples a second", "TFLOP/s", "share of peak", "s before it goes at that pace"),
            rows=_training(Denoiser(network, task.fields, "edm", task.split.conditions), task, steps, card, more),
        )
        for name, network, more in networks
    ]
    return Findings(bars=[], tables=[*training, sampling], settings={"card": card})


def _training(
    denoiser: Denoiser, task: tasks.Task, steps: int, card: str, more: Mapping[str, bool]
) -> list[list[Cell]]:
    """Of each precision, without and with more settings."""
    counted = operations(denoiser, task)
    rows: list[list[Cell]] = []
    with tempfile.TemporaryDirectory(prefix="suffuse-gpu-") as folder:
        for precision, changed in product(_PRECISIONS, ({}, more)):
            began = time.perf_counter()
            engine = SingleProcess("cuda", precision)
            seconds = loops.suffuse(denoiser, task, Path(folder), steps, engine, **changed)
            whole = time.perf_counter() - began - (loops.WARM + steps) * seconds
            rate, most = counted / seconds, peak(card, precision)
            share = None if most is None else rate / most
            name = ", ".join([precision, *changed])
            rows.append([name, 1e3 * seconds, task.batch / seconds, rate / 1e12, share, whole])
    return rows


def _sampling(task: tasks.Task, network: nn.Module, rounds: int) -> list[Cell]:
    """Milliseconds of an evaluation, sampler included, and samples a second; each without and with a graph."""
    exact(True)
    fields, count = task.fields, 64
    denoiser = Denoiser(network, fields, "edm", task.split.conditions).cuda().eval()
    process, grid = task.objective.process, uniform(_EVALUATIONS, task.schedule)
    seeds = Seeds(0, range(count))
    prior = process.prior({name: (count, *field.shape) for name, field in fields.items()}, seeds.at("prior")).to("cuda")
    condition = {"label": torch.arange(count, device="cuda") % 10}

    def seconds(guided: Guidable) -> float:
        torch.cuda.synchronize()
        began = time.perf_counter()
        made: State = sample(guided, prior, grid, DDIM(), process=process, seeds=seeds, condition=condition)
        assert made.device.type == "cuda"
        torch.cuda.synchronize()
        return time.perf_counter() - began

    captured = Captured(denoiser)
    found = interleaved({"launches": lambda: seconds(denoiser), "graph": lambda: seconds(captured)}, rounds)
    each = [found[name].median for name in ("launches", "graph")]
    return [*(1e3 * value / _EVALUATIONS for value in each), *(count / value for value in each)]


def operations(denoiser: Denoiser, task: tasks.Task) -> float:
    """Floating-point operations of one training step, forward and backward."""
    rows = range(task.batch)
    batch = task.split.gather(rows)
    clean = Pixels().encode(batch.values)
    with FlopCounterMode(display=False) as counter:
        each = task.objective(denoiser, clean, batch.conditions, seed=0, step=0, rows=rows, total=task.batch)
        torch.autograd.backward(each.mean())
    denoiser.zero_grad(set_to_none=True)
    return float(counter.get_total_flops())


def peak(card: str, precision: str) -> float | None:
    """Operations a second that the maker states; None for another card, or for plain fp32."""
    found = next((both for name, both in _PEAKS.items() if name in card), None)
    if found is None or precision == "fp32":
        return None
    return found[precision != "tf32"]
