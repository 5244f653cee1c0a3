"""A model's matrices as decoding on a CPU reads them quickest: column by column, or in 8 bits.

Decoding multiplies matrices with a single row, at the speed of memory. Column by column such a product is a sum of
columns weighted by the row, which runs straight through memory and through the registers; row by row each number that
comes out is a sum within a row. PyTorch's own product does either.

In 8 bits there is a quarter of the bytes to read. Each row has a scale of its own, and is symmetric about zero. What
goes in is bfloat16, which is what PyTorch's product with 8-bit weights takes; the rest of the model stays float32.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.errors import UserError
from engine.model.gpt import GPT, Linear

FEW = 8
"""Rows of x, at most, for which PyTorch's product with 8-bit weights is the quicker one."""
WIDTH = 64
"""Columns come in so many: the product reads a multiple of them, whatever there is."""
CHUNK = 16 << 20
"""Weights that are turned into bfloat16 together, for more rows than that."""
LARGEST = 127


def for_decoding(model: GPT) -> GPT:
    """The same model, changed in place: in evaluation mode, its matrices on a CPU laid out column by column.

    Names, shapes and values of the parameters stay. Only for a float32 model with a cache; others are as quick as they
    get. Not for a model in training: its optimizer holds the parameters that are replaced.
    """
    for layer in model.modules() if model.supports_cache else ():
        if isinstance(layer, Linear) and layer.weight.device.type == "cpu" and layer.weight.dtype == torch.float32:
            columns = layer.weight.detach().t().contiguous()
            layer.weight = nn.Parameter(columns.t(), layer.weight.requires_grad)
    return model.eval()


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
