"""Low-rank adaptation (Hu et al. 2021): the weights stay, a narrow detour beside each matrix learns."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from engine.errors import ConfigError
from engine.model.gpt import GPT, Declared, Linear, roles

TARGETS = ("attn.qkv", "attn.proj", "mlp.fc", "mlp.proj")
"""All matrices of a block: leaving out the MLP costs more than a smaller rank everywhere (Biderman et al. 2024)."""
ADAPTER = Declared("adapter")


class LoRALinear(Linear):
    """A frozen linear layer plus alpha / r * B A x, with A `lora_a` (r, n_in) and B `lora_b` (n_out, r)."""

    def __init__(self, base: Linear, r: int, alpha: float) -> None:
        nn.Module.__init__(self)
        self.declared = {**base.declared, "lora_a": ADAPTER, "lora_b": ADAPTER}
        self.in_features, self.out_features = base.in_features, base.out_features
        self.weight, self.bias = base.weight, base.bias
        self.lora_a = nn.Parameter(base.weight.new_empty(r, base.in_features))
        self.lora_b = nn.Parameter(base.weight.new_zeros(base.out_features, r))
        self.scale = alpha / r

    def forward(self, x: Tensor) -> Tensor:
        narrow = F.linear(x, self.lora_a)
        return torch.add(super().forward(x), F.linear(narrow, self.lora_b), alpha=self.scale)

    @torch.no_grad()
    def merged_weight(self) -> Tensor:
        """(n_out, n_in): the frozen weights with the detour added."""
        return torch.addmm(self.weight, self.lora_b, self.lora_a, alpha=self.scale)


def apply_lora(model: GPT, r: int, alpha: float, generator: Generator | None = None) -> GPT:
    """Put a detour beside every one of the TARGETS of `model`, in place; from then on only the detours learn.

    A is drawn as PEFT draws it (uniform with variance 1 / (3 n_in)) from `generator` only, B is zero: nothing changes
    until the first step. Raises ConfigError for rungs of the ladder.
    """
    if model.config.kind != "gpt":
        raise ConfigError("lora needs model.kind gpt")
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    model.requires_grad_(False)
    for i in range(len(model.blocks)):
        for target in TARGETS:
            name = f"blocks.{i}.{target}"
            base = model.get_submodule(name)
            assert isinstance(base, Linear)
            layer = LoRALinear(base, r, alpha)
            bound = base.in_features**-0.5
            layer.lora_a.data.copy_(torch.empty(layer.lora_a.shape).uniform_(-bound, bound, generator=generator))
            model.set_submodule(name, layer)
    return model


def merge_lora(model: GPT) -> GPT:
    """Fold every detour into its matrix, in place; the model is a plain GPT again and all of it learns."""
    for name, layer in list(adapted_layers(model)):
        _, rows, quiet = layer.declared["weight"]
        plain = Linear(layer.in_features, rows, layer.bias is not None, quiet=quiet)
        plain.weight, plain.bias = nn.Parameter(layer.merged_weight()), layer.bias
        model.set_submodule(name, plain)
    return model.requires_grad_(True)


def merged_state_dict(model: nn.Module) -> dict[str, Tensor]:
    """The weights of a plain model that computes the same; `model` stays as it is."""
    declared = roles(model)
    state = {name: tensor for name, tensor in model.state_dict().items() if declared[name].role != "adapter"}
    for name, layer in adapted_layers(model):
        state[f"{name}.weight"] = layer.merged_weight()
    return state


def adapted_layers(model: nn.Module) -> Iterator[tuple[str, LoRALinear]]:
    """(name, layer) of every layer with a detour: "blocks.0.attn.qkv", ..."""
    return ((name, layer) for name, layer in model.named_modules() if isinstance(layer, LoRALinear))
