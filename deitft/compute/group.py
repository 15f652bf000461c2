"""Processes that train together: which one this is, and what they tell each other, by torch's own collectives.

``torchrun`` starts them and says in the environment who is who. Process 0 leads: it alone reads, writes and
talks; the others follow. What a step does is a function of keys, so there is little to agree on: gradients (DDP
does that), when to stop, what somebody has found. One process alone opens nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import psutil

from deitft import errors
from deitft.compute.rank import Rank
from deitft.core.progress import Progress, StopFlag
from deitft.errors import DeitftError, RecipeError, StoppedError, UnavailableError

if TYPE_CHECKING:
    from torch import Tensor
    from torch._C._distributed_c10d import Store

POLL_SECONDS = 0.2
"""How often one who waits for the leader looks whether there is something to do."""
FAULT, HEARD, ORDER = "deitft/fault", "deitft/heard", "deitft/order"
HEARING_SECONDS = 3.0
"""How long the last word of a leader can be heard that keeps the store itself, where no launcher does."""
REASONS = (None, "time limit", "SIGUSR1", "SIGTERM", "SIGINT")
"""Reasons to stop, the weightier later: where several processes have one, the weightiest counts for all."""


class PeerLostError(StoppedError):
    """Another process died or cannot be reached (fault N5). ``spoken_by`` is the process that says so."""

    spoken_by: int = 0


class Group:
    """The processes of one command. Every method that speaks of "all" must be called by all, in the same order.

    ``ALONE`` is the group of one process: there, nothing is opened, sent or waited for.
    """

    def __init__(self, rank: Rank | None = None, store: Store | None = None) -> None:
        self.of = rank or Rank()
        self._store = store
        self._orders = 0
        self._peers: list[tuple[int, str]] = []
        self.noticed = False
        """Whether this process knows that it is over: nobody needs to end it from outside."""

    @property
    def world(self) -> int:
        """How many processes."""
        return self.of.world

    @property
    def rank(self) -> int:
        """Which of them this is; 0 leads."""
        return self.of.rank

    @property
    def alone(self) -> bool:
        """Whether there is no other process."""
        return self.world == 1

    @property
    def leads(self) -> bool:
        """Whether this process writes and talks."""
        return self.of.leads

    def rows(self, batch: int, *, paired: bool) -> slice:
        """This process's rows of a global batch: an equal share, and with ``paired`` no pair cut in two.

        Raises:
            RecipeError: the batch cannot be shared out so (id C11).
        """
        share, rest = divmod(batch, self.world)
        if rest or not share or (paired and not self.alone and share % 2):
            word = "even, equal shares (mixing pairs photos up)" if paired else "equal shares"
            fits = [n for n in range(1, batch + 1) if batch % n == 0 and not (paired and n > 1 and batch // n % 2)]
            raise RecipeError(
                f"a global batch of {batch} cannot be cut into {word} for {self.world} processes",
                f"choose {_either(fits)} processes, or another train.batch",
                id="C11",
            )
        return slice(self.rank * share, (self.rank + 1) * share)

    def most(self, *values: int) -> list[int]:
        """Of each whole number the largest that any process has."""
        if self.alone:
            return list(values)
        import torch
        import torch.distributed as dist

        told = torch.tensor(values, dtype=torch.int64)
        with self._connected():
            dist.all_reduce(told, dist.ReduceOp.MAX)
        return [int(value) for value in told.tolist()]

    def mean(self, tensor: Tensor) -> Tensor:
        """The mean over all processes of a tensor on their devices; the host does not wait for it."""
        if self.alone:
            return tensor
        import torch.distributed as dist

        total = tensor.detach().clone()
        with self._connected():
            dist.all_reduce(total)
        return total / self.world

    def everyones(self, value: Any) -> list[Any]:
        """What each process has, by rank, on all of them; only its own where the others are lost."""
        if self.alone or self.noticed:
            return [value]
        import torch.distributed as dist

        found: list[Any] = [None] * self.world
        with self._connected():
            dist.all_gather_object(found, value)
        return found

    def gathered(self, value: Any) -> list[Any]:
        """What each process has, by rank, on the leader; the others get an empty list."""
        if self.alone:
            return [value]
        import torch.distributed as dist

        found: list[Any] | None = [None] * self.world if self.leads else None
        with self._connected():
            dist.gather_object(value, found)
        return found or []

    def from_leader(self, value: Any = None) -> Any:
        """The leader's value, on all."""
        if self.alone:
            return value
        import torch.distributed as dist

        box = [value]
        with self._connected():
            dist.broadcast_object_list(box, src=0)
        return box[0]

    # The leader works alone most of the time; the others wait, for hours if need be, without a collective that
    # could time out: they look at a number in the launcher's store.

    def order(self, value: Any) -> None:
        """Leader: have the others leave their waiting with this value."""
        assert self._store is not None, "there is somebody to tell"
        self._orders += 1
        with self._connected():
            self._store.set(f"{ORDER}/{self._orders}", "1")
        self.from_leader(value)

    def dismiss(self) -> None:
        """Leader: let the others go."""
        if not self.alone:
            self.order(None)
            self.most(0)

    def next_order(self) -> Any:
        """The others: wait for the leader's next word; None when they may go.

        Raises:
            DeitftError: somebody failed meanwhile.
        """
        assert self._store is not None, "there is a leader"
        self._orders += 1
        with self._connected():
            while not self._store.check([f"{ORDER}/{self._orders}"]):
                if self._store.check([FAULT]) or 0 in self.dead():
                    raise self.cause(RuntimeError("the leader is gone"))
                time.sleep(POLL_SECONDS)
        word = self.from_leader()
        if word is None:
            self.noticed = True  # from here on nobody is missed
            self.most(0)
        return word

    @contextlib.contextmanager
    def _connected(self) -> Iterator[None]:
        """A connection that breaks becomes the error of who broke it."""
        try:
            yield
        except RuntimeError as error:
            raise self.cause(error) from error

    def tell(self, error: BaseException) -> None:
        """Leave word of what ends this process; the first word counts."""
        self.noticed = True
        if self._store is None or self.fault() is not None:
            return
        known = isinstance(error, DeitftError)
        record = error.record() if isinstance(error, DeitftError) else {"what": f"{type(error).__name__}: {error}"}
        word = {**record, "kind": type(error).__name__ if known else "", "rank": self.rank}
        with contextlib.suppress(RuntimeError, TypeError):
            self._store.compare_set(FAULT, "", json.dumps(word, default=str))
            end = time.monotonic() + HEARING_SECONDS
            keeps_store = self.leads and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
            while keeps_store and not self._all_heard() and time.monotonic() < end:
                time.sleep(0.05)

    def _all_heard(self) -> bool:
        assert self._store is not None, "asked while it is open"
        others = set(range(1, self.world)) - set(self.dead())
        return all(self._store.check([f"{HEARD}/{rank}"]) for rank in others)

    def fault(self) -> dict[str, Any] | None:
        """The first word that was left."""
        with contextlib.suppress(RuntimeError, ValueError):
            if self._store is not None and self._store.check([FAULT]):
                word: dict[str, Any] = json.loads(self._store.get(FAULT))
                self._store.set(f"{HEARD}/{self.rank}", "1")
                return word
        return None

    def dead(self) -> list[int]:
        """Ranks on this machine whose process is gone."""
        here = socket.gethostname()
        return [
            rank
            for rank, (pid, host) in enumerate(self._peers)
            if rank != self.rank and host == here and not _lives(pid)
        ]

    def cause(self, error: Exception) -> Exception:
        """Why a connection broke: the error of the process that failed, or that one died (N5); else ``error``."""
        if self.alone or isinstance(error, DeitftError):
            return error
        broken = _is_connection(error)
        end = time.monotonic() + (2.0 if broken else 0.0)
        while (word := self.fault()) is None and not self.dead() and time.monotonic() < end:
            time.sleep(0.05)  # whoever broke it is about to say so, or to be gone
        if word is not None and word["rank"] != self.rank:
            self.noticed = True
            return self._as_error(word)
        dead = self.dead()
        if not dead and not broken:
            return error
        self.noticed = True
        return self.lost(
            f"process {dead[0]} of {self.world} died" if dead else "another process cannot be reached"
        )

    def lost(self, what: str, also: Sequence[int] = ()) -> PeerLostError:
        """N5, told by the leader, or where that one is gone (or one of ``also``) by the first who is left."""
        found = PeerLostError(what, "all stopped; run the same command with --resume", id="N5")
        dead = {*self.dead(), *also}
        found.spoken_by = min(rank for rank in range(self.world) if rank not in dead)
        return found

    def _as_error(self, word: Mapping[str, Any]) -> Exception:
        kind = getattr(errors, str(word.get("kind")), None)
        if word.get("kind") == PeerLostError.__name__:
            return self.lost(str(word["what"]))
        if isinstance(kind, type) and issubclass(kind, DeitftError):
            return kind(
                word["what"], word["hint"], id=word["id"], files=word["files"], details=word.get("details") or {}
            )
        return self.lost(f"process {word['rank']} of {self.world} failed ({word['what']})")

    def own_line(self) -> Store:
        """Another connection to the launcher's store: a thread of its own may use it."""
        assert self._store is not None, "there is somebody to hear"
        return self._store.clone()

    def close(self) -> None:
        """Let go of the others."""
        if self.alone:
            return
        import torch.distributed as dist

        if dist.is_initialized():
            with contextlib.suppress(RuntimeError):
                dist.destroy_process_group()
        self._store = None

    def open(self, device: str) -> None:
        """Meet the others. ``device`` is the kind that all of them compute on: "cpu" or "cuda"."""
        import torch
        import torch.distributed as dist
        from torch._C._distributed_c10d import PrefixStore
        from torch.distributed.rendezvous import rendezvous

        backend = "gloo"
        if device == "cuda":
            if self.of.local_world > torch.cuda.device_count():
                raise UnavailableError(
                    f"{self.of.local_world} processes on this machine have {torch.cuda.device_count()} GPUs",
                    "start as many processes as there are GPUs",
                    id="DEVICE",
                )
            torch.cuda.set_device(self.of.local_rank)  # "cuda" is this one from here on
            backend = "cpu:gloo,cuda:nccl"
        self._store, _, _ = next(rendezvous("env://"))
        dist.init_process_group(
            backend, store=PrefixStore("deitft", self._store), rank=self.rank, world_size=self.world
        )
        self._peers = self.everyones((os.getpid(), socket.gethostname()))


