"""The same code on a GPU. Skipped, with the reason, where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from benchmarks import gpu
from benchmarks.harness import Options

from suffuse.training.engine import SingleProcess
from tiny import trainer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16", "fp16"])
def test_training_lowers_the_loss_in_every_precision(precision: str, tmp_path: Path) -> None:
    made = trainer(tmp_path, engine=SingleProcess("cuda", precision), steps=60)
    before = made.validate()
    made.fit()
    assert made.validate() < before


def test_the_benchmark_runs() -> None:
    found = gpu.measure(Options(quick=True, runs=Path(), results=None))
    assert all(row[1] > 0 for row in found.tables[0].rows)
