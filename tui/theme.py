"""The looks of the workbench: dark (default), light, high contrast, and plain ANSI.

Meaning has a colour and always a mark or word too. The variables below exist in every theme, for CSS and widgets:
`$train` blue, `$val` orange, `$good` green, `$alarm` red; `$dim` for labels, `$bright` for values; `$band` for the
min/max band behind a curve, `$band-line` for its ground under the line; `$rule` for borders, axes and empty bars;
`$select` for the ground of a chosen row; `$series-1` to `$series-8` for overlaid runs; `$heat-1` to `$heat-5` for the
ground of a token the more it surprised, `$glow-1` to `$glow-5` for more and more of something, such as attention.

An app makes them known with `Themed` (a mixin before `App`), or calls `register_themes(app)` itself and returns
`DEFAULT_VARIABLES` from `get_theme_variable_defaults`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from textual.filter import Monochrome, NoColor
from textual.theme import Theme

if TYPE_CHECKING:
    from textual.app import App

    _Base = App[Any]
else:
    _Base = object

DARK, LIGHT, CONTRAST, ANSI = "tinytui-dark", "tinytui-light", "tinytui-contrast", "tinytui-ansi"

_DARK_VARIABLES = {
    "train": "#5fb0ff",
    "val": "#ffae57",
    "good": "#7fd88f",
    "alarm": "#ff6b6b",
    "dim": "#7f8a99",
    "bright": "#e6ebf2",
    "band": "#2f5f8f",
    "band-line": "#14202e",
    "rule": "#39424e",
    "select": "#1e2a38",
    "series-1": "#5fb0ff",
    "series-2": "#c792ea",
    "series-3": "#7fd88f",
    "series-4": "#ff8fa3",
    "series-5": "#4fd6be",
    "series-6": "#e5c07b",
    "series-7": "#f28c28",
    "series-8": "#9aa7b5",
    "heat-1": "#12171d",
    "heat-2": "#2a2118",
    "heat-3": "#4a3113",
    "heat-4": "#6e420f",
    "heat-5": "#8f2f2a",
    "glow-1": "#152130",
    "glow-2": "#19334d",
    "glow-3": "#1f4f7d",
    "glow-4": "#2f74b8",
    "glow-5": "#5fb0ff",
}

DEFAULT_VARIABLES = dict(_DARK_VARIABLES)


def _framed(variables: dict[str, str], accent: str) -> dict[str, str]:
    """`variables` with Textual's own names for borders, cursors and footer set to match."""
    return {
        "border": accent,
        "border-blurred": variables["rule"],
        "block-cursor-foreground": variables["bright"],
        "block-cursor-background": variables["select"],
        "block-cursor-text-style": "bold",
        "block-cursor-blurred-background": variables["select"],
        "input-selection-background": variables["band"],
        "footer-background": "transparent",
        "footer-key-foreground": accent,
        "footer-description-foreground": variables["dim"],
        "footer-item-background": "transparent",
        "footer-description-background": "transparent",
        "footer-key-background": "transparent",
        "scrollbar": variables["rule"],
        "scrollbar-hover": variables["dim"],
        "scrollbar-active": accent,
        "scrollbar-background": "transparent",
        "scrollbar-background-hover": "transparent",
        "scrollbar-background-active": "transparent",
        "scrollbar-corner-color": "transparent",
        **variables,
    }


_LIGHT_VARIABLES = {
    "train": "#0b62c4",
    "val": "#b85a00",
    "good": "#1a7f37",
    "alarm": "#c62828",
    "dim": "#656d78",
    "bright": "#14181d",
    "band": "#9cc3ee",
    "band-line": "#e9f1fa",
    "rule": "#c4cad2",
    "select": "#dbe7f5",
    "series-1": "#0b62c4",
    "series-2": "#8e3bb0",
    "series-3": "#1a7f37",
    "series-4": "#c2255c",
    "series-5": "#00796b",
    "series-6": "#8a6100",
    "series-7": "#b5470b",
    "series-8": "#55616e",
    "heat-1": "#fbfbf9",
    "heat-2": "#fdf1dc",
    "heat-3": "#fadfae",
    "heat-4": "#f5c279",
    "heat-5": "#f2a59a",
    "glow-1": "#eef4fb",
    "glow-2": "#d9e8f8",
    "glow-3": "#b3d1f2",
    "glow-4": "#7fb2e8",
    "glow-5": "#2f7fd6",
}

_CONTRAST_VARIABLES = {
    "train": "#55c8ff",
    "val": "#ffb000",
    "good": "#00ff7f",
    "alarm": "#ff5555",
    "dim": "#c8c8c8",
    "bright": "#ffffff",
    "band": "#0077cc",
    "band-line": "#00264d",
    "rule": "#8c8c8c",
    "select": "#003a75",
    "series-1": "#55c8ff",
    "series-2": "#ff8cff",
    "series-3": "#00ff7f",
    "series-4": "#ff8080",
    "series-5": "#00ffe0",
    "series-6": "#ffff66",
    "series-7": "#ffa040",
    "series-8": "#ffffff",
    "heat-1": "#000000",
    "heat-2": "#2b1d00",
    "heat-3": "#5c3d00",
    "heat-4": "#8a4b00",
    "heat-5": "#b00020",
    "glow-1": "#001a33",
    "glow-2": "#00386b",
    "glow-3": "#0055a3",
    "glow-4": "#0077cc",
    "glow-5": "#55c8ff",
}

