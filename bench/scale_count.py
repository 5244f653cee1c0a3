"""What several processes really hold and send in a step of a small model, beside the formulas of `bench.scale`.

    python -m bench.scale_count [PROCESSES]

They are on this machine, over gloo. What is counted is bytes, so it does not matter what else the machine does.
"""

from __future__ import annotations

import os
import socket
import sys
from typing import Any

from bench.scale import Parts, table
from engine.config import Config
from engine.preset_files import load_preset
from engine.training.memory import memory_estimate

COUNTED = {"model.n_layer": 4, "model.n_embd": 64, "model.n_head": 4, "model.block_size": 32, "train.compile": False}
COUNTED_VOCABULARY, COUNTED_MICROS = 256, 2
SENT = {"allreduce_": "all-reduce", "_allgather_base_": "all-gather", "_reduce_scatter_base_": "reduce-scatter"}
SENT |= {"broadcast_": "Muon", "alltoall_base_": "Muon"}


def counted_settings(ranks: int) -> Config:
    changes = COUNTED | {"train.batch_size": 2, "train.grad_accum": COUNTED_MICROS * ranks, "train.optimizer": "muon"}
    return load_preset("gpt2").replace(changes)


def formulas(how: str, ranks: int) -> dict[str, float]:
    """Bytes on a rank, and those of the tensors that a step sends, for `counted_settings`."""
    config = counted_settings(ranks)
    need = memory_estimate(config, COUNTED_VOCABULARY, parted=ranks if how == "fsdp" else 1)
    parts = Parts.of(config, COUNTED_VOCABULARY)
    state: dict[str, float] = {name: need[name] for name in ("weights", "gradients", "optimizer")}
    state |= {"kept for the backward pass": need["activations"]}
    if how == "ddp":
        return state | {"all-reduce": 4 * parts.all, "Muon": 4 * parts.matrices}
    scattered = 4 * parts.all
    sent = {"all-gather": (parts.sent - scattered) * COUNTED_MICROS, "reduce-scatter": scattered * COUNTED_MICROS}
    return state | sent | {"Muon": 8 * parts.matrices / ranks}


def counted(rank: int, ranks: int, port: int) -> None:
    """One of the processes: takes steps in both ways; rank 0 prints."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    from engine.plan.measure import made_up
    from engine.training.crew import Crew
    from engine.training.device import autocast
    from engine.training.memory import memory_split
    from engine.training.ranks import Ranks

    where = {"RANK": rank, "WORLD_SIZE": ranks, "LOCAL_RANK": rank, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in where.items()})
    torch.set_num_threads(1)
    config, device, group = counted_settings(ranks), torch.device("cpu"), Ranks.join()

    class Sends(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            name = str(func).split(".")
            if name[0] == "c10d" and name[1] in SENT:
                found[SENT[name[1]]] = found.get(SENT[name[1]], 0) + max(map(size_of, args))
            return func(*args, **(kwargs or {}))

    def size_of(thing: Any) -> int:
        if isinstance(thing, torch.Tensor):
            return thing.nbytes
        return sum(map(size_of, thing)) if isinstance(thing, list | tuple) else 0

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor)
        return tensor

    for how in ("ddp", "fsdp"):
        crew = Crew(config, made_up(config, COUNTED_VOCABULARY, device), device, group, parallel=how)
        take_step = crew.take_step
        take_step(0, 1.0)
        take_step(1, 1.0)  # after the first one DDP sorts its buckets anew
        found: dict[str, float] = {}
        with Sends():  # type: ignore[no-untyped-call]
            take_step(2, 1.0)
        split = {name: float(size) for name, size in memory_split(crew.optimizer, 0).items() if name != "activations"}
        kept: list[torch.Tensor] = []
        with torch.autograd.graph.saved_tensors_hooks(keep, keep), autocast(config.train.precision, device):
            loss = crew.model.loss(*take_step.batches.get(3, 0))
        own = {each.untyped_storage().data_ptr() for each in crew.model.parameters() if how == "ddp"}
        storages = {each.untyped_storage()._cdata: each.untyped_storage() for each in kept}
        mine = [each.nbytes() for each in storages.values() if not each.nbytes() or each.data_ptr() not in own]
        found |= split | {"kept for the backward pass": sum(mine)}
        loss.backward()  # type: ignore[no-untyped-call]
        if group.leads:
            rows = (
                (how, name, f"{found[name]:,.0f}", f"{bytes_:,.0f}") for name, bytes_ in formulas(how, ranks).items()
            )
            print(table(("", f"bytes, {ranks} ranks", "counted", "by the formula"), rows), flush=True)
    group.leave()


def main() -> None:
    from torch.multiprocessing.spawn import spawn

    ranks = int(sys.argv[1]) if len(sys.argv) > 1 else 2
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    spawn(counted, (ranks, port), nprocs=ranks)  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
