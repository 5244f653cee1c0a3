"""Export to Hugging Face's transformers, and import of GPT-2 from it; neither needs transformers installed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from engine.config import ModelConfig
from engine.errors import UserError
from engine.files import write_atomic
from engine.interop.architectures import ACTIVATIONS, GPT2, architecture_of, hf_config, hf_state
from engine.interop.files import make_folder, read_json, write_json, write_tensors
from engine.interop.tokenizers import write_tokenizer
from engine.model.gpt import GPT
from engine.model.lora import merged_state_dict
from engine.model.norm import LAYER_EPS

if TYPE_CHECKING:
    from engine.text.tokenizer import Tokenizer

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
ENDS = ("<END>", "<|endoftext|>")  # special tokens that end a text


def export(model: GPT, tokenizer: Tokenizer | None, folder: Path) -> str:
    """Write config.json and model.safetensors for `AutoModelForCausalLM.from_pretrained(folder)`; the class' name.

    The logits are equal; a LoRA adapter is merged. Where transformers has no such class its code is written too, and
    loading needs `trust_remote_code=True`. Where the library `tokenizers` can do what `tokenizer` does,
    tokenizer.json is written too. Raises UserError when no class of transformers computes this model, naming the
    settings, or when the folder cannot be written.
    """
    config = hf_config(model.config, model.vocab_size)
    if tokenizer is not None:
        config["eos_token_id"] = next((tokenizer.special[end] for end in ENDS if end in tokenizer.special), None)
    tensors = hf_state(model.config, model.vocab_size, merged_state_dict(model))
    make_folder(folder)
    write_tensors(folder / WEIGHTS, tensors)
    write_json(folder / "config.json", config)
    architecture = architecture_of(model.config)
    if architecture.code is not None:
        write_atomic(folder / architecture.code.name, architecture.code.read_bytes())
    if tokenizer is not None:
        write_tokenizer(tokenizer, folder, model.config.block_size)
    return architecture.name


def import_gpt2(folder: Path) -> tuple[ModelConfig, dict[str, Tensor]]:
    """A GPT-2 saved by transformers, as our settings and weights: load them into `build_model(config, rows of wte)`.

    Tensors are float32. Raises UserError when a file is missing or damaged, the model is not a GPT-2, or it uses an
    option that is not ours.
    """
    config = _gpt2_config(read_json(folder / "config.json"), folder)
    stored = {name.removeprefix("transformer."): tensor for name, tensor in _read_weights(folder).items()}
    if config.tie_embeddings is False and "lm_head.weight" not in stored:
        config = config.model_copy(update={"tie_embeddings": True})
    names = {"wte.weight": "wte.weight", "wpe.weight": "wpe.weight", "norm_f.weight": "ln_f.weight"}
    names |= {"norm_f.bias": "ln_f.bias"} | ({} if config.tie_embeddings else {"head.weight": "lm_head.weight"})
    for i in range(config.n_layer):
        layers = {source: parts[0].name for source, parts in GPT2.linears(config).items()}
        for ours, theirs in {**layers, "norm1": "ln_1", "norm2": "ln_2"}.items():
            for leaf in ("weight", "bias"):
                names[f"blocks.{i}.{ours}.{leaf}"] = f"h.{i}.{theirs}.{leaf}"
    missing = [theirs for theirs in names.values() if theirs not in stored]
    if missing:
        raise UserError(f"{folder} is not a whole GPT-2: it lacks {missing[0]} and {len(missing) - 1} more weights")
    state = {}
    for ours, theirs in names.items():
        tensor = stored[theirs].float()
        turned = tensor.ndim == 2 and ours.startswith("blocks.")  # GPT-2 stores (n_in, n_out)
        state[ours] = (tensor.t() if turned else tensor).contiguous()
    return config, state


def _gpt2_config(tree: dict[str, Any], folder: Path) -> ModelConfig:
    if tree.get("model_type") != "gpt2":
        raise UserError(
            f"{folder} holds a {tree.get('model_type', 'model of no known type')}; only gpt2 can be imported"
        )
    said = tree.get("activation_function", "gelu_new")
    mlp = {**{theirs: ours for ours, theirs in ACTIVATIONS.items()}, "gelu_new": "gelu_tanh"}.get(said)
    if mlp in (None, "swiglu"):
        raise UserError(f"{folder}: activation_function {said} is not one of ours")
    if tree.get("scale_attn_by_inverse_layer_idx") or not tree.get("scale_attn_weights", True):
        raise UserError(f"{folder} scales its attention in a way that is not ours")
    if tree.get("layer_norm_epsilon", LAYER_EPS) != LAYER_EPS:
        raise UserError(f"{folder}: layer_norm_epsilon must be {LAYER_EPS:g}, not {tree['layer_norm_epsilon']:g}")
    try:
        return ModelConfig.model_validate(
            {
                "n_layer": tree["n_layer"],
                "n_head": tree["n_head"],
                "n_embd": tree["n_embd"],
                "block_size": tree.get("n_positions", tree.get("n_ctx")),
                "mlp_width": tree.get("n_inner"),
                "mlp": mlp,
                "bias": True,
                "position": "learned",
                "norm": "layernorm",
                "tie_embeddings": tree.get("tie_word_embeddings", True),
                "init": "gpt2",
            }
        )
    except (KeyError, ValueError) as error:
        raise UserError(f"{folder / 'config.json'} does not describe a GPT-2: {str(error).splitlines()[0]}") from None


def _read_weights(folder: Path) -> dict[str, Tensor]:
    """All tensors of the folder's safetensors, in one file or several."""
    files = [WEIGHTS]
    if not (folder / WEIGHTS).exists() and (folder / INDEX).exists():
        shards = read_json(folder / INDEX).get("weight_map", {}).values()
        files = sorted({Path(str(name)).name for name in shards})
    tensors: dict[str, Tensor] = {}
    for name in files:
        path = folder / name
        if not path.is_file():
            raise UserError(f"{folder} has no {name}; save the model with safe_serialization, the default")
        try:
            tensors |= load_file(path)
        except (OSError, SafetensorError) as error:
            raise UserError(f"{path} is damaged: {error}") from None
    return tensors
