"""Text in, token ids out: corpora, tokenizers and memory-mapped datasets. Import what you need from its modules."""
