"""The terminal: what is written to it, how fast, and what its signals and its end mean."""
