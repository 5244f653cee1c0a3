"""Which class of Hugging Face's transformers computes what a model computes: its settings and weights, both ways.

Each class is described once. `exports.py` writes by it, `imports.py` reads by it and compares. No class here imports
transformers: a folder of the right files is all it needs.
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
_READ_AS = {there: ours for ours, there in ACTIVATIONS.items()} | {"gelu_new": "gelu_tanh"}

Rows = Tensor | slice
ALL = slice(None)
Linears = dict[str, dict[str, Rows]]
Settings = dict[str, Any]


@dataclass(frozen=True)
class Place:
    """A tensor of theirs: these rows of one of our parameters, `turned` where it is stored (n_in, n_out)."""

    name: str
    rows: Rows
    turned: bool = False

    def cut(self, ours: Tensor) -> Tensor:
        """What theirs holds of our parameter."""
        return ours[self.rows].t() if self.turned else ours[self.rows]


@dataclass(frozen=True)
class Architecture:
    """One class of transformers.

    `wants` are the values that a model's settings may have to be one; the first is what one has that does not say.
    `says` is what stands in config.json, and what of `ModelConfig` each is; `otherwise` what it means where it does not
    stand there, and `fixed` what it has to be in all models of ours. `linears(config)` says where each of a block's
    matrices ("attn.qkv", ...) goes in a layer.
    """

    name: str
    model_type: str
    wants: dict[str, tuple[Any, ...]]
    says: dict[str, str]
    otherwise: Settings
    fixed: Settings
    dropouts: tuple[str, ...]
    linears: Callable[[ModelConfig], Linears]
    layer: str  # prefix of layer N
    embedding: str
    positions: str | None
    norms: tuple[str, str, str] | None  # before attention, before the MLP, at the end; None: without weights
    like_gpt2: bool = False  # matrices stored (n_in, n_out), biases in all
    code: Path | None = None  # of a class that transformers does not have; it is written beside the weights

    def lacks(self, config: ModelConfig) -> list[str]:
        """What a model must change to be one, in words; nothing when it is one."""
        own = config.model_dump() | ({"n_kv_head": None} if config.kv_heads == config.n_head else {})
        return [
            f"model.{name} {' or '.join(map(as_typed, values))}"
            for name, values in self.wants.items()
            if own[name] not in values
        ]

    def settings(self, config: ModelConfig) -> Settings:
        """What config.json says of such a model."""
        said = {theirs: in_theirs(ours, getattr(config, ours)) for theirs, ours in self.says.items()}
        said |= dict.fromkeys(self.dropouts, config.dropout) | self.fixed
        if "rope" in self.wants["position"]:
            said["rope_parameters"] = {"rope_type": "default", "rope_theta": config.rope_base}
        if self.code is not None:
            classes = {"AutoConfig": "WindowedNanoChatConfig", "AutoModelForCausalLM": self.name}
            said["auto_map"] = {auto: f"{self.code.stem}.{name}" for auto, name in classes.items()}
            said["use_cache"] = False
        return said

    def places(self, config: ModelConfig) -> dict[str, list[Place]]:
        """Of each parameter that such a model has, under our name, the tensors that hold it."""
        places = {"wte.weight": [Place(self.embedding, ALL)]}
        if not config.tie_embeddings:
            places["head.weight"] = [Place("lm_head.weight", ALL)]
        if config.embd_window > 1:
            places["before.weight"] = [Place("before.weight", ALL)]
        if self.positions is not None:
            places["wpe.weight"] = [Place(self.positions, ALL)]
        norms = {} if self.norms is None else {"norm_f": self.norms[2]}
        linears = self.linears(config)
        for i in range(config.n_layer):
            for source, parts in linears.items():
                for leaf in ("weight", "bias") if config.bias or self.like_gpt2 else ("weight",):
                    turned = self.like_gpt2 and leaf == "weight"
                    each = [Place(f"{self.layer}{i}.{name}.{leaf}", rows, turned) for name, rows in parts.items()]
                    places[f"blocks.{i}.{source}.{leaf}"] = each
            if self.norms is not None:
                norms |= {f"blocks.{i}.norm{n + 1}": f"{self.layer}{i}.{self.norms[n]}" for n in (0, 1)}
        for ours, theirs in norms.items():
            for leaf in ("weight", "bias") if config.norm == "layernorm" else ("weight",):
                places[f"{ours}.{leaf}"] = [Place(f"{theirs}.{leaf}", ALL)]
        return places


def in_theirs(name: str, value: Any) -> Any:
    """A value of `ModelConfig` as config.json has it."""
    return ACTIVATIONS[value] if name == "mlp" else value or None if name == "softcap" else value


def in_ours(name: str, value: Any) -> Any:
    """A value out of config.json as `ModelConfig` has it; what is no word of theirs stays as it is."""
    if name == "mlp" and isinstance(value, str):
        return _READ_AS.get(value, value)
    return 0.0 if name == "softcap" and value is None else value


def _apart(rows: tuple[int, ...]) -> tuple[Tensor, ...]:
    """The numbers of the rows of each of the matrices that one of ours holds."""
    return torch.split(torch.arange(sum(rows)), list(rows))


def _gpt2_linears(config: ModelConfig) -> Linears:
    theirs = {"attn.qkv": "attn.c_attn", "attn.proj": "attn.c_proj", "mlp.fc": "mlp.c_fc", "mlp.proj": "mlp.c_proj"}
    return {ours: {name: ALL} for ours, name in theirs.items()}


def _llama_linears(config: ModelConfig) -> Linears:
    queries, keys, values = _apart(config.qkv_rows)
    gate, up = _apart(config.fc_rows)
    return {
        "attn.qkv": {"self_attn.q_proj": queries, "self_attn.k_proj": keys, "self_attn.v_proj": values},
        "attn.proj": {"self_attn.o_proj": ALL},
        "mlp.fc": {"mlp.gate_proj": gate, "mlp.up_proj": up},
        "mlp.proj": {"mlp.down_proj": ALL},
    }


def _nanochat_linears(config: ModelConfig) -> Linears:
    """NanoChat turns heads the other way round, which is the same turn with the halves of every head swapped."""
    queries, keys, values = _apart(config.qkv_rows)

    def swapped(rows: Tensor) -> Tensor:
        return rows.view(-1, 2, config.head_dim // 2).flip(1).flatten()

    return {
        "attn.qkv": {
            "self_attn.q_proj": swapped(queries),
            "self_attn.k_proj": swapped(keys),
            "self_attn.v_proj": values,
        },
        "attn.proj": {"self_attn.o_proj": ALL},
        "mlp.fc": {"mlp.fc1": ALL},
        "mlp.proj": {"mlp.fc2": ALL},
    }


PLAIN = tuple(mlp for mlp in ACTIVATIONS if mlp != "swiglu")
GPT2 = Architecture(
    name="GPT2LMHeadModel",
    model_type="gpt2",
    wants={
        "embd_window": (1,),
        "position": ("learned", "sinusoidal", "none"),
        "norm": ("layernorm",),
        "mlp": PLAIN,
        "n_kv_head": (None,),
        "qk_norm": (False,),
        "embd_norm": (False,),
        "softcap": (0.0,),
        "bias": (True, False),
    },
    says={
        "n_positions": "block_size",
        "n_embd": "n_embd",
        "n_layer": "n_layer",
        "n_head": "n_head",
        "n_inner": "mlp_hidden",
        "activation_function": "mlp",
        "tie_word_embeddings": "tie_embeddings",
    },
    otherwise={
        "n_inner": None,
        "activation_function": "gelu_new",
        "tie_word_embeddings": True,
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
    },
    fixed={"layer_norm_epsilon": LAYER_EPS},
    dropouts=("resid_pdrop", "embd_pdrop", "attn_pdrop"),
    linears=_gpt2_linears,
    layer="transformer.h.",
    embedding="transformer.wte.weight",
    positions="transformer.wpe.weight",
    norms=("ln_1", "ln_2", "transformer.ln_f"),
    like_gpt2=True,
)
_ROTARY = {
    "max_position_embeddings": "block_size",
    "hidden_size": "n_embd",
    "intermediate_size": "mlp_hidden",
    "num_hidden_layers": "n_layer",
    "num_attention_heads": "n_head",
    "num_key_value_heads": "kv_heads",
    "hidden_act": "mlp",
    "attention_bias": "bias",
    "tie_word_embeddings": "tie_embeddings",
}
_ROTARY_OTHERWISE = {"num_key_value_heads": None, "attention_bias": False, "tie_word_embeddings": False}
LLAMA = Architecture(
    name="LlamaForCausalLM",
    model_type="llama",
    wants={
        "embd_window": (1,),
        "position": ("rope",),
        "norm": ("rmsnorm",),
        "mlp": ("swiglu",),
        "qk_norm": (False,),
        "embd_norm": (False,),
        "softcap": (0.0,),
    },
    says={**_ROTARY, "head_dim": "head_dim", "mlp_bias": "bias"},
    otherwise={**_ROTARY_OTHERWISE, "head_dim": None, "mlp_bias": False},
    fixed={"rms_norm_eps": RMS_EPS},
    dropouts=("attention_dropout",),
    linears=_llama_linears,
    layer="model.layers.",
    embedding="model.embed_tokens.weight",
    positions=None,
    norms=("input_layernorm", "post_attention_layernorm", "model.norm"),
)
NANOCHAT = replace(
    LLAMA,
    name="NanoChatForCausalLM",
    model_type="nanochat",
    wants={
        "embd_window": (1,),
        "position": ("rope",),
        "norm": ("rmsnorm",),
        "norm_weight": (False,),
        "mlp": PLAIN,
        "qk_norm": (True,),
        "embd_norm": (True,),
        "bias": (False,),
    },
    says={**_ROTARY, "final_logit_softcapping": "softcap"},
    otherwise={**_ROTARY_OTHERWISE, "final_logit_softcapping": 15.0, "embd_window": 1},
    linears=_nanochat_linears,
    norms=None,
)
WINDOWED_NANOCHAT = replace(
    NANOCHAT,
    name="WindowedNanoChatForCausalLM",
    model_type="windowed_nanochat",
    wants={name: values for name, values in NANOCHAT.wants.items() if name != "embd_window"},
    says={**NANOCHAT.says, "embd_window": "embd_window"},
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
