"""Real processes, really stopped: Ctrl-C, termination, and a kill that nothing can catch."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from suffuse.runs import Run

WORDS = [
    "modality=image",
    "backbone=unet_tiny",
    "backbone.width=16",
    "trainer.batch_size=16",
    "trainer.steps=120",
    "trainer.checkpoint_every=20",
    "trainer.log_every=10",
    "trainer.validate_every=30",
    "trainer.preview_every=0",
    "callbacks=none",
]


def start(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "suffuse", "train", *words],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_step(directory: Path, step: int, process: subprocess.Popen[str]) -> None:
    """Until the run has a checkpoint of that step or a later one."""
    for _ in range(1200):
        if any((directory / "checkpoints").glob("step-*")) and max(Run(directory).checkpoint().step, 0) >= step:
            return
        if process.poll() is not None:
            pytest.fail(f"ended early: {process.communicate()[1]}")
        time.sleep(0.05)
    pytest.fail("no progress in a minute")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The run that nobody disturbs."""
    directory = tmp_path_factory.mktemp("whole") / "run"
    process = start(*WORDS, f"hydra.run.dir={directory}")
    _, text = process.communicate(timeout=300)
    assert process.returncode == 0, text
    return Run(directory)


def assert_same(run: Run, whole: Run) -> None:
    ours, theirs = run.checkpoint(), whole.checkpoint()
    assert ours.step == theirs.step
    for group, tensors in theirs.tensors.items():
        for name, value in tensors.items():
            assert value.equal(ours.tensors[group][name]), f"{group}: {name} differs"
    timeless = [
        [{key: value for key, value in line.items() if key != "samples_per_second"} for line in each.metrics()]
        for each in (run, whole)
    ]
    assert timeless[0] == timeless[1]
    alike = ("processor", "threads", "processes", "torch")  # what bits depend on
    assert [run.facts[name] for name in alike] == [whole.facts[name] for name in alike]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_the_run_goes_on(number: signal.Signals, tmp_path: Path, whole: Run) -> None:
    directory = tmp_path / "run"
    process = start(*WORDS, f"hydra.run.dir={directory}")
    wait_for_step(directory, 20, process)
    process.send_signal(number)
    _, text = process.communicate(timeout=60)
    assert process.returncode == 128 + number, text
    assert "Traceback" not in text
    assert f"resume={directory}" in text
    assert Run(directory).checkpoint().step < 120
    again = start(f"resume={directory}")
    _, text = again.communicate(timeout=300)
    assert again.returncode == 0, text
    assert_same(Run(directory), whole)


@pytest.mark.slow
def test_a_second_signal_does_not_wait(tmp_path: Path) -> None:
    """Not even for the step under way, which takes seconds here."""
    process = start(*WORDS, "trainer.batch_size=32768", f"hydra.run.dir={tmp_path / 'run'}")
    assert process.stderr is not None
    while "run directory" not in process.stderr.readline():
        assert process.poll() is None
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=6)  # two seconds, and what a machine that runs other tests beside it may take
    assert process.returncode == -signal.SIGTERM


@pytest.mark.slow
def test_a_killed_run_ends_as_if_it_had_not_been(tmp_path: Path, whole: Run) -> None:
    """At any moment; the first line printed says which, for when it fails."""
    seed = random.randrange(1_000_000)
    print(f"moments of seed {seed}")
    chance, directory = random.Random(seed), tmp_path / "run"
    process = start(*WORDS, f"hydra.run.dir={directory}")
    for step in (20, 60):
        wait_for_step(directory, step, process)
        time.sleep(chance.uniform(0, 0.5))
        process.kill()
        process.wait()
        process.communicate()
        process = start(f"resume={directory}")
    _, text = process.communicate(timeout=300)
    assert process.returncode == 0, text
    assert_same(Run(directory), whole)
