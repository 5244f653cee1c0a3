"""The terminal side of tinytui: command line, screens and widgets. Knows the engine; the engine knows nothing of it."""
