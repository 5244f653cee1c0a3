"""LoRA adapters in the format of Hugging Face's peft, for the base that `hf.export` writes; peft is not needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from engine.errors import UserError
from engine.files import open_output_folder
from engine.interop.architectures import Architecture, Part, Parts, architecture_of
from engine.interop.files import plain, read_json, write_json, write_tensors
from engine.model.gpt import GPT
from engine.model.lora import LoRAConfig, adapted_layers, apply_lora

SETTINGS = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"


def save_adapter(model: GPT, config: LoRAConfig, folder: Path, base: str = "", *, force: bool = False) -> None:
    """Write adapter_config.json and adapter_model.safetensors for `PeftModel.from_pretrained(exported base, folder)`.

    `base` is what the adapter says of where its base lies. Where transformers has two matrices for one of ours, both
    get the same A and their own rows of B. Raises UserError when no class of transformers computes the model.
    """
    to = architecture_of(model.config)
    parts = to.linears(model.config)
    tensors: dict[str, Tensor] = {}
    for name, layer in adapted_layers(model):
        _, number, source = name.split(".", 2)
        for part in parts[source]:
            a, b = _names(to, int(number), part)
            tensors[a] = layer.lora_a.detach().float().cpu().clone()
            tensors[b] = part.cut(layer.lora_b.detach()).float().cpu().clone()
    if not tensors:
        raise UserError("the model has no lora adapter to save")
    modules = [part.name for t in config.targets for part in parts[t]]
    with open_output_folder(folder, force=force) as place:
        write_tensors(place / WEIGHTS, tensors)
        write_json(place / SETTINGS, _settings(to, config, modules, base))


def load_adapter(model: GPT, folder: Path) -> LoRAConfig:
    """Put the adapter of `folder` on `model`, in place; its settings.

    Raises UserError when files are missing or damaged, the adapter is not LoRA, was made for another shape, or gives
    matrices that are one of ours different A's.
    """
    to = architecture_of(model.config)
    parts = to.linears(model.config)
    config = _config(read_json(folder / SETTINGS), parts, folder)
    stored = _read(folder / WEIGHTS)
    layers = {}
    for i in range(model.config.n_layer):
        for target in config.targets:
            a, b = _joined(to, i, parts[target], stored, folder)
            name = f"blocks.{i}.{target}"
            n_out, n_in = model.get_parameter(f"{name}.weight").shape
            if a.shape != (config.r, n_in) or b.shape != (n_out, config.r):
                raise UserError(
                    f"{folder} does not fit: its {name} is {len(b)}x{a.size(-1)} of rank {len(a)}, "
                    f"the model's {n_out}x{n_in} of rank {config.r}"
                )
            layers[name] = a, b
    apply_lora(model, config)
    for name, layer in adapted_layers(model):
        a, b = layers[name]
        layer.lora_a.data.copy_(a)
        layer.lora_b.data.copy_(b)
    return config


def _config(settings: dict[str, Any], parts: Parts, folder: Path) -> LoRAConfig:
    if settings.get("peft_type") != "LORA" or settings.get("use_dora") or settings.get("use_rslora"):
        raise UserError(f"{folder} is not a plain LoRA adapter")
    named = settings.get("target_modules")
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        raise UserError(f"{folder / SETTINGS} does not list the target_modules by name")
    targets = tuple(t for t, p in parts.items() if any(part.name.endswith(name) for part in p for name in named))
    try:
        config = LoRAConfig(
            int(settings["r"]), float(settings["lora_alpha"]), float(settings.get("lora_dropout", 0.0)), targets
        )
    except (KeyError, TypeError, ValueError, OverflowError):
        raise UserError(f"{folder / SETTINGS} lacks r or lora_alpha, or they are not numbers") from None
    config.check()
    return config


def _names(to: Architecture, layer: int, part: Part) -> tuple[str, str]:
    stem = f"base_model.model.{to.layer}{layer}.{part.name}"
    return f"{stem}.lora_A.weight", f"{stem}.lora_B.weight"


def _settings(to: Architecture, config: LoRAConfig, modules: list[str], base: str) -> dict[str, Any]:
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": config.r,
        "lora_alpha": config.alpha,
        "lora_dropout": config.dropout,
        "target_modules": modules,
        "fan_in_fan_out": to.transposed,
        "bias": "none",
        "inference_mode": True,
    }


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise UserError(f"{path.parent} has no {path.name}")
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError, ValueError) as error:
        raise UserError(f"{path} is damaged: {plain(error)}") from None
    return {name: tensor.float() for name, tensor in tensors.items() if tensor.ndim == 2}


def _joined(
    to: Architecture, i: int, parts: list[Part], stored: dict[str, Tensor], folder: Path
) -> tuple[Tensor, Tensor]:
    """A (r, n_in) and B (n_out, r) of one of our matrices from those of its parts."""
    names = [_names(to, i, part) for part in parts]
    lacking = [name for pair in names for name in pair if name not in stored]
    if lacking:
        raise UserError(f"{folder} lacks {lacking[0]}; was it made for another model?")
    first = stored[names[0][0]]
    if any(not torch.equal(stored[a], first) for a, _ in names):
        said = ", ".join(part.name for part in parts)
        raise UserError(f"{folder} has a different A for each of {said}, which are one matrix here")
    joined = torch.cat([stored[b] for _, b in names])
    rows = [part.rows for part in parts if part.rows is not None]
    if not rows or sum(map(len, rows)) != len(joined):
        return first, joined
    out = torch.empty_like(joined)
    out[torch.cat(rows)] = joined
    return first, out
