"""Our tokenizers as a tokenizer.json of Hugging Face's `tokenizers`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.files import write_atomic
from engine.interop.files import write_json

if TYPE_CHECKING:
    from engine.text.tokenizer import Tokenizer


def write_tokenizer(tokenizer: Tokenizer, folder: Path, block_size: int) -> bool:
    """Write tokenizer.json and tokenizer_config.json for `AutoTokenizer.from_pretrained(folder)`; False when it cannot.

    Kinds bpe, byte and char have an equal there: same ids for every text they can encode.
    """
    backend = _backend(tokenizer)
    if backend is None:
        return False
    write_atomic(folder / "tokenizer.json", backend.to_str(pretty=True).encode())
    settings: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": block_size,
        "clean_up_tokenization_spaces": False,
    }
    write_json(folder / "tokenizer_config.json", settings)
    return True


def _backend(tokenizer: Tokenizer) -> Any:
    from engine.text.bpe import BpeTokenizer

    if isinstance(tokenizer, BpeTokenizer):
        return tokenizer.backend
    if tokenizer.kind == "byte":
        return BpeTokenizer([], list(tokenizer.special)).backend
    return _characters(tokenizer) if tokenizer.kind == "char" else None


def _characters(tokenizer: Tokenizer) -> Any:
    """One token a character, newlines too."""
    from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers
    from tokenizers import Tokenizer as Backend

    ordinary = tokenizer.vocab_size - len(tokenizer.special)
    vocab = {tokenizer.token_bytes(id).decode(): id for id in range(ordinary)}
    unknown = next((text for text in tokenizer.special if text == "<unk>"), None)
    vocab |= tokenizer.special
    backend = Backend(models.WordLevel(vocab, unk_token=unknown) if unknown else models.WordLevel(vocab))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    backend.decoder = decoders.Fuse()
    backend.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in tokenizer.special])
    return backend
