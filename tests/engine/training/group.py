"""Groups of ranks for tests: a process that has loaded all they need makes each of them by `fork`.

with Zygote(cache) as zygote:
    group = zygote.begin(run, 2)    # their pids; rank 0 trains the run, the others follow
    group.wait()                    # their exit codes
    zygote.do(module, name)         # a function, in such a process
"""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import time
import traceback
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from engine import process
from engine.runs.layout import RunDir
from tests.forked import Forked

LOADED = (
    *(f"engine.training.{name}" for name in ("crew", "host", "live", "precision", "trainer")),
    *("torch._dynamo", "torch.distributed.fsdp", "torch.distributed.tensor"),
    *("torch.distributed.checkpoint.hf_storage", "torch.distributed.checkpoint.state_dict_saver"),
)
"""What ranks load; parted ones seconds of it."""


@dataclass
class Group:
    """Ranks that run."""

    zygote: Zygote
    pids: list[int]

    def wait(self, seconds: float = 120.0) -> list[int]:
        """Exit codes in the order of ranks, negative for a signal; what lasts longer is killed and fails the test."""
        answer: list[int] = self.zygote.ask({"wait": self.pids, "seconds": seconds})
        return answer


class Zygote:
    """Its processes compute with one thread each, Muon in float32 as everything else."""

    def __init__(self) -> None:
        self._process = Forked(
            [sys.executable, "-m", "tests.engine.training.group"],
            env=process.environment(OMP_NUM_THREADS="1"),
            cwd=process.HOME,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Zygote:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)

    def begin(self, run: RunDir, size: int, short_of_memory: int = -1) -> Group:
        """short_of_memory: the rank that has no room for its fourth step."""
        what = {"run": str(run.path), "size": size, "cache": os.environ["TINYTUI_CACHE"], "short": short_of_memory}
        return Group(self, self.ask(what))

    def train(self, run: RunDir, size: int) -> list[int]:
        return self.begin(run, size).wait()

    def do(self, module: str, name: str) -> None:
        """A function of `module`, in a process of its own; what fails there fails the test in its words."""
        said = self.ask({"do": name, "of": module})
        assert not said, said

    def ask(self, what: dict[str, Any]) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        assert select.select([self._process.stdout], [], [], 180)[0], "the zygote does not answer"
        return json.loads(self._process.stdout.readline())


def _rank(path: str, rank: int, size: int, port: int, short: bool) -> int:
    """What a process of a group does; its exit code."""
    import torch

    from engine.training.step import TrainStep

    if short:
        plain = TrainStep.forward_backward

        def forward_backward(self: TrainStep, step: int) -> torch.Tensor:
            if step == 3:
                raise torch.OutOfMemoryError("out of memory")
            return plain(self, step)

        TrainStep.forward_backward = forward_backward  # type: ignore[method-assign]

    torch.set_num_threads(1)
    torch.cpu._is_avx512_bf16_supported = lambda: False
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    from engine.training.crew import follow
    from engine.training.host import TrainingHost

    if rank:
        follow()
        return 0
    host = TrainingHost(RunDir(Path(path)), in_group=size > 1)
    host.start()
    host.join()
    return 0 if host.state in ("finished", "stopped") else 1


def _begin(what: dict[str, Any]) -> list[int]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ["TINYTUI_CACHE"] = what["cache"]
    pids = []
    for rank in range(what["size"]):
        if (pid := os.fork()) == 0:
            code = 1
            try:
                silence = os.open(os.devnull, os.O_RDWR)
                for number in (0, 1):
                    os.dup2(silence, number)
                code = _rank(what["run"], rank, what["size"], port, rank == what["short"])
            finally:
                os._exit(code)
        pids.append(pid)
    return pids


def _do(module: str, name: str) -> str:
    """What went wrong in a process of its own that called the function, or nothing."""
    read, write = os.pipe()
    if (pid := os.fork()) == 0:
        said = "it ended"
        try:
            getattr(import_module(module), name)()
            said = ""
        except BaseException:
            said = traceback.format_exc()
        finally:
            os.write(write, said.encode()[-60_000:])  # all of it lies in the pipe until it is read
            os._exit(1 if said else 0)
    os.close(write)
    _, status = os.waitpid(pid, 0)
    with os.fdopen(read) as pipe:
        return pipe.read() or (f"it ended with {status}" if status else "")


def _ends(pids: list[int], seconds: float) -> list[int]:
    deadline, codes = time.monotonic() + seconds, dict[int, int]()
    while len(codes) < len(pids):
        for pid in pids:
            if pid not in codes and (found := os.waitpid(pid, os.WNOHANG))[0]:
                codes[pid] = os.waitstatus_to_exitcode(found[1])
            elif pid not in codes and time.monotonic() > deadline:
                os.kill(pid, 9)
        time.sleep(0.02)
    return [codes[pid] for pid in pids]


def main() -> None:

    for name in LOADED:
        import_module(name)

    for line in sys.stdin:
        what = json.loads(line)
        if "do" in what:
            answer: Any = _do(what["of"], what["do"])
        else:
            answer = _ends(what["wait"], what["seconds"]) if "wait" in what else _begin(what)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    os._exit(0)  # what was loaded takes its time to be put away


if __name__ == "__main__":
    main()