_ANSI_VARIABLES = {
    "train": "ansi_bright_blue",
    "val": "ansi_yellow",
    "good": "ansi_green",
    "alarm": "ansi_red",
    "dim": "ansi_bright_black",
    "bright": "ansi_default",
    "band": "ansi_blue",
    "band-line": "ansi_default",
    "rule": "ansi_bright_black",
    "select": "ansi_default",
    "series-1": "ansi_bright_blue",
    "series-2": "ansi_magenta",
    "series-3": "ansi_green",
    "series-4": "ansi_red",
    "series-5": "ansi_cyan",
    "series-6": "ansi_yellow",
    "series-7": "ansi_bright_red",
    "series-8": "ansi_bright_cyan",
    "heat-1": "ansi_default",
    "heat-2": "ansi_default",
    "heat-3": "ansi_default",
    "heat-4": "ansi_default",
    "heat-5": "ansi_default",
    "glow-1": "ansi_blue",
    "glow-2": "ansi_blue",
    "glow-3": "ansi_blue",
    "glow-4": "ansi_bright_blue",
    "glow-5": "ansi_bright_blue",
}

THEMES = (
    Theme(
        name=DARK,
        primary="#5fb0ff",
        secondary="#8fa3b8",
        accent="#5fb0ff",
        warning="#ffae57",
        error="#ff6b6b",
        success="#7fd88f",
        foreground="#cdd5df",
        background="#0f1318",
        surface="#0f1318",
        panel="#171d25",
        dark=True,
        variables=_framed(_DARK_VARIABLES, "#5fb0ff"),
    ),
    Theme(
        name=LIGHT,
        primary="#0b62c4",
        secondary="#4a5a6a",
        accent="#0b62c4",
        warning="#b85a00",
        error="#c62828",
        success="#1a7f37",
        foreground="#2a3038",
        background="#fbfbf9",
        surface="#fbfbf9",
        panel="#eef0f2",
        dark=False,
        variables=_framed(_LIGHT_VARIABLES, "#0b62c4"),
    ),
    Theme(
        name=CONTRAST,
        primary="#55c8ff",
        secondary="#ffffff",
        accent="#ffff00",
        warning="#ffb000",
        error="#ff5555",
        success="#00ff7f",
        foreground="#ffffff",
        background="#000000",
        surface="#000000",
        panel="#101010",
        dark=True,
        text_alpha=1.0,
        variables=_framed(_CONTRAST_VARIABLES, "#ffff00"),
    ),
    Theme(
        name=ANSI,
        ansi=True,
        primary="ansi_blue",
        secondary="ansi_cyan",
        accent="ansi_cyan",
        warning="ansi_yellow",
        error="ansi_red",
        success="ansi_green",
        foreground="ansi_default",
        background="ansi_default",
        surface="ansi_default",
        panel="ansi_default",
        boost="ansi_default",
        dark=True,
        variables={
            "ansi-background": "ansi_black",
            "ansi-foreground": "ansi_white",
            "block-cursor-foreground": "ansi_black",
            "block-cursor-background": "ansi_white",
            "input-cursor-background": "ansi_white",
            "input-cursor-foreground": "ansi_black",
            "input-cursor-text-style": "none",
            "input-selection-background": "ansi_bright_blue",
            "input-selection-foreground": "ansi_black",
            "screen-selection-background": "ansi_bright_blue",
            "screen-selection-foreground": "ansi_black",
            "border": "ansi_cyan",
            "border-blurred": "ansi_bright_black",
            "footer-key-foreground": "ansi_cyan",
            "footer-description-foreground": "ansi_default",
            "scrollbar": "ansi_bright_black",
            **_ANSI_VARIABLES,
        },
    ),
)


DOUBLED: dict[str, tuple[str, ...]] = {
    f"{name}-{level}": attributes
    for name in ("heat", "glow")
    for level, attributes in enumerate(
        ((), ("underline",), ("bold",), ("bold", "underline"), ("bold", "underline", "reverse")), 1
    )
}
"""What says a ground where it cannot be seen."""


def only_marks(app: App[Any]) -> bool:
    """Whether grounds cannot tell everything here, so that marks have to."""
    return app.no_color or app.theme == ANSI


def doubled(app: App[Any], ground: str) -> tuple[str, ...]:
    """The attributes that say here what a ground does elsewhere: of the sixteen colours there are no shades of heat."""
    told = app.no_color or (app.theme == ANSI and ground.startswith("heat"))
    return DOUBLED.get(ground, ()) if told else ()


def register_themes(app: App[Any]) -> None:
    """Make the four themes known to `app`; the caller then sets `app.theme`."""
    for theme in THEMES:
        app.register_theme(theme)


class Themed(_Base):
    """Mixin for an App: the themes are known, the dark one is on, NO_COLOR means no colour at all.

    With NO_COLOR set the plain ANSI theme is on and every colour is taken out (Textual alone would draw greys); what
    colour says is also said by marks, words, bold and reverse.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        register_themes(self)
        if self.no_color:
            self._filters = [NoColor() if isinstance(each, Monochrome) else each for each in self._filters]
        self.theme = ANSI if self.no_color else DARK

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return DEFAULT_VARIABLES
