"""8-bit weights for writing on a CPU, and what they cost in loss, measured on the run's held-out text.

Decoding there is as quick as the weights are read, and these are a quarter of the bytes. Each row has a scale of its
own, and is symmetric about zero. What goes in is bfloat16, which is what PyTorch's product with 8-bit weights takes;
the rest of the model stays float32.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.errors import UserError
from engine.model.gpt import GPT, Linear
from engine.runs.layout import RunDir
from engine.tokenizers.base import Tokenizer
from engine.training.evaluate import Evaluation, evaluate
from engine.training.start import open_dataset

FEW = 8
"""Rows of x, at most, for which PyTorch's product with 8-bit weights is the quicker one."""
WIDTH = 64
"""Columns come in so many: the product reads a multiple of them, whatever there is."""
CHUNK = 16 << 20
"""Weights that are turned into bfloat16 together, for more rows than that."""
LARGEST = 127
MOST_TOKENS, LEAST_TOKENS = 8192, 512
MOST_FLOPS = 2e11
"""For the evaluation before and the one after, each: some seconds on two cores."""


def quantized(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weights (n_out, n_in) as int8 and the bfloat16 scale (n_out,) of each row: their product is near `weight`."""
    most = weight.abs().amax(1).clamp_min(1e-30)
    scale = (most / LARGEST).bfloat16()  # rounded first, so that the rounding of the weights makes up for it
    rows = (weight / scale.float()[:, None]).round_().clamp_(-LARGEST, LARGEST)
    return rows.to(torch.int8), scale


class Int8Linear(nn.Module):
    """A linear layer near the one that it is made from."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        rows, self.scale = quantized(weight.detach())
        self.n_in = rows.size(1)
        self.rows = F.pad(rows, (0, -self.n_in % WIDTH)).contiguous()
        self.bias = None if bias is None else bias.detach()

    def forward(self, x: Tensor) -> Tensor:
        """x (..., n_in) -> (..., n_out)."""
        flat = x.reshape(-1, self.n_in).bfloat16()
        if self.n_in % WIDTH:
            flat = F.pad(flat, (0, -self.n_in % WIDTH))
        if len(flat) <= FEW:
            out = torch._weight_int8pack_mm(flat, self.rows, self.scale).float()
        else:
            parts = torch.split(self.rows, max(1, CHUNK // self.rows.size(1)))
            out = torch.cat([F.linear(flat, part.bfloat16()) for part in parts], dim=1).float() * self.scale.float()
        if self.bias is not None:
            out += self.bias
        return out.view(*x.shape[:-1], -1)


@torch.no_grad()
def to_int8(model: GPT) -> GPT:
    """The same model with its matrices and its head in 8 bits, changed in place; only for writing with, on a CPU.

    Embeddings, norms and what attention keeps stay float32. Raises UserError for a model without such matrices.
    """
    layers = [
        (parent, name, layer)
        for parent in model.modules()
        for name, layer in parent.named_children()
        if isinstance(layer, Linear)
    ]
    if not layers or next(model.parameters()).device.type != "cpu":
        what = "runs on a GPU" if layers else f"(kind {model.config.kind}) has no matrices of this kind"
        raise UserError(f"int8 is for matrices on a CPU, and this model {what}; leave --int8 out")
    if model.head is None:
        model.head = Int8Linear(model.wte.weight)
    for parent, name, layer in layers:
        setattr(parent, name, Int8Linear(layer.weight, layer.bias))
    return model.eval()


def in_int8(run: RunDir, model: GPT, tokenizer: Tokenizer, corpora_dir: Path | None = None) -> str:
    """Put the model's matrices in 8 bits, in place; one line that says what it costs, or why that is not known.

    Raises UserError for a model that has none, or not on a CPU.
    """
    try:
        dataset = open_dataset(run, corpora_dir, tokenizer)
    except UserError as error:
        to_int8(model)
        return f"int8: what it costs in loss is not known: {error}"
    params = sum(parameter.numel() for parameter in model.parameters())
    most = int(max(LEAST_TOKENS, min(MOST_TOKENS, MOST_FLOPS / (2 * params))))

    def loss() -> Evaluation:
        return evaluate(model, dataset, model.config.block_size, torch.device("cpu"), most=most)

    before = loss()
    to_int8(model)
    after = loss()
    return f"int8: val loss {after.loss:.4f} for {before.loss:.4f}, on {after.tokens:,} held-out tokens"
