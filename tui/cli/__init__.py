"""The command line: `tinytui` and `python -m tui.cli`."""

from __future__ import annotations


def main() -> None:
    """Run the command that the process' arguments name, and end the process with its exit status."""
    from tui.cli.app import app

    app(prog_name="tinytui")
