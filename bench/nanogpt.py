"""nanoGPT from a checkout the user names: its model, its optimizer and its loop, as its train.py has them."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from engine.config import Config


def load(checkout: Path) -> ModuleType:
    """The checkout's model.py."""
    path = checkout / "model.py"
    spec = importlib.util.spec_from_file_location("nanogpt_model", path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise SystemExit(f"{checkout} is no checkout of nanoGPT: it has no model.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["nanogpt_model"] = module  # its dataclass looks itself up there
    spec.loader.exec_module(module)
    return module


def build(checkout: Path, config: Config, vocab_size: int) -> Any:
    """nanoGPT's model of the same shape, its own random weights."""
    module, model = load(checkout), config.model
    with contextlib.redirect_stdout(io.StringIO()):
        return module.GPT(
            module.GPTConfig(
                block_size=model.block_size,
                vocab_size=vocab_size,
                n_layer=model.n_layer,
                n_head=model.n_head,
                n_embd=model.n_embd,
                dropout=model.dropout,
                bias=model.bias,
            )
        )


class Training:
    """nanoGPT's training loop on a CPU, in float32 or under autocast, with the loss read each time.

    Batch, forward, backward, clip, AdamW. `ids` is a file of uint16 token ids, opened anew for every batch as train.py
    does.
    """

    def __init__(self, checkout: Path, config: Config, vocab_size: int, ids: Path, bf16: bool = False) -> None:
        torch.manual_seed(1337)
        self.config, self.ids, self.done, self.bf16 = config, ids, 0, bf16
        self.model = build(checkout, config, vocab_size).train()
        train = config.train
        with contextlib.redirect_stdout(io.StringIO()):
            self.optimizer = self.model.configure_optimizers(
                train.weight_decay, train.learning_rate, (train.beta1, train.beta2), "cpu"
            )
        self.batch = self._batch()

    def _batch(self) -> tuple[torch.Tensor, torch.Tensor]:
        data = np.memmap(self.ids, dtype=np.uint16, mode="r")
        length = self.config.model.block_size
        starts = torch.randint(len(data) - length, (self.config.train.batch_size,))
        x = torch.stack([torch.from_numpy(data[i : i + length].astype(np.int64)) for i in starts])
        y = torch.stack([torch.from_numpy(data[i + 1 : i + 1 + length].astype(np.int64)) for i in starts])
        return x, y

    def step(self) -> float:
        """One iteration; its loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.train.learning_rate
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            _, loss = self.model(*self.batch)
        self.batch = self._batch()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.train.grad_clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.done += 1
        return float(loss.item())
