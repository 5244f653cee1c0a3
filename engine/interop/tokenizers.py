"""Our tokenizers as a tokenizer.json of Hugging Face's `tokenizers`; `vocabulary.py` reads them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.files import write_atomic
from engine.interop.files import write_json

if TYPE_CHECKING:
    from engine.text.tokenizer import Tokenizer

OWN = "tinytui_tokenizer.json"
CHARACTERS: dict[str, Any] = {
    "type": "Split",
    "pattern": {"Regex": r"[\s\S]"},
    "behavior": "Isolated",
    "invert": False,
}


def write_tokenizer(tokenizer: Tokenizer, folder: Path, block_size: int) -> bool:
    """Write tokenizer.json and tokenizer_config.json for `AutoTokenizer.from_pretrained(folder)`; False when it cannot.

    All kinds but word have an equal there: same ids for every text they can encode. What has none, or one that lacks
    something (characters to be left out), is written as it is, for `tinytui runs import`.
    """
    if tokenizer.kind == "word" or tokenizer.to_dict().get("unknown") == "skip":
        write_json(folder / OWN, tokenizer.to_dict())
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
    from engine.text.bpe import BpeTokenizer, byte_level_backend, byte_names
    from engine.text.imported import ImportedTokenizer

    if isinstance(tokenizer, BpeTokenizer | ImportedTokenizer):
        return tokenizer.backend
    if tokenizer.kind == "byte":
        return BpeTokenizer([], list(tokenizer.special)).backend
    if tokenizer.kind == "gpt2":
        tokens = [tokenizer.token_bytes(id) for id in range(tokenizer.vocab_size - len(tokenizer.special))]
        return byte_level_backend(byte_names(tokens), _merges(tokens), list(tokenizer.special))
    return _characters(tokenizer) if tokenizer.kind == "char" else None


def _merges(tokens: list[bytes]) -> Iterator[tuple[int, int]]:
    """The merge that makes each token of a vocabulary whose order is that of its merges, as `tiktoken` finds it."""
    ranks = {token: rank for rank, token in enumerate(tokens)}
    for rank, token in enumerate(tokens):
        parts = [bytes([byte]) for byte in token]
        while len(parts) > 2:
            joined = [ranks.get(left + right, rank) for left, right in pairwise(parts)]
            at = joined.index(min(joined))
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
        if len(parts) == 2:
            yield ranks[parts[0]], ranks[parts[1]]


def _characters(tokenizer: Tokenizer) -> Any:
    """One token a character, newlines too."""
    from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers
    from tokenizers import Tokenizer as Backend

    ordinary = tokenizer.vocab_size - len(tokenizer.special)
    vocab = {tokenizer.token_bytes(id).decode(): id for id in range(ordinary)}
    unknown = next((text for text in tokenizer.special if text == "<unk>"), None)
    vocab |= tokenizer.special
    backend = Backend(models.WordLevel(vocab, unk_token=unknown) if unknown else models.WordLevel(vocab))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(CHARACTERS["pattern"]["Regex"]), "isolated")
    backend.decoder = decoders.Fuse()
    backend.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in tokenizer.special])
    return backend
