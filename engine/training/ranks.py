"""The processes that train one run together, one a device, as `torchrun` starts them; most runs have one.

Rank 0 has the run: its folder, its lock, its socket, and every decision. The others do what it tells them (`crew.py`).
What they say to each other here goes over the CPU (gloo), whatever the gradients go over.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import psutil
import torch
import torch.distributed as dist
from torch import Tensor

from engine import process
from engine.errors import ConfigError, TrainingError, in_one_line, is_out_of_memory

NUMBERS = 4
"""Of an order, at most."""
SILENCE = timedelta(minutes=30)
"""How long a rank may take for its part: a compilation, a checkpoint on a slow disk."""
LOOK_SECONDS = 3.0
"""How long it is looked for who died; a process is gone a moment after its connections are."""
ORDERED = {"end": 0, "idle": 0, "step": 3, "which": 1, "evaluate": 0, "compile": 1} | dict.fromkeys(
    ("put", "load", "weights", "save", "settle"), 0
)
"""What rank 0 may tell the others, by the names of the crew's methods, and how many numbers go with it."""


class LostRankError(TrainingError):
    """A rank has died, or does not answer: nothing can be done together any more."""


@dataclass(frozen=True)
class Member:
    """A rank, to be found again."""

    rank: int
    pid: int
    host: str
    device: str


class Ranks:
    """This process among those of its run; `ALONE` has no others, and asks nothing of torch.distributed."""

    def __init__(self, rank: int = 0, size: int = 1, local: int = 0, store: Any = None) -> None:
        self.rank, self.size, self.local, self._store = rank, size, local, store
        self.members: list[Member] = []

    @property
    def leads(self) -> bool:
        return self.rank == 0

    @property
    def alone(self) -> bool:
        return self.size == 1

    # -- joining and leaving -------------------------------------------------------------------------------------------

    @classmethod
    def join(cls) -> Ranks:
        """The group that this process was started in, when all have come. Raises LostRankError when they do not."""
        if process.rank() is None:
            return ALONE
        from torch.distributed.rendezvous import rendezvous

        local = int(os.environ.get("LOCAL_RANK", "0"))
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        try:
            store, rank, size = next(rendezvous("env://", timeout=SILENCE))
            if os.environ.get("GROUP_WORLD_SIZE") == "1":  # a launcher that begins again has the same store as before
                attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
                store = dist.PrefixStore(f"attempt {attempt}", store)  # type: ignore[attr-defined]
            dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=SILENCE)
        except (RuntimeError, ValueError) as error:
            raise LostRankError(f"the ranks did not come together: {in_one_line(error)}") from None
        return cls(rank, size, local, store)

    def device_name(self, wanted: str) -> str:
        """The device of this rank, of those that `wanted` (auto, cpu, cuda) names: a GPU each."""
        if self.alone or wanted == "cpu" or not torch.cuda.is_available():
            return wanted
        if wanted.startswith("cuda:"):
            raise ConfigError(f"{self.size} processes cannot train on one {wanted}; use --device cuda, a GPU for each")
        if self.local >= torch.cuda.device_count():
            count = torch.cuda.device_count()
            raise ConfigError(f"there are {count} GPUs here; start so many processes (--nproc {count}), not more")
        return f"cuda:{self.local}"

    def introduce(self, device: str) -> None:
        """All ranks learn who the others are."""
        if self.alone:
            return
        mine = Member(self.rank, os.getpid(), socket.gethostname(), device)
        self.members = self.collect(mine)

    def leave(self) -> None:
        """The end, for this process."""
        if not self.alone:
            with suppress(Exception):  # the others may be gone, and nothing is lost any more
                dist.destroy_process_group()

    # -- talking -------------------------------------------------------------------------------------------------------

    def tell(self, what: str, *numbers: float) -> None:
        """Rank 0's next order to the others: one small broadcast."""
        order = torch.zeros(1 + NUMBERS, dtype=torch.float64)
        order[0] = list(ORDERED).index(what)
        order[1 : 1 + len(numbers)] = torch.tensor(numbers, dtype=torch.float64)
        self.broadcast(order)

    def hear(self) -> tuple[str, list[float]]:
        """The next order, on another rank than 0; waits for it."""
        order = torch.zeros(1 + NUMBERS, dtype=torch.float64)
        self.broadcast(order)
        number, *numbers = order.tolist()
        what = list(ORDERED)[int(number)]
        return what, numbers[: ORDERED[what]]

    def broadcast(self, tensor: Tensor) -> None:
        """Rank 0's tensor, into those of all."""
        if not self.alone:
            with self.exchange():
                dist.broadcast(tensor, 0)

    def share(self, thing: Any = None) -> Any:
        """What rank 0 gives, on every rank. It is pickled: only between processes of one run."""
        if self.alone:
            return thing
        given = [thing]
        with self.exchange():
            dist.broadcast_object_list(given, 0)
        return given[0]

    def collect(self, thing: Any) -> list[Any]:
        """What each rank gives, in their order, on every rank."""
        if self.alone:
            return [thing]
        found: list[Any] = [None] * self.size
        with self.exchange():
            dist.all_gather_object(found, thing)
        return found

    def gather(self, numbers: Sequence[float]) -> list[list[float]]:
        """So many numbers of each rank, in float64, on every rank."""
        mine = torch.tensor(numbers, dtype=torch.float64)
        if self.alone:
            return [mine.tolist()]
        found = [torch.empty_like(mine) for _ in range(self.size)]
        with self.exchange():
            dist.all_gather(found, mine)
        return [each.tolist() for each in found]

    # -- when one is lost ----------------------------------------------------------------------------------------------

    @contextmanager
    def exchange(self) -> Iterator[None]:
        """Inside, what fails because a rank is gone is LostRankError, in one line that says which and why."""
        try:
            yield
        except RuntimeError as error:
            if self.alone or is_out_of_memory(error) or isinstance(error, NotImplementedError):
                raise
            lost = self._lost(error)
        else:
            return
        raise lost

    def say_the_end(self, line: str) -> None:
        """Leave word for the others of why this rank ends."""
        if self._store is not None:
            with suppress(Exception):
                self._store.set(f"tinytui/end/{self.rank}", line)

    def _lost(self, error: RuntimeError) -> Exception:
        """Why the ranks cannot go on; `error` itself when all of them are there and it tells of no connection."""
        deadline = time.monotonic() + LOOK_SECONDS
        while True:
            for member in self.members:
                if member.rank != self.rank and (why := self._end_of(member)):
                    return LostRankError(why)
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)
        said = in_one_line(error)
        if isinstance(error, dist.DistError) or any(word in said for word in ("onnection", "gloo", "imed out")):
            return LostRankError(f"a rank does not answer any more: {said}")
        return error

    def _end_of(self, member: Member) -> str:
        """What became of another rank, in one line; empty while nothing is known to be wrong."""
        name = f"rank {member.rank} (process {member.pid} on {member.host})"
        if self._store is not None:
            with suppress(Exception):
                key = f"tinytui/end/{member.rank}"
                if self._store.check([key]):
                    return f"{name} ended: {self._store.get(key).decode()}"
        if member.host != socket.gethostname():
            return ""
        try:
            gone = psutil.Process(member.pid).status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
        except psutil.Error:
            gone = True
        return f"{name} has died" if gone else ""


ALONE = Ranks()
