"""Products with a single row at the speed of memory, which is what decoding on a CPU is made of.

Column by column such a product is a sum of columns weighted by the row, which runs straight through memory and through
the registers; row by row each number that comes out is a sum within a row. PyTorch's own product does either.
"""

from __future__ import annotations

import torch
from torch import nn

from engine.model.gpt import GPT, Linear


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
