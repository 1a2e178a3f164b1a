"""Processes that somebody else starts: torchrun, and the jobs of a sweep, as on a cluster."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from suffuse.runs import Run
from suffuse.training import Checkpoints

WORDS = ("modality=image", "backbone=unet_tiny", "backbone.width=16", "trainer.batch_size=16", "callbacks=none")


def torchrun(directory: Path, *words: str) -> subprocess.Popen[str]:
    """Two processes that train."""
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "suffuse", "train"]
    return subprocess.Popen(
        [sys.executable, *command, *WORDS, *words, f"hydra.run.dir={directory}"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_torchrun_starts_one_run(tmp_path: Path) -> None:
    process = torchrun(tmp_path / "run", "trainer.steps=3")
    _, text = process.communicate(timeout=120)
    assert process.returncode == 0, text
    assert text.count("done: ") == 1
    assert Run(tmp_path / "run").checkpoint().step == 3
    assert Run(tmp_path / "run").facts["processes"] == 2


@pytest.mark.slow
def test_torchrun_ends_with_the_first_that_is_killed(tmp_path: Path) -> None:
    process = torchrun(tmp_path / "run", "trainer.steps=100000", "trainer.checkpoint_every=5")
    until = time.monotonic() + 120
    while not Checkpoints(tmp_path / "run" / "checkpoints").steps():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < until
        time.sleep(0.1)
    _, second = children(process.pid)
    os.kill(second, signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode


def children(pid: int) -> list[int]:
    """Processes that another one started, in their order."""
    return sorted(int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split())


@pytest.mark.slow
def test_a_sweep_by_submitit(tmp_path: Path) -> None:
    """Without SLURM; with it, the launcher is ``submitit_slurm``."""
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    launcher = ["--multirun", "hydra/launcher=submitit_local", f"hydra.sweep.dir={tmp_path}", "trainer.steps=2"]
    command = [sys.executable, "-m", "suffuse", "train", *WORDS, *launcher]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert Run(tmp_path / "0").checkpoint().step == 2
