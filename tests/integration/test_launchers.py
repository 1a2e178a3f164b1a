"""A sweep whose jobs somebody else starts, as on a cluster."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from suffuse.runs import Run


@pytest.mark.slow
def test_a_sweep_by_submitit(tmp_path: Path) -> None:
    """Without SLURM; with it, the launcher is ``submitit_slurm``."""
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    words = ["modality=image", "backbone=unet_tiny", "backbone.width=16", "trainer.batch_size=16", "callbacks=none"]
    launcher = ["--multirun", "hydra/launcher=submitit_local", f"hydra.sweep.dir={tmp_path}", "trainer.steps=2"]
    command = [sys.executable, "-m", "suffuse", "train", *words, *launcher]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert Run(tmp_path / "0").checkpoint().step == 2
