"""The page and what it loads: a fixed handful of files, read once. No path of a request ever reaches a file system."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

from engine.errors import UserError

_OURS = {"page.css": "text/css", "page.js": "text/javascript"}
_OF_TEXTUAL = {
    "textual.js": ("js/textual.js", "text/javascript"),
    "xterm.css": ("css/xterm.css", "text/css"),
    "mono.ttf": ("fonts/RobotoMono-VariableFont_wght.ttf", "font/ttf"),
    "mono-italic.ttf": ("fonts/RobotoMono-Italic-VariableFont_wght.ttf", "font/ttf"),
}


@dataclass(frozen=True)
class Asset:
    """A file as it is sent: `body` is packed by gzip, `tag` names this content."""

    body: bytes
    kind: str
    tag: str


def load_assets() -> Mapping[str, Asset]:
    """Every file there is by its name, the page by "". Raises UserError where textual-serve is another one."""
    ours = files("tui.serve")
    found = {"": _asset(ours.joinpath("page.html").read_bytes(), "text/html; charset=utf-8")}
    for name, kind in _OURS.items():
        found[name] = _asset(ours.joinpath(name).read_bytes(), f"{kind}; charset=utf-8")
    try:
        theirs = files("textual_serve") / "static"
        for name, (path, kind) in _OF_TEXTUAL.items():
            text = kind.startswith("text/")
            found[name] = _asset(theirs.joinpath(path).read_bytes(), f"{kind}; charset=utf-8" if text else kind)
    except (ImportError, OSError):
        raise UserError("the browser's page needs textual-serve 1.1; pip install 'tinytui[serve]'") from None
    return found


def _asset(content: bytes, kind: str) -> Asset:
    return Asset(gzip.compress(content, 6, mtime=0), kind, f'"{hashlib.sha256(content).hexdigest()[:16]}"')
