"""Packets between the server and a workbench's process, as textual-serve has them.

A letter (D the terminal's bytes, M a JSON object with a `type`), four bytes of length, the content.
"""

from __future__ import annotations

import json

PRELUDE = b"__GANGLION__\n"
"""What an app says before its first packet."""


def packet(kind: bytes, content: bytes) -> bytes:
    """A packet as it is written."""
    return kind + len(content).to_bytes(4, "big") + content


def meta(kind: str, **fields: int) -> bytes:
    """A packet about the terminal, or its end."""
    return packet(b"M", json.dumps({"type": kind, **fields}).encode())
