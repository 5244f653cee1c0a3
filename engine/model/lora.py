"""Low-rank adaptation (Hu et al. 2021): the weights stay, a narrow detour beside each matrix learns."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from engine.errors import ConfigError
from engine.model.gpt import GPT, Declared, Linear, roles

TARGETS = ("attn.qkv", "attn.proj", "mlp.fc", "mlp.proj")
ADAPTER = Declared("adapter")


@dataclass(frozen=True)
class LoRAConfig:
    """Rank, strength (the detour counts alpha / r), dropout before it, and which matrices of a block get one.

    All four by default: leaving out the MLP costs more than a smaller rank everywhere (Biderman et al. 2024).
    """

    r: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    targets: tuple[str, ...] = TARGETS

    def check(self) -> None:
        """Raises ConfigError for a value that cannot work."""
        if self.r < 1:
            raise ConfigError(f"lora r {self.r} must be at least 1")
        if not (math.isfinite(self.alpha) and self.alpha > 0):
            raise ConfigError(f"lora alpha {self.alpha:g} must be above 0")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"lora dropout {self.dropout:g} must be at least 0 and below 1")
        if not self.targets or not set(self.targets) <= set(TARGETS):
            raise ConfigError(f"lora targets are among {', '.join(TARGETS)}, not {', '.join(self.targets) or 'none'}")


class LoRALinear(Linear):
    """A frozen linear layer plus scale * B A x, with A `lora_a` (r, n_in) and B `lora_b` (n_out, r)."""

    def __init__(self, base: Linear, config: LoRAConfig) -> None:
        nn.Module.__init__(self)
        self.declared = {**base.declared, "lora_a": ADAPTER, "lora_b": ADAPTER}
        self.in_features, self.out_features = base.in_features, base.out_features
        self.weight, self.bias = base.weight, base.bias
        self.lora_a = nn.Parameter(base.weight.new_empty(config.r, base.in_features))
        self.lora_b = nn.Parameter(base.weight.new_zeros(base.out_features, config.r))
        self.scale = config.alpha / config.r
        self.dropout = config.dropout

    def forward(self, x: Tensor) -> Tensor:
        narrow = F.linear(F.dropout(x, self.dropout, self.training), self.lora_a)
        return torch.add(super().forward(x), F.linear(narrow, self.lora_b), alpha=self.scale)

    @torch.no_grad()
    def merged_weight(self) -> Tensor:
        """(n_out, n_in): the frozen weights with the detour added."""
        return torch.addmm(self.weight, self.lora_b, self.lora_a, alpha=self.scale)

    def merged(self) -> Linear:
        """A plain layer that computes the same."""
        _, rows, quiet = self.declared["weight"]
        layer = Linear(self.in_features, rows, self.bias is not None, quiet=quiet)
        layer.weight, layer.bias = nn.Parameter(self.merged_weight()), self.bias
        return layer


def apply_lora(model: GPT, config: LoRAConfig, generator: Generator | None = None) -> GPT:
    """Put a detour beside every target of `model`, in place; from then on only the detours learn.

    A is drawn as PEFT draws it (uniform with variance 1 / (3 n_in)) from `generator` only, B is zero: nothing changes
    until the first step. Raises ConfigError for settings that cannot work and for rungs of the ladder.
    """
    config.check()
    if model.config.kind != "gpt":
        raise ConfigError("lora needs model.kind gpt")
    if any(adapted_layers(model)):
        raise ConfigError("the model has a lora adapter already; merge it first")
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    model.requires_grad_(False)
    for i in range(len(model.blocks)):
        for target in config.targets:
            name = f"blocks.{i}.{target}"
            base = model.get_submodule(name)
            assert isinstance(base, Linear)
            layer = LoRALinear(base, config)
            bound = base.in_features**-0.5
            layer.lora_a.data.copy_(torch.empty(layer.lora_a.shape).uniform_(-bound, bound, generator=generator))
            model.set_submodule(name, layer)
    return model


def merge_lora(model: GPT) -> GPT:
    """Fold every detour into its matrix, in place; the model is a plain GPT again and all of it learns."""
    for name, layer in list(adapted_layers(model)):
        model.set_submodule(name, layer.merged())
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
