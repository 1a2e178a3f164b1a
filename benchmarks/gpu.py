"""Training steps of a DiT on one GPU, by precision, eager and compiled, in our own loop with all that it does in a real
run. Floating-point operations are counted by torch on one step in full precision; the share of peak is of what the
maker states for dense matrices in that precision, where the card is known here. Without a GPU it is skipped."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import loops, tasks
from benchmarks.harness import Cell, Findings, Options, Skipped, Table
from suffuse.denoiser import Denoiser
from suffuse.training.engine import SingleProcess
from suffuse_image.backbones import DiT
from suffuse_image.decoder import Pixels

__all__ = ["measure", "operations", "peak"]

_PEAKS = {"H100": (494.7e12, 989.4e12), "H200": (494.7e12, 989.4e12), "A100": (155.9e12, 311.9e12)}
"""Operations a second with TF32 and with 16 bits, dense, of the SXM forms (makers' data sheets)."""
_PRECISIONS = ("fp32", "tf32", "bf16")


def measure(options: Options) -> Findings:
    """A row for each way to run."""
    if not torch.cuda.is_available():
        raise Skipped("there is no CUDA device")
    card = torch.cuda.get_device_name()
    size, batch, width, depth, steps = (8, 8, 64, 2, 2) if options.quick else (32, 256, 512, 8, 40)
    task = tasks.labelled(size, batch)
    denoiser = Denoiser(DiT(task.fields, width=width, depth=depth, heads=8), task.fields, "edm", task.split.conditions)
    counted = operations(denoiser, task)
    rows: list[list[Cell]] = []
    with tempfile.TemporaryDirectory(prefix="suffuse-gpu-") as folder:
        for precision in _PRECISIONS:
            for compiled in (False, True):
                engine = SingleProcess("cuda", precision)
                seconds = loops.suffuse(denoiser, task, Path(folder), steps, engine, compiled)
                rate, most = counted / seconds, peak(card, precision)
                share = None if most is None else rate / most
                name = f"{precision}{', compiled' if compiled else ''}"
                rows.append([name, 1e3 * seconds, batch / seconds, rate / 1e12, share])
    columns = ("", "ms a step", "samples a second", "TFLOP/s", "share of peak")
    count = sum(parameter.numel() for parameter in denoiser.parameters())
    title = f"DiT with {count:,} parameters, {size}x{size}, batch {batch}, on one {card}"
    return Findings(bars=[], tables=[Table(title=title, columns=columns, rows=rows)], settings={"card": card})


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
