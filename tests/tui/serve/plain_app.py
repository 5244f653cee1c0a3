"""A process with the manners of an app in a browser, without Textual: it begins at once, and misbehaves as asked."""

from __future__ import annotations

import json
import os
import sys
import time


def send(kind: bytes, content: bytes) -> None:
    left = memoryview(kind + len(content).to_bytes(4, "big") + content)
    while left:
        left = left[os.write(1, left) :]


def receive() -> tuple[bytes, bytes]:
    head = sys.stdin.buffer.read(5)
    if len(head) < 5:
        sys.exit()
    return head[:1], sys.stdin.buffer.read(int.from_bytes(head[1:], "big"))


def main(size: tuple[str, str], keys: str = "") -> None:
    os.write(1, b"__GANGLION__\n")
    while True:
        send(b"D", f"pid {os.getpid()} size {'x'.join(size)} keys <{keys}>\n".encode())
        kind, content = receive()
        told = json.loads(content) if kind == b"M" else {}
        if told.get("type") == "quit" or content == b"q":
            send(b"M", b'{"type": "exit"}')
            sys.exit()
        elif told.get("type") == "resize":
            size = str(told["width"]), str(told["height"])
        elif content == b"!":
            sys.exit("tinytui: a bug in the plain app\x1b]0;x")
        elif content == b"l":
            send(b"M", b'{"type": "open_url", "url": "http://evil.example"}')
            send(b"M", b'{"type": "deliver_file_start", "path": "/etc/passwd"}')
            send(b"M", b"no JSON")
            send(b"P", b"x")
        elif content == b"L":
            os.write(1, b"D\xff\xff\xff\xff")
        elif content == b"m":
            while True:
                send(b"D", b"much " * 10_000)
        elif content == b"z":
            time.sleep(3600)
        elif kind == b"D":
            keys += content.decode()


if sys.argv[1:] == ["silent"]:
    time.sleep(3600)
elif sys.argv[1:] == ["broken"]:
    sys.exit("tinytui: this app cannot be opened")
elif sys.argv[1:] == ["chatty"]:
    while True:
        os.write(1, b"x" * 4096)
else:
    main((os.environ["COLUMNS"], os.environ["ROWS"]))
