"""Export to Hugging Face's transformers, which need not be installed; `imports.py` is the way back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from engine.files import open_output_folder, write_atomic
from engine.interop.architectures import architecture_of, hf_config, hf_state
from engine.interop.files import write_json, write_tensors
from engine.interop.tokenizers import write_tokenizer
from engine.model.gpt import GPT
from engine.model.lora import merged_state_dict

if TYPE_CHECKING:
    from engine.tokenizers.base import Tokenizer

WEIGHTS = "model.safetensors"
ENDS = ("<END>", "<|endoftext|>")  # special tokens that end a text


def export(model: GPT, tokenizer: Tokenizer | None, folder: Path, *, force: bool = False) -> str:
    """Write config.json and model.safetensors for `AutoModelForCausalLM.from_pretrained(folder)`; the class' name.

    The logits are equal; a LoRA adapter is merged. Where transformers has no such class its code is written too, and
    loading needs `trust_remote_code=True`. `write_tokenizer` says what is written of the tokenizer. Raises UserError
    when no class of transformers computes this model, naming the settings, or when the folder cannot be written.
    """
    config = hf_config(model.config, model.vocab_size)
    if tokenizer is not None:
        config["eos_token_id"] = next((tokenizer.special[end] for end in ENDS if end in tokenizer.special), None)
    tensors = hf_state(model.config, model.vocab_size, merged_state_dict(model))
    architecture = architecture_of(model.config)
    with open_output_folder(folder, force=force) as place:
        write_tensors(place / WEIGHTS, tensors)
        write_json(place / "config.json", config)
        if architecture.code is not None:
            write_atomic(place / architecture.code.name, architecture.code.read_bytes())
        if tokenizer is not None:
            write_tokenizer(tokenizer, place, model.config.block_size)
    return architecture.name
