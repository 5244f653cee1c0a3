"""Tokenizers of others: the same ids for every text, or one line that says why not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from models_for_tests import TEXT, TOKENIZERS

from engine.errors import TokenizerError
from engine.interop.exports import write_tokenizer
from engine.interop.tokenizers import TEXTS, read_tokenizer
from engine.tokenizers.base import Tokenizer
from engine.tokenizers.bpe import BpeTokenizer, byte_alphabet
from engine.tokenizers.gpt2 import Gpt2Tokenizer
from engine.tokenizers.imported import ImportedTokenizer
from engine.tokenizers.table import tokenizer_from_dict
from tests.later import Later

transformers = Later("transformers")

LETTERS = byte_alphabet()
MERGES = [("t", "h"), ("th", "e"), ("Ġ", "the"), ("i", "n"), ("Ġ", "Ġ"), ("Ã", "©"), ("Ġ", "a"), ("1", "2"), ("!", "!")]
WORDS = [left + right for left, right in MERGES]
END = "<|endoftext|>"


def vocabulary(names: list[str]) -> dict[str, int]:
    return {name: id for id, name in enumerate(names)}


ORDERS = {
    "special first": [END, *LETTERS, *WORDS],
    "special last": [*LETTERS, *WORDS, END],
    "special inside": [*LETTERS[:100], END, *LETTERS[100:], *WORDS],
    "merges first": [*reversed(WORDS), *LETTERS, END],
}


def files(folder: Path, names: list[str], settings: dict[str, Any] | None = None) -> Path:
    """vocab.json with merges.txt, as transformers saved them for years."""
    folder.mkdir(exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocabulary(names), ensure_ascii=False), encoding="utf-8")
    merges = "\n".join(["#version: 0.2", *(" ".join(pair) for pair in MERGES), ""])
    (folder / "merges.txt").write_text(merges, encoding="utf-8")
    if settings is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def saved(folder: Path, names: list[str]) -> Path:
    """tokenizer.json alone, as transformers 5 saves."""
    transformers.GPT2Tokenizer(vocab=vocabulary(names), merges=MERGES).save_pretrained(folder)
    assert not (folder / "vocab.json").exists()
    return folder


def read(folder: Path) -> Tokenizer:
    found = read_tokenizer(folder)
    assert found is not None
    return found


@pytest.mark.parametrize("make", [files, saved])
@pytest.mark.parametrize("order", ORDERS)
def test_ids_are_those_of_the_file_whatever_its_order(
    order: str, make: Callable[[Path, list[str]], Path], tmp_path: Path
) -> None:
    names = ORDERS[order]
    ours = read(make(tmp_path / "model", names))
    theirs = transformers.GPT2Tokenizer(vocab=vocabulary(names), merges=MERGES)
    assert ours.special == {END: names.index(END)} and ours.vocab_size == len(names)
    for text in (*TEXTS, f"the 12 caf\u00e9{END}!!{END}{END} a", END):
        ids = theirs.encode(text, add_special_tokens=False)
        assert ours.encode(text).tolist() == ids
        assert ours.decode(ids) == text
    assert ours.encode("the").tolist() == [names.index("the")]
    assert tokenizer_from_dict(json.loads(json.dumps(ours.to_dict()))) == ours


@given(st.text())
@example("the the  the\n\n the" + END)
def test_any_text_has_the_ids_it_has_in_tokenizers(text: str) -> None:
    names = ORDERS["special inside"]
    pairs = [(names.index(left), names.index(right)) for left, right in MERGES]
    ours = ImportedTokenizer(names, pairs, [END])
    try:
        text.encode()
    except UnicodeEncodeError:
        with pytest.raises(TokenizerError, match="half of a surrogate"):
            ours.encode(text)
        return
    ids = ours.encode(text).tolist()
    assert ids == ours.backend.encode(text, add_special_tokens=False).ids
    assert ours.decode(ids) == text


def test_special_tokens_are_found_in_whichever_file_names_them(tmp_path: Path) -> None:
    names = ["<s>", *LETTERS, *WORDS, "</s>", "<pad>", "<mask>", "</x>", "<y>"]
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "added_tokens.json").write_text(json.dumps({"<z>": len(names)}))
    (tmp_path / "m" / "special_tokens_map.json").write_text(
        json.dumps({"bos_token": "<s>", "eos_token": {"content": "</s>", "lstrip": False}, "pad_token": None})
    )
    settings = {
        "added_tokens_decoder": {str(names.index("<pad>")): {"content": "<pad>", "special": True}},
        "additional_special_tokens": ["</x>", {"content": "<mask>"}],
        "unk_token": "<not there>",
    }
    ours = read(files(tmp_path / "m", names, settings))
    assert ours.special.keys() == {"<s>", "</s>", "<pad>", "<mask>", "</x>", "<z>"}
    assert ours.encode("<s>a<z></x>").tolist() == [0, names.index("a"), len(names), names.index("</x>")]
    # what nothing names is no special token: it is never made, only read
    assert len(ours.encode("<y>")) == 3 and ours.decode([names.index("<y>")]) == "<y>"


NAMES: dict[str, dict[str, Any]] = {
    "by GPT-2's class": {},
    "by GPT-2's class, said": {"tokenizer_class": "GPT2Tokenizer"},
    "by another class": {"tokenizer_class": "PreTrainedTokenizerFast"},
    "as its end": {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": END},
}


@pytest.mark.parametrize("case", NAMES)
def test_the_end_of_a_text_is_special_where_transformers_takes_it_so(case: str, tmp_path: Path) -> None:
    path = saved(tmp_path, ORDERS["special inside"]) / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"added_tokens": []}))
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(NAMES[case]))
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path).encode(f"the{END}a", add_special_tokens=False)
    assert (100 in theirs) is (case != "by another class")
    assert read(tmp_path).encode(f"the{END}a").tolist() == theirs


def test_words_that_are_tokens_may_go_before_merges(tmp_path: Path) -> None:
    names = [*LETTERS, *WORDS, "hello", END]
    path = saved(tmp_path, names) / "tokenizer.json"
    tree = json.loads(path.read_text())
    assert len(read(tmp_path).encode("hello")) == 5
    tree["model"]["ignore_merges"] = True
    path.write_text(json.dumps(tree))
    ours = read(tmp_path)
    assert ours.encode("hello").tolist() == [names.index("hello")]
    assert tokenizer_from_dict(ours.to_dict()) == ours


def test_a_file_as_older_versions_wrote_it(tmp_path: Path) -> None:
    """GPT-2's own: its kind not named, merges in one string, parts left out."""
    path = saved(tmp_path, ORDERS["special last"]) / "tokenizer.json"
    ours, tree = read(tmp_path), json.loads(path.read_text())
    for name in ("type", "byte_fallback", "ignore_merges"):
        del tree["model"][name]
    tree["model"]["merges"] = [" ".join(pair) for pair in tree["model"]["merges"]]
    tree["pre_tokenizer"] = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    tree["decoder"] = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True}
    tree["post_processor"] = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False}
    tree["truncation"] = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
    path.write_text(json.dumps(tree))
    (tmp_path / "tokenizer_config.json").unlink()
    assert read(tmp_path) == ours


