"""The run directory: its layout, its one writer, and readers that follow it live. See docs/run-directory.md."""
