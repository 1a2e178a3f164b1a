"""Which process this is, as torchrun or SLURM says; alone where nobody does."""

from __future__ import annotations

import pytest

from suffuse.errors import ConfigError, RunError
from suffuse.launch import _of_several
from suffuse.world import World

TORCHRUN = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "MASTER_ADDR": "a", "MASTER_PORT": "1"}
SLURM = {
    "SLURM_PROCID": "3",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_NODELIST": "gpu[007-009,12]",
}


def test_alone_by_default() -> None:
    assert World.here({}) == World(0, 1, 0)


def test_a_batch_script_is_alone() -> None:
    """It has variables of its job, but srun has started nothing yet."""
    assert World.here({"SLURM_JOB_ID": "1", "SLURM_PROCID": "0", "SLURM_NTASKS": "4"}).size == 1


def test_torchrun() -> None:
    assert World.here(TORCHRUN) == World(5, 8, 1, "env://")


def test_torchrun_inside_a_job_of_slurm() -> None:
    assert World.here({**SLURM, **TORCHRUN}) == World(5, 8, 1, "env://")


@pytest.mark.parametrize(
    ("machines", "first"),
    [
        ("gpu[007-009,12]", "gpu007"),
        ("gpu[3,5]", "gpu3"),
        ("one", "one"),
        ("one,two", "one"),
        ("a-b-c.example", "a-b-c.example"),
        ("cpu1,gpu[1-2]", "cpu1"),
    ],
)
def test_slurm_meets_at_its_first_machine(machines: str, first: str) -> None:
    found = World.here({**SLURM, "SLURM_STEP_NODELIST": machines, "SLURM_JOB_ID": "123"})
    assert (found.rank, found.size, found.local) == (3, 4, 1)
    assert found.meeting.startswith(f"tcp://{first}:")
    assert 20_000 <= int(found.meeting.rpartition(":")[2]) < 40_000


def test_a_place_to_meet_can_be_given() -> None:
    found = World.here({**SLURM, "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500"})
    assert found.meeting == "tcp://10.0.0.1:29500"


@pytest.mark.parametrize("wrong", [{"RANK": "8"}, {"RANK": "x"}, {"WORLD_SIZE": "0"}])
def test_variables_that_do_not_fit_are_named(wrong: dict[str, str]) -> None:
    with pytest.raises(RunError, match=r"RANK|WORLD_SIZE"):
        World.here({**TORCHRUN, **wrong})


def test_only_the_first_process_keeps_records() -> None:
    words = ["modality=image", "hydra.run.dir='a'"]
    assert _of_several("train", words, World(0, 2)) == words
    assert _of_several("train", words, World(1, 2)) == ["modality=image", "hydra.run.dir=.", "hydra.output_subdir=null"]
    resumed = ["resume='a'", "hydra.run.dir='a'", "hydra.output_subdir=null"]
    assert _of_several("train", resumed, World(1, 2)) == resumed


@pytest.mark.parametrize(("command", "words"), [("evaluate", []), ("report", []), ("train", ["--multirun"])])
def test_what_one_process_does_is_refused_in_several(command: str, words: list[str]) -> None:
    with pytest.raises(ConfigError):
        _of_several(command, words, World(1, 2))
