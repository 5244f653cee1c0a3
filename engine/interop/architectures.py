"""Which class of Hugging Face's transformers computes what a model computes, and where its weights go there.

No class here imports transformers: a folder of the right files is all it needs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.config import ModelConfig, as_typed
from engine.errors import UserError
from engine.model.gpt import LAYER_EPS, RMS_EPS

ACTIVATIONS = {"gelu": "gelu", "gelu_tanh": "gelu_pytorch_tanh", "relu": "relu", "relu2": "relu2", "swiglu": "silu"}


@dataclass(frozen=True)
class Part:
    """Rows of one of our matrices under their name in a Hugging Face layer; `rows` None is all of them, in order."""

    name: str
    rows: Tensor | None = None

    def cut(self, tensor: Tensor) -> Tensor:
        return tensor if self.rows is None else tensor[self.rows]


Parts = dict[str, list[Part]]
Wants = dict[str, tuple[Any, ...]]


@dataclass(frozen=True)
class Architecture:
    """One class of transformers.

    `wants` are the values that a model's settings may have to be one. `linears(config)` says where each of a block's
    matrices ("attn.qkv", ...) goes in a layer.
    """

    name: str
    model_type: str
    wants: Wants
    settings: Callable[[ModelConfig], dict[str, Any]]
    linears: Callable[[ModelConfig], Parts]
    layer: str  # prefix of layer N
    embedding: str
    positions: str | None
    norms: tuple[str, str, str] | None  # before attention, before the MLP, at the end; None: without weights
    transposed: bool  # weights stored (n_in, n_out)
    code: Path | None = None  # of a class that transformers does not have; it is written beside the weights

    def lacks(self, config: ModelConfig) -> list[str]:
        """What a model must change to be one, in words; nothing when it is one."""
        own = config.model_dump() | ({"n_kv_head": None} if config.kv_heads == config.n_head else {})
        return [
            f"model.{name} {' or '.join(map(as_typed, values))}"
            for name, values in self.wants.items()
            if own[name] not in values
        ]


PLAIN = tuple(mlp for mlp in ACTIVATIONS if mlp != "swiglu")
GPT2_WANTS: Wants = {
    "embd_window": (1,),
    "position": ("learned", "sinusoidal", "none"),
    "norm": ("layernorm",),
    "mlp": PLAIN,
    "n_kv_head": (None,),
    "qk_norm": (False,),
    "embd_norm": (False,),
    "softcap": (0.0,),
}
LLAMA_WANTS: Wants = {
    "embd_window": (1,),
    "position": ("rope",),
    "norm": ("rmsnorm",),
    "mlp": ("swiglu",),
    "qk_norm": (False,),
    "embd_norm": (False,),
    "softcap": (0.0,),
}
NANOCHAT_WANTS: Wants = {
    "position": ("rope",),
    "norm": ("rmsnorm",),
    "norm_weight": (False,),
    "mlp": PLAIN,
    "qk_norm": (True,),
    "embd_norm": (True,),
    "bias": (False,),
}


def _gpt2_settings(config: ModelConfig) -> dict[str, Any]:
    return {
        "n_positions": config.block_size,
        "n_embd": config.n_embd,
        "n_layer": config.n_layer,
        "n_head": config.n_head,
        "n_inner": config.mlp_hidden,
        "activation_function": ACTIVATIONS[config.mlp],
        "resid_pdrop": config.dropout,
        "embd_pdrop": config.dropout,
        "attn_pdrop": config.dropout,
        "layer_norm_epsilon": LAYER_EPS,
    }


def _gpt2_linears(config: ModelConfig) -> Parts:
    return {
        "attn.qkv": [Part("attn.c_attn")],
        "attn.proj": [Part("attn.c_proj")],
        "mlp.fc": [Part("mlp.c_fc")],
        "mlp.proj": [Part("mlp.c_proj")],
    }


def _rotary_settings(config: ModelConfig) -> dict[str, Any]:
    return {
        "max_position_embeddings": config.block_size,
        "hidden_size": config.n_embd,
        "intermediate_size": config.mlp_hidden,
        "num_hidden_layers": config.n_layer,
        "num_attention_heads": config.n_head,
        "num_key_value_heads": config.kv_heads,
        "hidden_act": ACTIVATIONS[config.mlp],
        "attention_dropout": config.dropout,
        "attention_bias": config.bias,
        "rms_norm_eps": RMS_EPS,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_base},
    }


def _llama_settings(config: ModelConfig) -> dict[str, Any]:
    return {**_rotary_settings(config), "head_dim": config.head_dim, "mlp_bias": config.bias}


def _apart(rows: tuple[int, ...]) -> tuple[Tensor, ...]:
    """The numbers of the rows of each of the matrices that one of ours holds."""
    return torch.split(torch.arange(sum(rows)), list(rows))


def _llama_linears(config: ModelConfig) -> Parts:
    queries, keys, values = _apart(config.qkv_rows)
    gate, up = _apart(config.fc_rows)
    return {
        "attn.qkv": [
            Part("self_attn.q_proj", queries),
            Part("self_attn.k_proj", keys),
            Part("self_attn.v_proj", values),
        ],
        "attn.proj": [Part("self_attn.o_proj")],
        "mlp.fc": [Part("mlp.gate_proj", gate), Part("mlp.up_proj", up)],
        "mlp.proj": [Part("mlp.down_proj")],
    }


def _nanochat_settings(config: ModelConfig) -> dict[str, Any]:
    return {**_rotary_settings(config), "final_logit_softcapping": config.softcap or None}


def _windowed_nanochat_settings(config: ModelConfig) -> dict[str, Any]:
    there = {"AutoConfig": "WindowedNanoChatConfig", "AutoModelForCausalLM": "WindowedNanoChatForCausalLM"}
    auto_map = {auto: f"windowed_nanochat.{name}" for auto, name in there.items()}
    return {**_nanochat_settings(config), "embd_window": config.embd_window, "auto_map": auto_map, "use_cache": False}


def _nanochat_linears(config: ModelConfig) -> Parts:
    """NanoChat turns heads the other way round, which is the same turn with the halves of every head swapped."""
    queries, keys, values = _apart(config.qkv_rows)

    def swapped(rows: Tensor) -> Tensor:
        return rows.view(-1, 2, config.head_dim // 2).flip(1).flatten()

    return {
        "attn.qkv": [
            Part("self_attn.q_proj", swapped(queries)),
            Part("self_attn.k_proj", swapped(keys)),
            Part("self_attn.v_proj", values),
        ],
        "attn.proj": [Part("self_attn.o_proj")],
        "mlp.fc": [Part("mlp.fc1")],
        "mlp.proj": [Part("mlp.fc2")],
    }


GPT2 = Architecture(
    name="GPT2LMHeadModel",
    model_type="gpt2",
    wants=GPT2_WANTS,
    settings=_gpt2_settings,
    linears=_gpt2_linears,
    layer="transformer.h.",
    embedding="transformer.wte.weight",
    positions="transformer.wpe.weight",
    norms=("ln_1", "ln_2", "transformer.ln_f"),
    transposed=True,
)
LLAMA = Architecture(
    name="LlamaForCausalLM",
    model_type="llama",
    wants=LLAMA_WANTS,
    settings=_llama_settings,
    linears=_llama_linears,
    layer="model.layers.",
    embedding="model.embed_tokens.weight",
    positions=None,
    norms=("input_layernorm", "post_attention_layernorm", "model.norm"),
    transposed=False,
)
NANOCHAT = Architecture(
    name="NanoChatForCausalLM",
    model_type="nanochat",
    wants=NANOCHAT_WANTS | {"embd_window": (1,)},
    settings=_nanochat_settings,
    linears=_nanochat_linears,
    layer="model.layers.",
    embedding="model.embed_tokens.weight",
    positions=None,
    norms=None,
    transposed=False,
)
WINDOWED_NANOCHAT = replace(
    NANOCHAT,
    name="WindowedNanoChatForCausalLM",
    model_type="windowed_nanochat",
    wants=NANOCHAT_WANTS,
    settings=_windowed_nanochat_settings,
    code=Path(__file__).with_name("windowed_nanochat.py"),
)
ARCHITECTURES = (GPT2, LLAMA, NANOCHAT, WINDOWED_NANOCHAT)


def architecture_of(config: ModelConfig) -> Architecture:
    """The class of transformers that computes exactly this.

    Raises UserError naming the closest class and the settings that keep the model from being one.
    """
    if config.kind not in ("gpt", "decoder"):
        raise UserError(f"transformers has no model like model.kind {config.kind}; export needs kind gpt or decoder")
    closest = min(ARCHITECTURES, key=lambda architecture: len(architecture.lacks(config)))
    if lacking := ", ".join(closest.lacks(config)):
        raise UserError(f"no class of transformers computes this model; the closest, {closest.name}, needs {lacking}")
    return closest
