"""Our tokenizers as a tokenizer.json of Hugging Face's `tokenizers`; `vocabulary.py` reads them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.files import write_atomic
from engine.interop.files import write_json

if TYPE_CHECKING:
    from engine.tokenizers.base import Tokenizer

OWN = "tinytui_tokenizer.json"


def write_tokenizer(tokenizer: Tokenizer, folder: Path, block_size: int) -> bool:
    """Write tokenizer.json and tokenizer_config.json for `AutoTokenizer.from_pretrained(folder)`; False when it cannot.

    All kinds but word have an equal there: same ids for every text they can encode. What has none, or one that lacks
    something (characters to be left out), is written as it is, for `tinytui runs import`.
    """
    backend = tokenizer.backend
    if backend is None or not tokenizer.backend_is_whole:
        write_json(folder / OWN, tokenizer.to_dict())
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
