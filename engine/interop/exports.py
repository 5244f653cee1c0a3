"""Ways out: to Hugging Face's transformers and peft, which need not be installed, and to TensorBoard, which must be.

`imports.py` and `tokenizers.py` are the way back.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save
from torch import Tensor

from engine.config import ModelConfig
from engine.errors import UserError
from engine.files import open_output_folder, write_atomic
from engine.interop.architectures import Architecture, architecture_of
from engine.interop.tokenizers import OWN
from engine.model.gpt import GPT, embedding_std, sinusoidal_table
from engine.model.lora import TARGETS, adapted_layers, merged_state_dict
from engine.model.sizes import padded_vocab
from engine.runs.layout import RunDir
from engine.runs.reader import RunReader

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
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
        **to.settings(model.config),
    }
    if tokenizer is not None:
        settings["eos_token_id"] = next((tokenizer.special[end] for end in ENDS if end in tokenizer.special), None)
    with open_output_folder(folder, force=force) as place:
        _write_tensors(place / "model.safetensors", tensors)
        _write_json(place / "config.json", settings)
        if to.code is not None:
            write_atomic(place / to.code.name, to.code.read_bytes())
        if tokenizer is not None:
            write_tokenizer(tokenizer, place, model.config.block_size)
    return to


def _weights(to: Architecture, config: ModelConfig, vocab_size: int, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our weights under the names and of the shapes that class has them; `state` is the model's."""
    if config.kind == "decoder":
        for theirs, ours in (("attn.in_proj_", "attn.qkv."), ("attn.out_proj.", "attn.proj.")):
            state = {name.replace(theirs, ours): tensor for name, tensor in state.items()}
    out = {}
    for name, places in to.places(config).items():
        tensor = state[name] if name in state else _that_changes_nothing(name, config, vocab_size, state)
        if name in ("wte.weight", "head.weight"):
            tensor = tensor[:vocab_size]
        elif name == "before.weight":
            tensor = tensor.view(config.embd_window - 1, -1, config.n_embd)[:, : vocab_size + 1].flatten(0, 1)
        for place in places:
            out[place.name] = place.cut(tensor).detach().float().cpu().contiguous()
    return out


def _that_changes_nothing(name: str, config: ModelConfig, vocab_size: int, state: dict[str, Tensor]) -> Tensor:
    """What a parameter is in a model that does as ours does without it."""
    if name == "wpe.weight":
        shape, std = (config.block_size, config.n_embd), embedding_std(config, padded_vocab(config, vocab_size))
        return torch.zeros(shape) if config.position == "none" else sinusoidal_table(*shape, std)
    if name.endswith(".bias"):
        matrix = state.get(name.removesuffix("bias") + "weight")
        return torch.zeros(config.n_embd if matrix is None else matrix.size(0))
    return torch.ones(config.n_embd)


def export_adapter(model: GPT, r: int, alpha: float, folder: Path, *, force: bool = False) -> None:
    """Write the LoRA adapter of rank `r` and strength `alpha` on `model` for `PeftModel.from_pretrained(base, folder)`.

    The base is what `export` writes of the model that was adapted. Where transformers has two matrices for one of ours,
    both get the same A and their own rows of B. Raises UserError as `export`.
    """
    to = architecture_of(model.config)
    linears = to.linears(model.config)
    tensors: dict[str, Tensor] = {}
    for name, layer in adapted_layers(model):
        _, number, source = name.split(".", 2)
        for theirs, rows in linears[source].items():
            stem = f"base_model.model.{to.layer}{number}.{theirs}"
            tensors[f"{stem}.lora_A.weight"] = layer.lora_a.detach().float().cpu().clone()
            tensors[f"{stem}.lora_B.weight"] = layer.lora_b.detach()[rows].float().cpu().clone()
    settings: dict[str, Any] = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "",
        "r": r,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "target_modules": [theirs for target in TARGETS for theirs in linears[target]],
        "fan_in_fan_out": to.like_gpt2,
        "bias": "none",
        "inference_mode": True,
    }
    with open_output_folder(folder, force=force) as place:
        _write_tensors(place / "adapter_model.safetensors", tensors)
        _write_json(place / "adapter_config.json", settings)


def write_tokenizer(tokenizer: Tokenizer, folder: Path, block_size: int) -> None:
    """Write tokenizer.json and tokenizer_config.json for `AutoTokenizer.from_pretrained(folder)`, where that can be.

    All kinds but word have an equal there: same ids for every text they can encode. What has none, or one that lacks
    something (characters to be left out), is written as it is, for `tinytui runs import`.
    """
    backend = tokenizer.backend
    if backend is None or not tokenizer.backend_is_whole:
        _write_json(folder / OWN, tokenizer.to_dict())
    if backend is None:
        return
    write_atomic(folder / "tokenizer.json", backend.to_str(pretty=True).encode())
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": block_size,
        "clean_up_tokenization_spaces": False,
    }
    _write_json(folder / "tokenizer_config.json", settings)


def _write_json(path: Path, tree: dict[str, Any]) -> None:
    write_atomic(path, (json.dumps(tree, indent=2) + "\n").encode())


def _write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """A safetensors file, marked as PyTorch's as transformers wants it."""
    write_atomic(path, save(tensors, metadata={"format": "pt"}))


def export_tensorboard(run: RunDir, folder: Path, *, force: bool = False) -> int:
    """Write every logged figure of `run` as scalars, and its samples as text, into `folder`; returns the steps written.

    Raises UserError when TensorBoard (extra `tensorboard`) is not installed or the folder cannot be written, or holds
    something and not `force`.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UserError("TensorBoard is not installed; pip install 'tinytui[tensorboard]'") from None
    reader = RunReader(run)
    reader.poll()
    series = reader.series
    with open_output_folder(folder, force=force) as place, SummaryWriter(str(place)) as board:
        for name in ("loss", "lr", "grad_norm", "tokens_per_s"):
            _scalars(board, f"train/{name}", series.step, getattr(series, name))
        for name in ("val_loss", "val_bpb"):
            _scalars(board, f"val/{name.removeprefix('val_')}", series.val_step, getattr(series, name))
        for sample in reader.samples:
            board.add_text("sample", f"    {sample.get('text', '')}", int(sample.get("step", 0)))
    return len(series.step)


def _scalars(board: Any, name: str, steps: Iterable[int], values: Iterable[float]) -> None:
    for step, value in zip(steps, values, strict=True):
        if math.isfinite(value):
            board.add_scalar(name, float(value), int(step))
