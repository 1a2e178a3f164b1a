"""Two processes learn what one learns, with weights split over them or not; each goes on with what the other began."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from suffuse.runs import Run
from suffuse.training import Checkpoints
from two import STEPS, train

HERE = Path(__file__).parents[1]
CASES = ("replicas", "shards", "one-to-replicas", "one-to-shards", "replicas-to-one", "shards-to-one")


def together(
    *command: str, count: int = 2, ranks: Sequence[int] | None = None, **environment: str
) -> list[subprocess.Popen[str]]:
    """The same command in several processes that know of each other, as torchrun starts them; or in some of them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    known = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count), "OMP_NUM_THREADS": "1"}
    return [
        subprocess.Popen(
            [sys.executable, *command],
            env={**os.environ, **known, "RANK": str(rank), "LOCAL_RANK": str(rank), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (range(count) if ranks is None else ranks)
    ]


def halved(source: Path, target: Path) -> Path:
    """A copy of a run that was cut off after its first half."""
    shutil.copytree(source, target)
    shutil.rmtree(Checkpoints(target / "checkpoints").path(STEPS))
    return target


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of one process, and all `CASES`."""
    folder = tmp_path_factory.mktemp("runs")
    train(folder / "one").fit()
    for name in ("replicas", "shards"):
        halved(folder / "one", folder / f"one-to-{name}")
    for process in together(str(HERE / "two.py"), str(folder), PYTHONPATH=str(HERE)):
        _, text = process.communicate(timeout=120)
        assert process.returncode == 0, text
    for name in ("replicas", "shards"):
        resumed = train(halved(folder / name, folder / f"{name}-to-one"))
        resumed.resume()
        resumed.fit()
    return folder


def logged(directory: Path, name: str) -> dict[int, float]:
    return {line["step"]: line[name] for line in json.loads((directory / "log.json").read_text()) if name in line}


@pytest.mark.parametrize("case", CASES)
def test_two_processes_learn_what_one_learns(runs: Path, case: str) -> None:
    """Losses to 1e-6, in the order of which alone they differ; and all that a checkpoint holds."""
    for name in ("loss", "gradient_norm", "validation_loss"):
        ours, theirs = logged(runs / case, name), logged(runs / "one", name)
        assert max(ours) == STEPS
        assert len(ours) >= len(theirs) // 2
        for step, value in ours.items():
            assert value == pytest.approx(theirs[step], rel=1e-6, abs=1e-7), f"{name} of step {step}"
    ours, theirs = (Checkpoints(runs / name / "checkpoints").load(STEPS) for name in (case, "one"))
    measured = {name: ours.state[name] for name in ("figures", "usual_loss")}
    assert ours.state == theirs.state | measured
    for group, tensors in theirs.tensors.items():
        assert tensors.keys() == ours.tensors[group].keys()
        for name, value in tensors.items():
            torch.testing.assert_close(ours.tensors[group][name], value, rtol=0, atol=1e-6, msg=f"{group}: {name}")


def test_shards_learn_what_replicas_do(runs: Path) -> None:
    """FSDP2 beside DDP."""
    ours, theirs = logged(runs / "shards", "loss"), logged(runs / "replicas", "loss")
    assert list(ours) == list(theirs) == list(range(1, STEPS + 1))
    assert list(ours.values()) == pytest.approx(list(theirs.values()), rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("case", CASES)
def test_snapshots_are_whole(runs: Path, case: str) -> None:
    names = [sorted(file.name for file in (runs / each / "averages").iterdir()) for each in (case, "one")]
    assert names[0] == names[1]


def test_shares_that_do_not_add_up_are_noticed(runs: Path) -> None:
    ours, theirs = (logged(runs / name, "gradient_norm")[1] for name in ("unequal", "one"))
    assert ours == pytest.approx(theirs / 2, rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "rank"), [("shards", 1), ("validation", 1), ("preparation", 0), ("preview", 0)])
def test_a_process_that_fails_ends_the_others(tmp_path: Path, fault: str, rank: int) -> None:
    """Each with one line: its own cause, whatever that is, or that another one ended."""
    processes = together(str(HERE / "two.py"), str(tmp_path), fault, PYTHONPATH=str(HERE))
    said = [process.communicate(timeout=60)[0].splitlines() for process in processes]
    assert said[rank] == ["it has had enough"]
    (line,) = said[1 - rank]
    assert "another process of this run has ended" in line


# From the command line

WORDS = [
    "modality=image",
    "backbone=unet_tiny",
    "backbone.width=16",
    "trainer.batch_size=16",
    "trainer.steps=100000",
    "trainer.checkpoint_every=10",
    "trainer.log_every=10",
    "trainer.preview_every=15",
    "callbacks=none",
]


def begun(directory: Path, *words: str) -> list[subprocess.Popen[str]]:
    """Two processes that have trained for some steps."""
    processes = together("-m", "suffuse", "train", *WORDS, *words, f"hydra.run.dir={directory}")
    until = time.monotonic() + 120
    while len(Checkpoints(directory / "checkpoints").steps()) < 2:
        assert all(process.poll() is None for process in processes), [p.communicate()[1] for p in processes]
        assert time.monotonic() < until
        time.sleep(0.1)
    return processes


@pytest.mark.slow
def test_a_signal_to_one_stops_both(tmp_path: Path) -> None:
    """At the same step, with one voice; one process goes on, to the same directory."""
    directory = tmp_path / "run"
    processes = begun(directory, "trainer.shard=true")
    processes[1].send_signal(signal.SIGUSR1)
    first, second = (process.communicate(timeout=60)[1] for process in processes)
    assert [process.returncode for process in processes] == [143, 143], first + second
    step = Run(directory).checkpoint().step
    assert f"stopped after step {step}; go on with: suffuse train resume={directory}" in first
    assert second == ""
    assert Run(directory).facts["processes"] == 2
    assert len(list((directory / "samples").glob("*.png"))) == step // 15
    words = [f"resume={directory}", f"trainer.steps={step + 5}"]
    again = subprocess.run([sys.executable, "-m", "suffuse", "train", *words], capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert Run(directory).checkpoint().step == step + 5


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_whose_others_never_come_says_so(tmp_path: Path, rank: int) -> None:
    """As where another one died before all had met."""
    command = ("-m", "suffuse", "train", *WORDS, "trainer.meeting=2", f"hydra.run.dir={tmp_path / 'run'}")
    (process,) = together(*command, count=2, ranks=[rank])
    _, text = process.communicate(timeout=60)
    assert process.returncode == 2
    last = text.splitlines()[-1]  # torch may say something before it
    assert "the 2 processes of this run did not find one another within trainer.meeting=2 seconds" in last
    assert "Traceback" not in text


@pytest.mark.slow
def test_a_process_that_is_killed_ends_the_run(tmp_path: Path) -> None:
    processes = begun(tmp_path / "run")
    processes[1].kill()
    began = time.monotonic()
    text = processes[0].communicate(timeout=60)[1]
    assert time.monotonic() - began < 60
    assert processes[0].returncode == 2
    assert text.splitlines()[-1].startswith("suffuse: another process of this run has ended")
    assert "Traceback" not in text
    processes[1].communicate()
