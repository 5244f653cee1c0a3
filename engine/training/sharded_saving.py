"""A sharded model's tensors in a checkpoint: a file of each rank's parts (PyTorch's DCP, in safetensors).

They are copied at once and written while training goes on. Any number of ranks reads them, also one that is in no
group, and each only what it needs.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.errors import CheckpointError
from engine.files import sync, sync_folder
from engine.training.verify import sha256_of

SUFFIX = ".safetensors"


class Writing:
    """A rank's part of a checkpoint on its way to disk: the tensors as they were when this was made."""

    def __init__(self, folder: Path, tensors: Mapping[str, Tensor], rank: int, group: Any) -> None:
        """group: of processes, one that is used for nothing else."""
        from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
        from torch.distributed.checkpoint.state_dict_saver import async_save

        self.folder, self.file = folder, folder / f"shard-{rank + 1:05d}-model-00001-of-00001{SUFFIX}"
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
