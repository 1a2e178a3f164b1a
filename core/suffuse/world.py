"""Which of how many processes this one is, as whoever started it says: torchrun, or SLURM's srun. Imports no torch."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from suffuse.errors import RunError

__all__ = ["World"]


@dataclass(frozen=True)
class World:
    """A process among those of one run.

    Args:
        rank: its number; 0 speaks and writes for all.
        size: how many there are.
        local: its number on its own machine, which is that of its GPU.
        meeting: the URL at which they find one another.
    """

    rank: int = 0
    size: int = 1
    local: int = 0
    meeting: str = "env://"

    @classmethod
    def here(cls, environment: Mapping[str, str] = os.environ) -> World:
        """This process. Alone where nobody says otherwise, such as in a job's batch script.

        Raises:
            RunError: the variables contradict each other.
        """
        if "RANK" in environment and "WORLD_SIZE" in environment:
            names, meeting = ("RANK", "WORLD_SIZE", "LOCAL_RANK"), "env://"
        elif "SLURM_STEP_NUM_TASKS" in environment:
            names, meeting = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"), _slurm_meeting(environment)
        else:
            return cls()
        rank, size, local = (_number(environment, name) for name in names)
        found = cls(rank, size, local, meeting)
        if not 0 <= found.rank < found.size:
            raise RunError(f"process {found.rank} of {found.size}: RANK and WORLD_SIZE do not fit each other")
        return found


def _number(environment: Mapping[str, str], name: str) -> int:
    text = environment.get(name, "0")
    if not text.isdecimal():
        raise RunError(f"{name}={text}: must be a whole number; it comes from torchrun or srun")
    return int(text)


def _slurm_meeting(environment: Mapping[str, str]) -> str:
    """The first machine of the step, and a port that jobs beside each other are unlikely to share."""
    machines = environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_JOB_NODELIST") or "localhost"
    first = re.match(r"([^\[,]+)(?:\[([^\],-]+))?", machines)
    host = "".join(filter(None, first.groups())) if first else "localhost"
    port = 20_000 + (_number(environment, "SLURM_JOB_ID") * 7 + _number(environment, "SLURM_STEP_ID")) % 20_000
    return f"tcp://{environment.get('MASTER_ADDR', host)}:{environment.get('MASTER_PORT', port)}"
