"""The screen of all corpora."""
