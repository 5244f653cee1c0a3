"""Text to token ids and back: a file a kind, what they share, and the tokens of a corpus, memory-mapped.

Importing this costs nothing: `tinytui --help` names the kinds.
"""

KINDS = {
    "char": "CharTokenizer",
    "byte": "ByteTokenizer",
    "bpe": "BpeTokenizer",
    "word": "WordTokenizer",
    "gpt2": "Gpt2Tokenizer",
    "imported": "ImportedTokenizer",
}
"""The kinds there are and their classes, each in the file of its name. `data.tokenizer` names all but the imported."""
