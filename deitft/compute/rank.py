"""Which of several processes this is, as the launcher says in the environment. Without torch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from deitft.errors import UsageError

NEEDED = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
"""What ``torchrun`` sets, and what torch needs to open a group."""


@dataclass(frozen=True, slots=True)
class Rank:
    """Which of how many processes this is, in all and on this machine."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    local_world: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes and talks."""
        return self.rank == 0


def rank_here(environment: Mapping[str, str] = os.environ) -> Rank:
    """Which process this is, as the environment tells; the only one where it tells nothing.

    Raises:
        UsageError: the environment is half there, or not of numbers that fit (id PROCESSES).
    """
    if not {"RANK", "WORLD_SIZE"} & environment.keys() or environment.get("WORLD_SIZE") == "1":
        return Rank()
    missing = [name for name in NEEDED if not environment.get(name)]
    if missing:
        raise _half_there(f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set")
    try:
        world, rank, local = (int(environment[name]) for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"))
        local_world = int(environment.get("LOCAL_WORLD_SIZE") or world)
    except ValueError:
        raise _half_there("not all of RANK, WORLD_SIZE and LOCAL_RANK are whole numbers") from None
    if not (0 <= rank < world and 0 <= local < local_world <= world):
        raise _half_there(f"process {rank} of {world}, {local} of {local_world} on this machine, cannot be")
    return Rank(rank, world, local, local_world)


def _half_there(what: str) -> UsageError:
    return UsageError(
        f"the environment speaks of several processes, but {what}",
        "start them with `torchrun --nproc-per-node N -m deitft …`, or unset RANK and WORLD_SIZE",
        id="PROCESSES",
    )