ALONE = Group()
"""The group of a process that has no others."""


class SharedStop(StopFlag):
    """A stop flag that all processes read alike: it changes only where all of them look at once."""

    def __init__(self, own: StopFlag, group: Group) -> None:
        super().__init__()
        self.own, self._group = own, group

    def look(self, *also: int) -> list[int]:
        """All look: a stop anywhere is a stop everywhere. ``also`` are numbers to find the largest of."""
        mine = self.own.reason if self.own else None
        told, *rest = self._group.most(REASONS.index(mine), *also)
        if told:  # a signal may have come meanwhile: that is not to be forgotten
            self.reason = self.own.reason = REASONS[told]
        return rest


@contextlib.contextmanager
def opened(rank: Rank, device: str, progress: Progress) -> Iterator[Group]:
    """The group of this command, open for the length of the block. What ends the block badly ends all.

    Raises:
        UnavailableError: the others cannot be met (id PROCESSES), or there is no GPU for this one (id DEVICE).
    """
    if rank.world == 1:
        yield ALONE
        return
    from deitft.compute.watch import watched

    group = Group(rank)
    try:
        _meet(group, device)
        with watched(group, progress):
            yield group
    except BaseException as error:
        _only_end()
        group.tell(error)
        raise
    finally:
        group.close()


def _only_end() -> None:
    """The launcher asks all to stop when one has: who is at its end already must not say so once more."""
    if threading.current_thread() is threading.main_thread():
        for name in ("SIGTERM", "SIGUSR1"):
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), signal.SIG_IGN)


def _meet(group: Group, device: str) -> None:
    try:
        group.open(device)
    except (RuntimeError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UnavailableError(
            f"process {group.rank} of {group.world} cannot meet the others ({reason})",
            "check MASTER_ADDR, MASTER_PORT and the network between the machines",
            id="PROCESSES",
        ) from error


def _is_connection(error: Exception) -> bool:
    """Whether torch says that it lost another process; gloo has no class of its own for that."""
    import torch.distributed as dist

    words = ("gloo", "connection", "nccl", "socket", "timed out", "store", "the leader is gone")
    return isinstance(error, dist.DistError) or any(word in str(error).lower() for word in words)


def _lives(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _either(numbers: Sequence[int]) -> str:
    """ "1, 2 or 4" of the numbers, the smallest few.

    >>> _either([1, 2, 4])
    '1, 2 or 4'
    """
    few = [str(number) for number in numbers[:8]]
    return few[0] if len(few) == 1 else f"{', '.join(few[:-1])} or {few[-1]}"
