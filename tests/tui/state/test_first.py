"""The demo's settings and its corpus fit each other: a note and its complaint in one context, no word of it spelled."""

from __future__ import annotations

from engine.text.catalog import find_corpus
from engine.tokenizers.word import WordTokenizer
from tui.state.first import FIRST_CORPUS, first_config

NOTES = 400


def test_the_context_holds_a_note_and_the_vocabulary_its_words() -> None:
    config, corpus = first_config(), find_corpus(FIRST_CORPUS)
    text = corpus.path.read_text(encoding="ascii")
    assert corpus.boundary is not None and config.data.record_starts
    tokenizer = WordTokenizer.train([text], config.data.vocab_size)
    assert tokenizer.vocab_size < config.data.vocab_size, "or some words that come twice would be spelled"
    notes = [note + corpus.boundary for note in text.split(corpus.boundary)[:NOTES]]
    long = [note for note in notes if len(tokenizer.encode(note)) > config.model.block_size]
    assert len(long) <= NOTES // 100, long
