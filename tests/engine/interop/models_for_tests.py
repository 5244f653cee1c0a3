"""Tiny models of every class that can be exported, and tokenizers of every kind."""

from __future__ import annotations

from collections.abc import Callable

import torch

from engine.config import ModelConfig
from engine.tokenizers.base import Tokenizer
from engine.tokenizers.bpe import BYTES, BpeTokenizer, byte_names
from engine.tokenizers.byte import ByteTokenizer
from engine.tokenizers.char import CharTokenizer
from engine.tokenizers.gpt2 import Gpt2Tokenizer
from engine.tokenizers.imported import ImportedTokenizer
from engine.tokenizers.word import WordTokenizer

VOCAB = 37

GPT2 = {"position": "learned", "norm": "layernorm", "mlp": "gelu_tanh", "bias": True}
LLAMA = {"position": "rope", "norm": "rmsnorm", "mlp": "swiglu", "n_kv_head": 2}
NANOCHAT = {"position": "rope", "norm_weight": False, "embd_norm": True, "mlp": "relu2", "qk_norm": True}
EXPORTS: dict[str, tuple[str, dict[str, object]]] = {
    "gpt2": ("GPT2LMHeadModel", GPT2),
    "nanogpt": ("GPT2LMHeadModel", {**GPT2, "bias": False, "mlp": "gelu"}),
    "gpt2, own head": ("GPT2LMHeadModel", {**GPT2, "tie_embeddings": False, "mlp": "relu", "norm_weight": False}),
    "gpt2, sinusoidal": ("GPT2LMHeadModel", {**GPT2, "position": "sinusoidal", "mlp_width": 40}),
    "gpt2, no positions": ("GPT2LMHeadModel", {**GPT2, "position": "none", "vocab_multiple": 16}),
    "decoder": ("GPT2LMHeadModel", {**GPT2, "kind": "decoder"}),
    "llama": ("LlamaForCausalLM", LLAMA),
    "llama, biases": ("LlamaForCausalLM", {**LLAMA, "bias": True, "tie_embeddings": False, "rope_base": 500.0}),
    "nanochat": ("NanoChatForCausalLM", {**NANOCHAT, "softcap": 15.0, "tie_embeddings": False}),
    "nanochat, windows": ("WindowedNanoChatForCausalLM", {**NANOCHAT, "embd_window": 3, "tie_embeddings": False}),
    "nanochat, padded windows": ("WindowedNanoChatForCausalLM", {**NANOCHAT, "embd_window": 2, "vocab_multiple": 16}),
    "nanochat, grouped": ("NanoChatForCausalLM", {**NANOCHAT, "n_kv_head": 2, "mlp": "gelu", "vocab_multiple": 16}),
}


def small(**changes: object) -> ModelConfig:
    settings: dict[str, object] = {"n_layer": 2, "n_head": 4, "n_embd": 32, "block_size": 16, "init": "xavier"}
    return ModelConfig(**{**settings, **changes})


def some_ids(vocab: int = VOCAB) -> torch.Tensor:
    return torch.randint(vocab, (2, 16), generator=torch.Generator().manual_seed(1))


def disturbed(model: torch.nn.Module) -> torch.nn.Module:
    """Every weight away from where it started, biases and gains too."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


TEXT = "First Citizen:\nBefore we proceed, hear me — speak! 12 times… "


def small_gpt2() -> Gpt2Tokenizer:
    """A vocabulary of the bytes in GPT-2's order and a few words."""
    first = sorted(
        BYTES, key=lambda data: (not data.isascii() or not data.decode().isprintable() or data == b" ", data)
    )
    return Gpt2Tokenizer([*first, b"he", b"ea", b" m", b"hea", b"ear", b"hear", b" me", b" hear", b"sp"])


def imported() -> ImportedTokenizer:
    """The vocabulary of `small_gpt2` in another order, the special token first."""
    merges = [(b"h", b"e"), (b"e", b"a"), (b" ", b"m"), (b"he", b"a"), (b" m", b"e")]
    special = "<|endoftext|>"
    names = [special, *reversed(byte_names([*BYTES, *(left + right for left, right in merges)]))]
    pairs = [(names.index(left), names.index(right)) for left, right in map(byte_names, merges)]
    return ImportedTokenizer(names, pairs, [special])


TOKENIZERS: dict[str, Callable[[], Tokenizer]] = {
    "char": lambda: CharTokenizer.train([TEXT]),
    "char, unk": lambda: CharTokenizer.train([TEXT], "unk"),
    "byte": ByteTokenizer,
    "bpe": lambda: BpeTokenizer.train([TEXT * 3], 270, special=["<END>"]),
    "gpt2": small_gpt2,
    "imported": imported,
}
ALL = TOKENIZERS | {
    "char, skip": lambda: CharTokenizer.train([TEXT], "skip"),
    "word": lambda: WordTokenizer.train([TEXT * 3], 300),
}
"""With those that `tokenizers` has no equal of."""
