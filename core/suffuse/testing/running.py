"""Checks of whole runs: seeds, checkpoints, the command line, and what a kill leaves behind."""

from __future__ import annotations

import json
import signal

import torch

from suffuse.assembly import load
from suffuse.runs import Run
from suffuse.testing.bench import Bench, command, in_a_new_process
from suffuse.testing.check import ensure
from suffuse.training.checkpoints import Checkpoint, Checkpoints

__all__ = [
    "a_killed_run_goes_on",
    "a_run_is_made_from_the_command_line",
    "a_seed_makes_one_sample",
    "components_leave_the_process_alone",
    "weights_come_back",
]

_KILLED = """
import os, signal, sys
from suffuse.training import checkpoints
from suffuse.cli import main

written, save_file = [], checkpoints.save_file

def killed(*given):
    save_file(*given)
    written.append(given)
    if len(written) == 5:
        os.kill(os.getpid(), signal.SIGKILL)

checkpoints.save_file = killed
main(sys.argv[1:])
"""
"""A checkpoint has three or four files of tensors, so that the fifth belongs to the second."""


def a_seed_makes_one_sample(bench: Bench) -> None:
    """A sample is a function of seed and index, whatever it is drawn beside; another seed makes another."""
    model = bench.model
    recipe = model.recipe()
    indices = range(4)
    asked = model.asked({}, indices)
    together = model.draw(indices, asked, recipe, seed=0, compute_batch=2)
    again = model.draw(indices, asked, recipe, seed=0, compute_batch=2)
    ensure(all(together[name].equal(again[name]) for name in together), "the same seed makes different samples")
    alone = model.draw([2], {name: values[2:3] for name, values in asked.items()}, recipe, seed=0, compute_batch=2)
    for name, spec in model.fields.items():
        one = spec.layout.to_packed(alone[name], alone.mask)
        row = together.rows(slice(2, 3))
        ensure(one.equal(spec.layout.to_packed(row[name], row.mask)), f"sample 2 by itself has another field {name}")
    other = model.draw(indices, asked, recipe, seed=1, compute_batch=2)
    made = [name for name in model.fields if not model.process.frozen(name)]
    differ = any(other[name].shape != together[name].shape or not other[name].equal(together[name]) for name in made)
    ensure(differ, "two seeds make the same samples")


def weights_come_back(bench: Bench) -> None:
    """A model that is saved and loaded believes what it believed, in every bit."""
    run = Run(bench.folder / "saved")
    run.begin(bench.config)
    weights = bench.model.denoiser.state_dict()
    Checkpoints(run.directory / "checkpoints").save(
        Checkpoint(step=1, tensors={"model": weights, "average": weights}, state=bench.model.describe())
    )
    model = load(run)
    state, levels = bench.seen
    belief = bench.believed(state, levels, bench.clean.conditions)
    with torch.no_grad():
        again = model.denoiser(state, levels, bench.clean.conditions)
    for name, each in belief.items():
        ensure(each.value.equal(again[name].value), f"field {name}: the loaded model believes something else")
    ensure(model.conditions == bench.model.conditions, "the loaded model has other conditions")
    values = (bench.decoder.decode(bench.clean.state), model.decoder.decode(bench.clean.state))
    ours, theirs = (bench.decoder.encode(each) for each in values)
    ensure(all(ours[name].equal(theirs[name]) for name in ours), "the loaded model decodes to something else")


def a_run_is_made_from_the_command_line(bench: Bench) -> None:
    """``suffuse train`` and ``suffuse sample`` work, and leave what they say."""
    run = _whole(bench)
    steps = [line["step"] for line in run.metrics() if "loss" in line]
    ensure(steps[-1] == bench.config["trainer"]["steps"], f"the run logged steps {steps}")
    folder = bench.folder / "samples"
    command("sample", f"run={run.directory}", "n=3", "compute_batch=3", "device=cpu", f"out={folder}")
    manifest = json.loads((folder / "samples.json").read_text())
    missing = [name for name in {"sheet.png": {}, **manifest["files"]} if not (folder / name).is_file()]
    count = len(manifest["samples"])
    ensure(count == 3 and not missing, f"`suffuse sample` left {count} samples; missing: {missing}")


def a_killed_run_goes_on(bench: Bench) -> None:
    """A run that is killed and resumed ends in the same weights, in every bit, as one that is not."""
    run, _ = _killed(bench)
    command("train", f"resume={run.directory}")
    ours, theirs = run.checkpoint(), _whole(bench).checkpoint()
    ensure(ours.step == theirs.step, f"the resumed run ended at step {ours.step}, not {theirs.step}")
    for group, tensors in theirs.tensors.items():
        differing = [name for name, value in tensors.items() if not value.equal(ours.tensors[group][name])]
        ensure(not differing, f"after a kill and a resume {len(differing)} tensors of {group} differ: {differing[:3]}")


def components_leave_the_process_alone(bench: Bench) -> None:
    """Nothing that the plugin brings prints when it is loaded, or changes torch for everybody."""
    _, text = _killed(bench)
    label = bench.found.label
    said = [line for line in text.splitlines() if "warning: " in line and label in line]
    ensure(not said, said[0].partition("warning: ")[2] if said else "")


def _whole(bench: Bench) -> Run:
    """The run that nobody disturbs; made at the first call."""
    run = Run(bench.folder / "whole")
    if not run.metrics_file.exists():
        command("train", *bench.words, f"hydra.run.dir={run.directory}")
    return run


def _killed(bench: Bench) -> tuple[Run, str]:
    """A run in a process of its own that is killed while it writes its second checkpoint, and what it had printed."""
    run, log = Run(bench.folder / "killed"), bench.folder / "killed.txt"
    if not log.exists():
        words = ["train", *bench.words, f"hydra.run.dir={run.directory}"]
        done = in_a_new_process(_KILLED, *words)
        log.write_text(done.stdout + done.stderr)
        ensure(done.returncode == -signal.SIGKILL, f"training in a new process fails: {done.stderr.strip()[-500:]}")
    return run, log.read_text()
