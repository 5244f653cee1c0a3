"""Export to Hugging Face's transformers and peft, which need not be installed; `imports.py` is the way back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from engine.config import ModelConfig
from engine.files import open_output_folder, write_atomic
from engine.interop.architectures import Architecture, architecture_of
from engine.interop.files import write_json, write_tensors
from engine.interop.tokenizers import write_tokenizer
from engine.model.gpt import GPT, embedding_std, sinusoidal_table
from engine.model.lora import TARGETS, adapted_layers, merged_state_dict
from engine.model.sizes import padded_vocab

if TYPE_CHECKING:
    from engine.tokenizers.base import Tokenizer

ENDS = ("<END>", "<|endoftext|>")  # special tokens that end a text


def export(model: GPT, tokenizer: Tokenizer | None, folder: Path, *, force: bool = False) -> Architecture:
    """Write config.json and model.safetensors for `AutoModelForCausalLM.from_pretrained(folder)`; the class that it is.

    The logits are equal; a LoRA adapter is merged. Where transformers has no such class its code is written too, and
    loading needs `trust_remote_code=True`. `write_tokenizer` says what is written of the tokenizer. Raises UserError
    when no class of transformers computes this model, naming the settings, or when the folder cannot be written.
    """
    to = architecture_of(model.config)
    tensors = _weights(to, model.config, model.vocab_size, merged_state_dict(model))
    settings = {
        "architectures": [to.name],
        "model_type": to.model_type,
        "dtype": "float32",
        "vocab_size": model.vocab_size,
        "tie_word_embeddings": model.config.tie_embeddings,
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
        **to.settings(model.config),
    }
    if tokenizer is not None:
        settings["eos_token_id"] = next((tokenizer.special[end] for end in ENDS if end in tokenizer.special), None)
    with open_output_folder(folder, force=force) as place:
        write_tensors(place / "model.safetensors", tensors)
        write_json(place / "config.json", settings)
        if to.code is not None:
            write_atomic(place / to.code.name, to.code.read_bytes())
        if tokenizer is not None:
            write_tokenizer(tokenizer, place, model.config.block_size)
    return to


def _weights(to: Architecture, config: ModelConfig, vocab_size: int, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our weights under the names, in the order and of the shapes that class has them; `state` is the model's."""
    if config.kind == "decoder":
        for theirs, ours in (("attn.in_proj_", "attn.qkv."), ("attn.out_proj.", "attn.proj.")):
            state = {name.replace(theirs, ours): tensor for name, tensor in state.items()}
    out = {to.embedding: state["wte.weight"][:vocab_size]}
    if not config.tie_embeddings:
        out["lm_head.weight"] = state["head.weight"][:vocab_size]
    if config.embd_window > 1:
        tables = state["before.weight"].view(config.embd_window - 1, -1, config.n_embd)
        out["before.weight"] = tables[:, : vocab_size + 1].flatten(0, 1)
    if to.positions is not None:
        out[to.positions] = _positions(config, vocab_size, state)
    for i in range(config.n_layer):
        prefix = f"{to.layer}{i}."
        for source, parts in to.linears(config).items():
            weight, bias = state[f"blocks.{i}.{source}.weight"], state.get(f"blocks.{i}.{source}.bias")
            for part in parts:
                cut = part.cut(weight)
                out[f"{prefix}{part.name}.weight"] = cut.t() if to.transposed else cut
                if bias is not None:
                    out[f"{prefix}{part.name}.bias"] = part.cut(bias)
                elif to.transposed:  # GPT-2 has biases always
                    out[f"{prefix}{part.name}.bias"] = weight.new_zeros(weight.size(0))
        if to.norms is not None:
            out.update(_norm(config, state, f"blocks.{i}.norm1", prefix + to.norms[0]))
            out.update(_norm(config, state, f"blocks.{i}.norm2", prefix + to.norms[1]))
    if to.norms is not None:
        out.update(_norm(config, state, "norm_f", to.norms[2]))
    return {name: tensor.detach().float().cpu().contiguous() for name, tensor in out.items()}


def _norm(config: ModelConfig, state: dict[str, Tensor], source: str, target: str) -> dict[str, Tensor]:
    """A norm's weights; where ours has none, those that change nothing."""
    out = {f"{target}.weight": state.get(f"{source}.weight", torch.ones(config.n_embd))}
    if config.norm == "layernorm":
        out[f"{target}.bias"] = state.get(f"{source}.bias", torch.zeros(config.n_embd))
    return out


def _positions(config: ModelConfig, vocab_size: int, state: dict[str, Tensor]) -> Tensor:
    if config.position == "learned":
        return state["wpe.weight"]
    if config.position == "none":
        return torch.zeros(config.block_size, config.n_embd)
    rows = padded_vocab(config, vocab_size)
    return sinusoidal_table(config.block_size, config.n_embd, embedding_std(config, rows))


def export_adapter(model: GPT, r: int, alpha: float, folder: Path, *, force: bool = False) -> None:
    """Write the LoRA adapter of rank `r` and strength `alpha` on `model` for `PeftModel.from_pretrained(base, folder)`.

    The base is what `export` writes of the model that was adapted. Where transformers has two matrices for one of ours,
    both get the same A and their own rows of B. Raises UserError as `export`.
    """
    to = architecture_of(model.config)
    parts = to.linears(model.config)
    tensors: dict[str, Tensor] = {}
    for name, layer in adapted_layers(model):
        _, number, source = name.split(".", 2)
        for part in parts[source]:
            stem = f"base_model.model.{to.layer}{number}.{part.name}"
            tensors[f"{stem}.lora_A.weight"] = layer.lora_a.detach().float().cpu().clone()
            tensors[f"{stem}.lora_B.weight"] = part.cut(layer.lora_b.detach()).float().cpu().clone()
    settings: dict[str, Any] = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "",
        "r": r,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "target_modules": [part.name for target in TARGETS for part in parts[target]],
        "fan_in_fan_out": to.transposed,
        "bias": "none",
        "inference_mode": True,
    }
    with open_output_folder(folder, force=force) as place:
        write_tensors(place / "adapter_model.safetensors", tensors)
        write_json(place / "adapter_config.json", settings)
