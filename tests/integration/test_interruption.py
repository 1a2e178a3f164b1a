"""Real processes, really stopped: Ctrl-C, termination, and a kill that nothing can catch."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from suffuse.data import Batch
from suffuse.errors import RunError
from suffuse.fields import Field
from suffuse.runs import Run
from suffuse.state import State
from suffuse.training.feed import Feed, Order

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


def heeds_signals(process: subprocess.Popen[str]) -> bool:
    """Whether a run is in its loop: from then on it catches SIGUSR1."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    caught = next(int(line.split()[1], 16) for line in lines if line.startswith("SigCgt"))
    return bool(caught >> (signal.SIGUSR1 - 1) & 1)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="whether signals are caught is looked up in /proc")
@pytest.mark.parametrize(("number", "parts"), [(signal.SIGINT, 1), (signal.SIGTERM, 64)])
def test_a_second_signal_does_not_wait(number: signal.Signals, parts: int, tmp_path: Path) -> None:
    """Not even for the step under way, which takes many seconds here: in one call of torch, in which Python sees no
    signal, or in many."""
    words = (f"trainer.accumulate={parts}", "trainer.batch_size=32768", "trainer.workers=1")
    process = start(*WORDS, *words, f"hydra.run.dir={tmp_path / 'run'}")
    while not heeds_signals(process):
        assert process.poll() is None
        time.sleep(0.05)
    time.sleep(1)
    process.send_signal(number)
    time.sleep(0.7)
    assert process.poll() is None
    began = time.monotonic()
    process.send_signal(number)
    process.wait()
    assert time.monotonic() - began < 2
    assert process.returncode in (128 + number, -number)
    process.communicate()


def writes(directory: Path) -> bool:
    """Whether a checkpoint is being written: its draft is there."""
    return any((directory / "checkpoints").glob(".step-*.new"))


def validates(directory: Path) -> bool:
    """Whether a validation is under way: the loss of its step is in the log, and its own is not yet."""
    lines = Run(directory).metrics()
    return bool(lines) and lines[-1]["step"] % 30 == 0 and "validation_loss" not in lines[-1]


def stop_within(moment: Callable[[Path], bool], directory: Path, process: subprocess.Popen[str]) -> None:
    """Stop a run where it cannot see it coming; it stands still while we make sure that it is where it is to be."""
    until = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < until:
        if moment(directory):
            process.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
            if moment(directory):
                return
            process.send_signal(signal.SIGCONT)
        time.sleep(0.001)
    pytest.fail(f"never seen in the moment that it {moment.__name__}")


@pytest.mark.slow
def test_a_killed_run_ends_as_if_it_had_not_been(tmp_path: Path, whole: Run) -> None:
    """At any moment, in a checkpoint's write and in a validation too; the first line printed says which, for when it
    fails."""
    seed = random.randrange(1_000_000)
    print(f"moments of seed {seed}")
    chance, directory = random.Random(seed), tmp_path / "run"
    process = start(*WORDS, f"hydra.run.dir={directory}")
    for moment in (writes, validates, None):
        if moment is not None:
            stop_within(moment, directory, process)
        else:
            wait_for_step(directory, Run(directory).checkpoint().step + 20, process)
            time.sleep(chance.uniform(0, 0.5))
        process.kill()
        process.communicate()
        assert moment is None or moment(directory)
        process = start(f"resume={directory}")
    _, text = process.communicate(timeout=300)
    assert process.returncode == 0, text
    assert_same(Run(directory), whole)


# Workers that read ahead


@pytest.mark.slow
@pytest.mark.skipif(not Path(f"/proc/{os.getpid()}/task").is_dir(), reason="children are looked up in /proc")
def test_a_worker_that_is_killed_changes_nothing(tmp_path: Path, whole: Run) -> None:
    directory = tmp_path / "run"
    process = start(*WORDS, "trainer.workers=2", f"hydra.run.dir={directory}")
    wait_for_step(directory, 20, process)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(children) == 2
    os.kill(int(children[0]), signal.SIGKILL)
    _, text = process.communicate(timeout=60)
    assert process.returncode == 0, text
    assert "Traceback" not in text
    assert text.count("was killed") == 1
    assert_same(Run(directory), whole)


@dataclass(frozen=True)
class Trap:
    """Data of single numbers and their decoder, in which worker 0 meets its end after some batches.

    Args:
        end: what happens to it.
    """

    end: Callable[[], object]
    read: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return 64

    def sizes(self) -> None:
        return None

    def gather(self, indices: Sequence[int], rngs: object = None) -> Batch:
        self.read.extend(indices)
        worker = get_worker_info()
        if worker is not None and worker.id == 0 and len(self.read) > 8:
            self.end()
        return Batch(values=list(indices), conditions={})

    def encode(self, values: Sequence[Any]) -> State:
        return State({"x": torch.tensor(values, dtype=torch.float32)[:, None]})


def fed(trap: Trap, workers: int) -> Tensor:
    """All data as a run reads them."""
    feed = Feed(
        split=trap,  # type: ignore[arg-type]
        decoder=trap,  # type: ignore[arg-type]
        fields={"x": Field(shape=(1,))},
        order=Order(0, len(trap)),
        workers=workers,
    )
    return torch.cat([clean["x"] for clean, _ in feed.batches(range(at, at + 4) for at in range(0, 64, 4))])


def test_what_a_killed_worker_was_to_read_is_read() -> None:
    trap, before = Trap(partial(signal.raise_signal, signal.SIGTERM)), signal.getsignal(signal.SIGCHLD)
    with pytest.warns(UserWarning, match=r"trainer\.workers=2.*killed"):
        found = fed(trap, workers=2)
    assert found.equal(fed(trap, workers=0))
    assert signal.getsignal(signal.SIGCHLD) is before


@pytest.mark.parametrize(
    ("end", "how"),
    [(partial(os._exit, 3), "exit code 3"), (partial(signal.raise_signal, signal.SIGALRM), "SIGALRM")],
)
def test_a_worker_that_crashes_is_one_line(end: Callable[[], object], how: str) -> None:
    """As what it crashed in would crash the run as well."""
    with pytest.raises(RunError, match=rf"trainer\.workers=2\) crashed with {how}; .*trainer\.workers=0"):
        fed(Trap(end), workers=2)


def test_a_bug_in_a_worker_stays_what_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        fed(Trap(lambda: 1 / 0), workers=2)
