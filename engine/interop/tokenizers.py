"""Tokenizers of Hugging Face's `tokenizers` as ours, with the same ids for every text; `exports.py` is the way there.

What can be read: byte-level BPE that cuts text as GPT-2 does, in tokenizer.json or in vocab.json with merges.txt, and
single characters as they are written here. Of others one line says why that cannot be.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from engine.errors import TokenizerError, plain, what_is_wrong
from engine.files import MOST_SETTINGS, read_json
from engine.tokenizers.base import MOST_BYTES, Tokenizer
from engine.tokenizers.bpe import byte_alphabet, merge_lines
from engine.tokenizers.char import EVERY_CHARACTER, UNK, CharTokenizer
from engine.tokenizers.imported import ImportedTokenizer
from engine.tokenizers.table import load_tokenizer

OWN = "tinytui_tokenizer.json"
NAMED = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token")
DEFAULTS = NAMED[:3]
"""What GPT-2's class calls `<|endoftext|>` where the settings do not say."""
LISTED = ("additional_special_tokens", "extra_special_tokens")
CHARACTERS = {"type": "Split", "pattern": {"Regex": EVERY_CHARACTER}, "behavior": "Isolated", "invert": False}
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}


class _Told(BaseModel):
    """What is asked of a file's settings; of the others there may be any."""

    model_config = ConfigDict(strict=True)


class _Added(_Told):
    id: int
    content: str
    lstrip: bool = False
    rstrip: bool = False
    single_word: bool = False


class _Model(_Told):
    type: str = "BPE"
    vocab: dict[str, int]
    merges: list[str | list[str]] = Field([])
    unk_token: str | None = None
    dropout: float | None = None
    continuing_subword_prefix: str | None = None
    end_of_word_suffix: str | None = None
    byte_fallback: bool = False
    ignore_merges: bool = False


class _File(_Told):
    """What of tokenizer.json says which ids a text has."""

    added_tokens: list[_Added] = Field([])
    normalizer: dict[str, Any] | None = None
    pre_tokenizer: dict[str, Any] | None = None
    decoder: dict[str, Any] | None = None
    model: _Model


def read_tokenizer(folder: Path) -> Tokenizer | None:
    """The tokenizer in the folder of a model; None when there is none.

    Its ids are compared with those of the library `tokenizers` on a text. Raises TokenizerError when it is damaged or
    does what none of ours does.
    """
    tree, path = _tree(folder)
    ours = load_tokenizer(folder / OWN) if (folder / OWN).exists() else None
    if tree is None:
        return ours
    try:
        file = _File.model_validate(tree)
    except ValidationError as error:
        raise TokenizerError(f"{path} is damaged: {what_is_wrong(error.errors()[0])}") from None
    ours = ours or _ours(file, path)
    _compare(ours, tree, path)
    return ours


def _tree(folder: Path) -> tuple[dict[str, Any] | None, Path]:
    """The contents of tokenizer.json, or of one made from vocab.json and merges.txt, and the file's path."""
    path, vocab, merges = folder / "tokenizer.json", folder / "vocab.json", folder / "merges.txt"
    settings = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        if (folder / name).exists():
            settings.update(read_json(folder / name, MOST_SETTINGS, TokenizerError))
    if path.exists():
        tree = read_json(path, MOST_BYTES, TokenizerError)
    elif not vocab.exists() and not merges.exists():
        return None, path
    elif not (vocab.exists() and merges.exists()):
        here, lacking = (vocab, merges) if vocab.exists() else (merges, vocab)
        raise TokenizerError(
            f"{folder} has {here.name} but no {lacking.name}, and both are needed to know the ids; "
            "copy it, or tokenizer.json, from where the model came from"
        )
    else:
        path = vocab
        try:
            pairs = merge_lines(merges)
        except UnicodeDecodeError:
            raise TokenizerError(f"{merges} is damaged: it is not text; copy the folder again") from None
        model = {"type": "BPE", "vocab": read_json(vocab, MOST_BYTES, TokenizerError), "merges": pairs}
        tree = {"model": model, "pre_tokenizer": BYTE_LEVEL, "decoder": BYTE_LEVEL}
    if settings.get("add_prefix_space") is True:
        raise TokenizerError(f"{folder} puts a space before every text (add_prefix_space); no tokenizer of ours does")
    try:
        tree["added_tokens"] = _added(folder, tree, settings)
    except (TypeError, ValueError, AttributeError, KeyError):
        raise TokenizerError(f"the special tokens of {path} are damaged; copy the folder again") from None
    return tree, path


