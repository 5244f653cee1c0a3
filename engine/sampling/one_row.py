"""Products with a single row at the speed of memory, which is what decoding on a CPU is made of.

For one row, PyTorch's matrix products on a CPU read the matrix at about half the rate of a plain sum over it. A sum of
the matrix' columns weighted by the row is the same product, and `embedding_bag` computes that at the full rate when
each column lies together in memory.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.model.gpt import GPT, Linear

BAGS = 2
"""Parts of a product. A number of its own, not that of the threads: what a model writes must not hang on those."""


class ColumnLinear(nn.Module):
    """A linear layer like the one it is made from, its weight (n_out, n_in) stored column by column."""

    def __init__(self, layer: Linear) -> None:
        super().__init__()
        self.declared = layer.declared
        columns = layer.weight.detach().t().contiguous()
        self.weight = nn.Parameter(columns.t(), layer.weight.requires_grad)
        self.bias = layer.bias
        # all columns, in BAGS bags that are added up: PyTorch gives each to a thread
        every, starts = torch.arange(len(columns)), torch.arange(BAGS) * len(columns) // BAGS
        self._bags = (columns, every, starts, False, 0, False)  # a plain tuple: a module's attributes are slow to find

    def forward(self, x: Tensor) -> Tensor:
        """x (..., n_in) -> (..., n_out)."""
        shares = x.reshape(-1)
        if shares.size(0) != x.size(-1) or torch.is_grad_enabled():
            return F.linear(x, self.weight, self.bias)
        out: Tensor = torch._embedding_bag_forward_only(*self._bags, shares)[0].sum(0)
        if self.bias is not None:
            out += self.bias
        return out.view(*x.shape[:-1], -1)


def for_decoding(model: GPT) -> GPT:
    """The same model, changed in place: in evaluation mode, and on a CPU twice as quick at one token after the other.

    Names, shapes and values of the parameters stay. Only for a float32 model with a cache; others are as quick as they
    get. Not for a model in training: its optimizer holds the parameters that are replaced.
    """
    layers = [
        (parent, name, layer)
        for parent in (model.modules() if model.supports_cache else ())
        for name, layer in parent.named_children()
        if isinstance(layer, Linear) and layer.weight.device.type == "cpu" and layer.weight.dtype == torch.float32
    ]
    for parent, name, layer in layers:
        setattr(parent, name, ColumnLinear(layer))
    return model.eval()
