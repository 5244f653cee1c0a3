"""The settings of the form kept as a preset of the person's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from engine.preset_files import save_preset
from tui.state.kit import Preset
from tui.state.news import Notice
from tui.text import clean

if TYPE_CHECKING:
    from engine.config import Config
    from tui.app import Workbench

NAMED = 5
"""Settings that a preset's line about itself names, the first that were changed."""


def about_kept(base: str, typed: Mapping[str, str]) -> str:
    """`from nano: n_layer 4, …`"""
    changed = [f"{key.partition('.')[2]} {text}" for key, text in typed.items() if "." in key]
    said = f": {', '.join(changed[:NAMED])}{' …' if len(changed) > NAMED else ''}" if changed else ""
    return f"from {base}{said}"


def keep_as_preset(
    app: Workbench, config: Config, about: str, there: Mapping[str, Preset], then: Callable[[str, Preset], None]
) -> None:
    """Ask for a name and keep `config` under it, in the place of one that is `there`; it is given to `then`."""
    from engine.preset_files import check_name, own_folder
    from tui.screens.dialogs.ask import AskScreen

    def keep(name: str | None) -> None:
        if name is not None:
            app.session.reads.ask("preset", lambda _: (name, save_preset(name, config, about)), lambda _: saved(name))

    def saved(name: str) -> None:
        before = ", in the place of the one before" if name in there else ""
        app.say(Notice(f"kept as preset {name}{before}"))
        then(name, Preset(config, about))

    said = f"a file in {clean(str(own_folder()), keep_newlines=False)}; --preset and tinytui presets know it, too"
    app.push_screen(AskScreen("keep as a preset", said, "", lambda text: check_name(text.strip())), keep)
