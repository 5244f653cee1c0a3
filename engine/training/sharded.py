"""A model whose weights, gradients and optimizer's state lie in parts on the ranks (`fully_shard`, PyTorch's FSDP2).

Each block is put together for its own forward and backward pass only. What is not sharded passes through here as it is.
In a checkpoint a file of each rank has its parts (PyTorch's DCP, in safetensors): they are copied at once and written
while training goes on. Any number of ranks reads them, also one that is in no group, and each only what it needs.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from engine.errors import CheckpointError
from engine.files import sync, sync_folder
from engine.model.gpt import GPT, Norm, draw, roles
from engine.training.device import half
from engine.training.verify import sha256_of

if TYPE_CHECKING:
    from engine.training.ranks import Ranks


def is_sharded(tensor: Tensor) -> bool:
    """Whether only a part of it lies here. (A DTensor; asked like this, as importing the class takes its time.)"""
    return hasattr(tensor, "to_local")


def local(tensor: Tensor) -> Tensor:
    """What lies here of it, its first dimension parted as `torch.chunk` does; it shares its memory."""
    found: Tensor = tensor.to_local() if is_sharded(tensor) else tensor  # type: ignore[attr-defined]
    return found


def whole(tensor: Tensor) -> Tensor:
    """All of it, on every rank: all ranks ask together, for the same."""
    found: Tensor = tensor.full_tensor() if is_sharded(tensor) else tensor  # type: ignore[attr-defined]
    return found


@torch.no_grad()
def fill(own: Tensor, full: Tensor) -> None:
    """Copies into `own` its part of `full`, which has all of it."""
    if not is_sharded(own):
        own.copy_(full)
        return
    from torch.distributed.tensor import distribute_tensor

    mesh, placements = own.device_mesh, own.placements  # type: ignore[attr-defined]
    parts = distribute_tensor(full.to(local(own).device), mesh, placements, src_data_rank=None)
    local(own).copy_(local(parts))


def shard(model: GPT, device: torch.device, ranks: Ranks, precision: str) -> None:
    """Part the model, one that nobody has drawn yet, over the ranks' devices: no device ever holds the whole.

    What multiplies in a block is sent in the precision it multiplies in, as autocast would round it: half the bytes for
    the same numbers. Gains, embedding and head go with the whole model, in fp32; gradients are added up in fp32.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method

    # of views that would be changed in place; a block does not
    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view tensor")
    blocks: Any = getattr(model, "blocks", ())
    mesh = init_device_mesh(device.type, (ranks.size,))
    policy = MixedPrecisionPolicy(half(precision), torch.float32, cast_forward_inputs=False)
    for block in blocks:
        fully_shard([part for part in block.children() if not isinstance(part, Norm)], mesh=mesh, mp_policy=policy)
    fully_shard(model, mesh=mesh, reshard_after_forward=True)
    register_fsdp_forward_method(model, "loss_sums")  # which all losses are made by
    model.to(device)  # the tables of positions, that are no weights


@torch.no_grad()
def draw_weights(model: GPT, generator: torch.Generator) -> None:
    """The weights that `init_weights` would draw, a parameter at a time: every rank draws all, and keeps its part."""
    declared = roles(model)
    for name, own in model.named_parameters():
        full = torch.empty(own.shape)
        draw(full, declared[name], model.config, generator)
        fill(own, full)


# -- in a checkpoint ---------------------------------------------------------------------------------------------------


class Writing:
    """A rank's part of a checkpoint on its way to disk: the tensors as they were when this was made."""

    def __init__(self, folder: Path, tensors: Mapping[str, Tensor], rank: int, group: Any) -> None:
        """group: of processes, one that is used for nothing else."""
        from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
        from torch.distributed.checkpoint.state_dict_saver import async_save

        self.folder, self.file = folder, folder / f"shard-{rank + 1:05d}-model-00001-of-00001.safetensors"
        self.sums: dict[str, str] = {}
        self.problem = ""
        with _quiet():
            # those of a GPU are copied to the host before `async_save` returns
            copies = {
                name: tensor.detach().clone() if tensor.device.type == "cpu" else tensor.detach()
                for name, tensor in tensors.items()
            }
            self._future: Any = async_save(
                copies,
                storage_writer=HuggingFaceStorageWriter(str(folder), save_distributed=True),
                process_group=group,
            )
        self._thread = threading.Thread(target=self._finish, name="checkpoint")
        self._thread.start()

    def _finish(self) -> None:
        try:
            self._future.result()
            if self.file.exists():  # a rank without a part writes none
                sync(self.file)
                self.sums[self.file.name] = sha256_of(self.file)
            sync_folder(self.folder)
        except Exception as error:  # of many layers; all mean that it is not written
            cause = error.__cause__ or error
            said = [line.strip() for line in str(cause).splitlines() if line.strip()]
            self.problem = (said[-1] if said else type(cause).__name__)[:200]

    @property
    def done(self) -> bool:
        return not self._thread.is_alive()

    def wait(self) -> None:
        self._thread.join()


def read_sharded(folder: Path, wanted: Callable[[str], bool]) -> dict[str, Tensor]:
    """The tensors whose names are `wanted`, whole, in this process alone. Raises CheckpointError."""
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    from torch.distributed.checkpoint.metadata import BytesStorageMetadata
    from torch.distributed.checkpoint.state_dict_loader import load

    with _told_of(folder), _quiet():
        found = HuggingFaceStorageReader(str(folder)).read_metadata().state_dict_metadata
        tensors: dict[str, Tensor] = {
            name: torch.empty(each.size, dtype=each.properties.dtype)
            for name, each in found.items()
            if wanted(name) and not isinstance(each, BytesStorageMetadata)
        }
        load(dict(tensors), storage_reader=HuggingFaceStorageReader(str(folder)), no_dist=True)
    return tensors


def read_into(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Fills the tensors from the files, each rank its own parts: all ranks ask together. Raises CheckpointError."""
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    from torch.distributed.checkpoint.state_dict_loader import load

    with _told_of(folder), _quiet():
        there = HuggingFaceStorageReader(str(folder)).read_metadata().state_dict_metadata
        wanted = {
            name: tensor.detach()
            for name, tensor in tensors.items()
            if name in there or not name.startswith("scaler.")  # a run that was of another precision has none
        }
        load(wanted, storage_reader=HuggingFaceStorageReader(str(folder)))


@contextmanager
def _told_of(folder: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # DCP wraps whatever went wrong
        cause = error.__cause__ or error
        said = " ".join(str(cause).split())[:200] or type(cause).__name__
        raise CheckpointError(f"checkpoint {folder} cannot be used: {said}") from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Inside, PyTorch's remarks on its own internals are not said."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