def test_without_a_tokenizer_there_is_none(tmp_path: Path) -> None:
    assert read_tokenizer(tmp_path) is None
    assert read_tokenizer(tmp_path / "nowhere") is None


def edited(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = saved(folder, ORDERS["special last"]) / "tokenizer.json"
        tree = json.loads(path.read_text())
        change(tree)
        path.write_text(json.dumps(tree))

    return edit


def beside(name: str, tree: dict[str, Any]) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        saved(folder, ORDERS["special last"])
        (folder / name).write_text(json.dumps(tree))

    return write


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: (files(folder, ORDERS["special last"]) / name).unlink()


LLAMA3 = {"type": "Split", "pattern": {"Regex": r"\p{N}{1,3}| ?\p{L}+"}, "behavior": "Isolated", "invert": False}
REFUSED: dict[str, tuple[Callable[[Path], None], str]] = {
    "a normalizer": (edited(lambda t: t.update(normalizer={"type": "NFC"})), "normalizer NFC"),
    "other words": (edited(lambda t: t.update(pre_tokenizer=LLAMA3)), r"otherwise than GPT-2 \(Split\)"),
    "no words": (edited(lambda t: t.update(pre_tokenizer=None)), "otherwise than GPT-2"),
    "one word": (edited(lambda t: t["pre_tokenizer"].update(use_regex=False)), "otherwise than GPT-2"),
    "digits apart": (
        edited(lambda t: t.update(pre_tokenizer={"type": "Sequence", "pretokenizers": [LLAMA3, t["pre_tokenizer"]]})),
        r"otherwise than GPT-2 \(Sequence\)",
    ),
    "a space before": (edited(lambda t: t["pre_tokenizer"].update(add_prefix_space=True)), "a space before every"),
    "a space by the settings": (beside("tokenizer_config.json", {"add_prefix_space": True}), "a space before every"),
    "another decoder": (edited(lambda t: t.update(decoder={"type": "Metaspace"})), "joins tokens otherwise"),
    "unigrams": (edited(lambda t: t["model"].update(type="Unigram")), "of the kind Unigram"),
    "word pieces": (edited(lambda t: t["model"].update(type="WordPiece")), "of the kind WordPiece"),
    "words for tokens": (edited(lambda t: t["model"].update(type="WordLevel")), "its tokens are words"),
    "dropout": (edited(lambda t: t["model"].update(dropout=0.1)), "dropout"),
    "marks inside": (edited(lambda t: t["model"].update(continuing_subword_prefix="##")), "marks inside"),
    "bytes as a last resort": (edited(lambda t: t["model"].update(byte_fallback=True)), "falls back to bytes"),
    "spaces taken in": (edited(lambda t: t["added_tokens"][0].update(lstrip=True)), "takes in the spaces"),
    "whole words": (edited(lambda t: t["added_tokens"][0].update(single_word=True)), "whole words only"),
    "a byte missing": (
        edited(lambda t: t["model"]["vocab"].update({"<x>": t["model"]["vocab"].pop("Ā")})),
        "1 of the 256",
    ),
    "no bytes": (edited(lambda t: t["model"]["vocab"].update({"日本": 300})), "ids from 0"),
    "a name that is no bytes": (
        edited(lambda t: t["model"]["vocab"].update({"日本": len(t["model"]["vocab"])})),
        "no text in bytes",
    ),
    "a sequence of one": (
        edited(lambda t: t.update(pre_tokenizer={"type": "Sequence", "pretokenizers": [LLAMA3]})),
        r"otherwise than GPT-2 \(Split\)",
    ),
    "a hole": (edited(lambda t: t["model"]["vocab"].update({"xyz": 10_000})), "ids from 0"),
    "an id twice": (edited(lambda t: t["model"]["vocab"].update({"xyz": 7})), "ids from 0"),
    "two ids for a token": (edited(lambda t: t["added_tokens"][0].update(id=3)), "two ids for"),
    "two files, two ids": (beside("added_tokens.json", {END: 4}), "special tokens of .* are damaged"),
    "a token with a space": (
        edited(lambda t: t["added_tokens"].append({**t["added_tokens"][0], "content": "a b", "id": 266})),
        "without spaces",
    ),
    "a byte that is special": (
        edited(lambda t: t["added_tokens"].append({**t["added_tokens"][0], "content": "a", "id": LETTERS.index("a")})),
        "one of the 256 bytes",
    ),
    "a merge of nothing": (edited(lambda t: t["model"]["merges"].append(["q", "zz"])), "do not fit"),
    "a merge into nothing": (edited(lambda t: t["model"]["merges"].append(["q", "z"])), "do not fit"),
    "a merge of three": (edited(lambda t: t["model"]["merges"].append(["q", "z", "z"])), "do not fit"),
    "merges of another kind": (edited(lambda t: t["model"].update(merges=[1])), "model.merges"),
    "ids of another kind": (edited(lambda t: t["model"]["vocab"].update(a="1")), "model.vocab"),
    "no model": (edited(lambda t: t.pop("model")), "special tokens of .* are damaged"),
    "a list": (lambda folder: (folder / "tokenizer.json").write_text("[]"), "does not hold"),
    "nonsense": (lambda folder: (folder / "tokenizer.json").write_bytes(b"\x00\xff"), "not valid JSON"),
    "deep nonsense": (lambda folder: (folder / "tokenizer.json").write_text('{"a":' * 50_000), "not valid JSON"),
    "no merges": (without("merges.txt"), "vocab.json but no merges.txt"),
    "no ids": (without("vocab.json"), "merges.txt but no vocab.json"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_none_of_ours_does_is_named(case: str, tmp_path: Path) -> None:
    make, why = REFUSED[case]
    make(tmp_path)
    with pytest.raises(TokenizerError, match=why) as caught:
        read_tokenizer(tmp_path)
    assert str(caught.value).isprintable() and len(str(caught.value).replace(str(tmp_path), "")) < 250


def test_two_tokenizers_in_a_folder_must_agree(tmp_path: Path) -> None:
    """Ours is the exact one, but only as long as it is that of the weights."""
    saved(tmp_path, ORDERS["special first"])
    ours = read(tmp_path)
    own = tmp_path / "tinytui_tokenizer.json"
    own.write_text(json.dumps(ours.to_dict()))
    assert read(tmp_path) == ours
    own.write_text(json.dumps(read(files(tmp_path / "other", ORDERS["special last"])).to_dict()))
    with pytest.raises(TokenizerError, match="gets other ids"):
        read_tokenizer(tmp_path)
    own.write_text(json.dumps({"kind": "byte"}))
    with pytest.raises(TokenizerError, match=r"266 tokens, tinytui_tokenizer\.json beside it 256"):
        read_tokenizer(tmp_path)
    own.write_text(json.dumps({"kind": "word", "chars": 3}))
    with pytest.raises(TokenizerError, match=r"tinytui_tokenizer\.json: .* word tokenizer is damaged"):
        read_tokenizer(tmp_path)


def test_the_merges_of_a_vocabulary_that_has_only_its_order_are_found_again(tmp_path: Path) -> None:
    """GPT-2's comes as tokens by rank; tokenizer.json wants to know which two made each."""
    text = Path(__file__).read_text(encoding="utf-8")
    trained = BpeTokenizer.train([text], 900)
    ranked = Gpt2Tokenizer([trained.token_bytes(id) for id in range(trained.vocab_size)])
    write_tokenizer(ranked, tmp_path, 64)
    ours = read(tmp_path)
    assert isinstance(ours, ImportedTokenizer) and ours.merges == trained.merges and len(ours.merges) > 500
    for each in (text, *TEXTS):
        assert ours.encode(each).tolist() == ranked.encode(each).tolist()  # tiktoken's


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_what_transformers_read_and_saved_again_is_still_ours(kind: str, tmp_path: Path) -> None:
    ours, folder = TOKENIZERS[kind](), tmp_path / "ours"
    folder.mkdir()
    write_tokenizer(ours, folder, 64)
    (folder / "config.json").write_text('{"model_type": "gpt2"}')
    transformers.AutoTokenizer.from_pretrained(folder).save_pretrained(tmp_path / "theirs")
    again = read(tmp_path / "theirs")
    assert again.vocab_size == ours.vocab_size and again.special == ours.special
    for text in (TEXT, "speak", " hear  me\n\n", *(f"speak{mark}me" for mark in ours.special)):
        assert again.encode(text).tolist() == ours.encode(text).tolist()


DAMAGED: dict[str, Callable[[dict[str, Any]], object]] = {
    "a token twice": lambda tree: tree["tokens"].append("th"),
    "a token that is no text": lambda tree: tree["tokens"].append(3),
    "a token of no bytes": lambda tree: tree["tokens"].append("日"),
    "a byte missing": lambda tree: tree["tokens"].remove("a"),
    "a byte that is special": lambda tree: tree["special"].append("a"),
    "a special token that is none": lambda tree: tree["special"].append("<x>"),
    "a special token twice": lambda tree: tree["special"].append(END),
    "a merge of three": lambda tree: tree["merges"].append([1, 2, 3]),
    "a merge of text": lambda tree: tree["merges"].append(["t", "h"]),
    "a merge of truth": lambda tree: tree["merges"].append([True, False]),
    "a merge from the end": lambda tree: tree["merges"].append([-1, 5]),
    "a merge beyond the end": lambda tree: tree["merges"].append([0, 10**6]),
    "a merge that makes nothing": lambda tree: tree["merges"].append([0, 0]),
    "no merges": lambda tree: tree.pop("merges"),
    "merges that are a number": lambda tree: tree.update(merges=3),
    "a rule that is a word": lambda tree: tree.update(ignore_merges="yes"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_description_is_refused(case: str) -> None:
    names = ORDERS["special last"]
    pairs = [(names.index(left), names.index(right)) for left, right in MERGES]
    tree = json.loads(json.dumps(ImportedTokenizer(names, pairs, [END]).to_dict()))
    assert tokenizer_from_dict(tree).vocab_size == len(names)
    DAMAGED[case](tree)
    with pytest.raises(TokenizerError):
        tokenizer_from_dict(tree)