def _added(folder: Path, tree: dict[str, Any], settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Every token that stands for its own text wherever it occurs, as transformers finds them, by id.

    Those of tokenizer.json, those that the other files list with an id, and those they name that have one.
    """
    found = {entry["content"]: entry for entry in tree.get("added_tokens") or []}
    listed = [{**entry, "id": int(id)} for id, entry in (settings.get("added_tokens_decoder") or {}).items()]
    if (folder / "added_tokens.json").exists():
        told = read_json(folder / "added_tokens.json", MOST_SETTINGS, TokenizerError)
        listed += [{"content": text, "id": id} for text, id in told.items()]
    for entry in listed:
        if entry["id"] != found.setdefault(entry["content"], entry)["id"]:
            raise ValueError
    gpt2 = settings.get("tokenizer_class") in (None, "GPT2Tokenizer", "GPT2TokenizerFast")
    names = [settings.get(name, "<|endoftext|>" if gpt2 and name in DEFAULTS else None) for name in NAMED]
    for name in LISTED:
        more = settings.get(name) or []
        names += more.values() if isinstance(more, dict) else more
    vocab = tree["model"]["vocab"]
    for text in (name["content"] if isinstance(name, dict) else name for name in names):
        if text is not None and text in vocab:
            found.setdefault(text, {"content": text, "id": vocab[text]})
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return sorted(({**flags, **entry} for entry in found.values()), key=lambda entry: int(entry["id"]))


def _ours(file: _File, path: Path) -> Tokenizer:
    """The tokenizer that the file describes. Raises TokenizerError naming the first thing that none of ours does."""
    model = file.model
    ids = dict(model.vocab)
    for added in file.added_tokens:
        if ids.setdefault(added.content, added.id) != added.id:
            raise TokenizerError(f"{path} has two ids for {added.content[:40]!r}; copy the folder again")
    problem = next(_problems(file, ids), None)
    if problem is not None:
        raise TokenizerError(f"{path} cannot be imported: {problem}")
    names = sorted(ids, key=ids.__getitem__)
    try:
        if model.type == "WordLevel":
            special = [name for name in names if len(name) > 1]
            return CharTokenizer("".join(names[: len(names) - len(special)]), "unk" if special else "error")
        pairs = [pair.split(" ") if isinstance(pair, str) else pair for pair in model.merges]
        merges = [(ids[left], ids[right]) for left, right in pairs]
        return ImportedTokenizer(names, merges, [each.content for each in file.added_tokens], model.ignore_merges)
    except (ValueError, KeyError):
        raise TokenizerError(f"{path} is damaged: its vocabulary and its merges do not fit; copy it again") from None


def _problems(file: _File, ids: dict[str, int]) -> Iterator[str]:
    """What none of our tokenizers does, in words."""
    model = file.model
    if sorted(ids.values()) != list(range(len(ids))):
        yield f"its {len(ids):,} tokens do not have the ids from 0 to {len(ids) - 1:,}"
    if file.normalizer is not None and file.normalizer.get("normalizers") != []:
        yield f"it changes text before it cuts it (normalizer {plain(file.normalizer.get('type'), 40)})"
    for added in file.added_tokens:
        if added.lstrip or added.rstrip or added.single_word:
            yield f"its token {added.content[:40]!r} takes in the spaces around it, or stands for whole words only"
    if model.type == "WordLevel":
        yield from _not_characters(file, ids)
    elif model.type == "BPE":
        yield from _not_byte_level(file, ids)
    else:
        yield f"it is of the kind {plain(model.type, 40)}; byte-level BPE and single characters can be"


def _not_characters(file: _File, ids: dict[str, int]) -> Iterator[str]:
    special = [name for name in ids if len(name) != 1]
    unknown = [name for name in [file.model.unk_token] if name in ids]
    added = [each.content for each in file.added_tokens]
    if (
        special not in ([], [UNK])
        or special != unknown
        or added != unknown
        or ids.get(UNK, len(ids) - 1) != len(ids) - 1
    ):
        yield "its tokens are words; single characters and <unk> can be"
    if file.pre_tokenizer != CHARACTERS:
        yield "it cuts text otherwise than into characters"


def _not_byte_level(file: _File, ids: dict[str, int]) -> Iterator[str]:
    model, special = file.model, {added.content for added in file.added_tokens}
    letters = set(byte_alphabet())
    if letters - ids.keys():
        yield f"{len(letters - ids.keys())} of the 256 bytes are no tokens of it: it is not byte-level BPE"
    if odd := next((name for name in ids if name not in special and not letters.issuperset(name)), None):
        yield f"its token {odd[:40]!r} is no text in bytes: it is not byte-level BPE"
    if letters & special:
        yield f"its special token {min(letters & special)!r} is one of the 256 bytes"
    if model.dropout or model.continuing_subword_prefix or model.end_of_word_suffix or model.byte_fallback:
        yield "its BPE has dropout, marks inside of words, or falls back to bytes"
    cut, join = _only(file.pre_tokenizer), _only(file.decoder)
    if cut.get("type") != "ByteLevel" or cut.get("use_regex", True) is not True:
        yield f"it cuts text into words otherwise than GPT-2 ({plain(cut.get('type'), 40)})"
    elif cut.get("add_prefix_space") is not False:
        yield "it puts a space before every text"
    if join.get("type") != "ByteLevel":
        yield f"it joins tokens otherwise than GPT-2 ({plain(join.get('type'), 40)})"


def _only(part: dict[str, Any] | None) -> dict[str, Any]:
    """A part of the tokenizer, taken out of a sequence of one."""
    inner = (part or {}).get("pretokenizers", (part or {}).get("decoders"))
    return inner[0] if isinstance(inner, list) and len(inner) == 1 and isinstance(inner[0], dict) else part or {}


def _compare(ours: Tokenizer, tree: dict[str, Any], path: Path) -> None:
    """Raises TokenizerError unless a text that has all there is gets the ids that `tokenizers` gives it."""
    from tokenizers import Tokenizer as Backend

    unused = {"version": "1.0", "truncation": None, "padding": None, "post_processor": None, "normalizer": None}
    texts = list(_texts(ours))
    try:
        theirs = Backend.from_str(json.dumps({**unused, **{name: tree.get(name) for name in _File.model_fields}}))
        wanted = [theirs.encode(text, add_special_tokens=False).ids for text in texts]
    except Exception as error:  # the library has no class of errors of its own
        raise TokenizerError(f"{path} is damaged: {plain(error)}") from None
    if ours.vocab_size != theirs.get_vocab_size():
        raise TokenizerError(f"{path} has {theirs.get_vocab_size():,} tokens, {OWN} beside it {ours.vocab_size:,}")
    for text, ids in zip(texts, wanted, strict=True):
        if ours.encode(text).tolist() != ids or ours.decode(ids) != text:
            raise TokenizerError(
                f"{path} cannot be imported: {text[:40]!r} gets other ids here, or comes back otherwise"
            )


def _texts(tokenizer: Tokenizer) -> Iterator[str]:
    """Texts to compare two tokenizers by, of all that `tokenizer` can write."""
    marks = list(tokenizer.special)
    if isinstance(tokenizer, CharTokenizer):
        yield tokenizer.chars + tokenizer.chars[::-1] + "".join(marks)
        return
    yield from TEXTS
    yield from (f"{mark} a{mark}b {mark}{mark}\n{mark}" for mark in marks)
    every = max(1, tokenizer.vocab_size // 5000)
    tokens = [tokenizer.token_bytes(id) for id in range(0, tokenizer.vocab_size, every)]
    words = [data.decode() for data in tokens if data.decode("utf-8", "ignore").encode() == data]
    yield "".join(words)
    yield " ".join(words)


TEXTS = (
    "First Citizen:\nBefore we proceed any further, hear me speak. I'll, you've, DON'T, it's 1,234.50 + 7²³!",
    "  two   spaces \t tabs\t\t \r\n lines\r\r\n\n\n  end of it \n ",
    "naïve Ærøskøbing, Γειά σου Κόσμε, привет, שלום, مرحبا, हिन्दी, 你好，世界, こんにちは, 한국어, ไทย",
    "👩‍👩‍👧‍👦 🏳️‍🌈 e\u0301 n\u0303 \u00a0\u2003\u3000\u2028\u200b\ufeff ½ Ⅷ ٣ 𝔘𝔫𝔦 \U000e0041",
    "".join(map(chr, range(0x180))),
    "".join(map(chr, range(0x180, 0x3000, 7))),
)
