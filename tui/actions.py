"""Every action of the workbench, once: its key, its word in the footer, its line in the palette and in help.

A scope is the node whose class declares the bindings: the app, a screen, or a pane. `bindings(scope)` gives them to
Textual; the footer, the palette and help read the same table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from textual.binding import Binding, BindingType
from textual.keys import REPLACED_KEYS, key_to_character

APP, TRAIN, LOSS, DEVICE, SAMPLES, PROMPT, RUNS = "app", "train", "loss", "device", "samples", "prompt", "runs"
ASK, SLIDER, TEXT = "ask", "slider", "text"


_KEY_NAMES = {"question_mark": "?", **{f"f{number}": f"F{number}" for number in range(1, 13)}}


@dataclass(frozen=True)
class Action:
    """`do` is Textual's action, run on the scope's node; `label` is its word in the footer ("" hides it there), `about`
    its line in help and the palette ("": another action's line says it too)."""

    scope: str
    key: str
    do: str
    label: str
    about: str
    shown_key: str = ""
    palette: bool = True
    priority: bool = False

    @property
    def keys(self) -> list[str]:
        """Its keys, the one that is shown first."""
        return [key for key in self.key.split(",") if key]

    def with_keys(self, keys: Sequence[str]) -> Action:
        """This action as it is reached by some of its keys alone."""
        shown = self.shown_key if keys[:1] == self.keys[:1] else ""
        return replace(self, key=",".join(keys), shown_key=shown)

    @property
    def name(self) -> str:
        """The action without its parameters, as `check_action` is asked for it."""
        return self.do.partition("(")[0]

    @property
    def key_shown(self) -> str:
        """The key as people write it."""
        first = self.key.partition(",")[0]
        return self.shown_key or _KEY_NAMES.get(first) or first.replace("ctrl+", "^")


ACTIONS: tuple[Action, ...] = (
    Action(TRAIN, "space", "pause", "pause", "pause training, or go on"),
    Action(TRAIN, "c", "checkpoint", "checkpoint", "write a checkpoint now"),
    Action(TRAIN, "s", "sample", "sample", "write a sample now"),
    Action(TRAIN, "l", "learning_rate", "lr", "set the learning rate in force; the schedule goes on in proportion"),
    Action(TRAIN, "p", "focus_pane('prompt')", "prompt", "go to the prompt"),
    Action(TRAIN, "d", "detach", "detach", "checkpoint, then train on in the background without this screen; asks"),
    Action(TRAIN, "x", "stop", "stop", "stop this run with a checkpoint, after asking"),
    Action(TRAIN, "u", "resume", "resume", "go on with this run where it stopped, or to more steps, in this process"),
    Action(TRAIN, "z", "zoom", "zoom", "the focused pane alone, and back"),
    Action(TRAIN, "tab", "step_focus(1)", "", "the next part of the screen", palette=False),
    Action(TRAIN, "shift+tab", "step_focus(-1)", "", "the part before", palette=False),
    Action(TRAIN, "escape", "back", "", "stop the prompt, leave the input, or leave the zoom", palette=False),
    Action(SAMPLES, "left", "older", "older", "the sample before this one", "◀", palette=False),
    Action(SAMPLES, "right", "newer", "newer", "the sample after this one", "▶", palette=False),
    Action(SAMPLES, "home", "oldest", "", "the first sample", palette=False, priority=True),
    Action(SAMPLES, "end", "newest", "newest", "the newest sample, and follow it", palette=False, priority=True),
    Action(PROMPT, "enter", "run", "run", "send the prompt", "⏎", palette=False),
    Action(PROMPT, "up", "step(-1)", "", "the row above", palette=False),
    Action(PROMPT, "down", "step(1)", "", "the row below", palette=False),
    Action(PROMPT, "ctrl+o", "source", "weights", "choose the weights: live, best, or a checkpoint"),
    Action(PROMPT, "ctrl+g", "examples", "examples", "examples of the corpus, your own prompts, this run's history"),
    Action(PROMPT, "ctrl+t", "template", "template", "the corpus' record format around the prompt, on and off"),
    Action(PROMPT, "", "keep", "", "keep this prompt among your own"),
    Action(PROMPT, "ctrl+l", "lock", "seed lock", "keep the seed, or draw a new one each time"),
    Action(PROMPT, "ctrl+s", "save", "save", "save the output as a text file in the run"),
    Action(ASK, "up", "turn(-1)", "history", "the prompt before, from this run's history", "↑↓", palette=False),
    Action(ASK, "down", "turn(1)", "", "the prompt after; below the newest, what you were typing", palette=False),
    Action(
        ASK, "alt+enter,shift+enter,ctrl+j", "new_line", "new line", "a new line in the prompt", "alt+⏎", palette=False
    ),
    Action(SLIDER, "enter", "take", "take", "take the value that was typed", "⏎", palette=False),
    Action(SLIDER, "escape", "give_up", "give up", "keep the value as it was", "esc", palette=False),
    Action(SLIDER, "left", "move(-1)", "less", "less; a click does it too", "←", palette=False),
    Action(SLIDER, "right", "move(1)", "more", "more; or type a value", "→", palette=False),
    Action(SLIDER, "shift+left", "move(-1,'fine')", "fine", "a little less, or more", "⇧←→", palette=False),
    Action(SLIDER, "shift+right", "move(1,'fine')", "", "", "⇧→", palette=False),
    Action(SLIDER, "pagedown", "move(-1,'coarse')", "coarse", "much less, or more", "PgDn/Up", palette=False),
    Action(SLIDER, "pageup", "move(1,'coarse')", "", "", "PgUp", palette=False),
    Action(SLIDER, "home", "jump(0)", "least", "the least value", "Home", palette=False),
    Action(SLIDER, "end", "jump(1)", "most", "the greatest value, or off where it has one", "End", palette=False),
    Action(TEXT, "y", "copy", "copy", "copy the text to the clipboard", palette=False),
    Action(RUNS, "enter", "open", "open", "open the chosen run", "⏎", palette=False),
    Action(RUNS, "u", "resume", "resume", "go on with the chosen run, or to more steps, in this process"),
    Action(RUNS, "x,delete", "delete", "delete", "delete the chosen run, or stop it while it trains, after asking"),
    Action(RUNS, "f5", "reload", "refresh", "read the list again", "F5"),
    Action(RUNS, "escape", "back", "back", "back to the run", "esc", palette=False),
    Action(APP, "n", "new_run", "new run", "train a new model"),
    Action(APP, "r", "runs", "runs", "all runs: open, resume, delete"),
    Action(APP, "1", "train_screen", "", "screen 1: training, all panes"),
    Action(APP, "2", "prompt_screen", "", "screen 2: the prompt alone"),
    Action(APP, "3", "samples_screen", "", "screen 3: the samples alone"),
    Action(APP, "4", "runs", "", "screen 4: all runs", palette=False),
    Action(APP, "t", "dark", "", "dark or light"),
    Action(APP, "", "look('tinytui-contrast')", "", "high contrast"),
    Action(APP, "", "look('tinytui-ansi')", "", "the terminal's own sixteen colours"),
    Action(APP, "ctrl+p", "palette", "commands", "every action, by name", palette=False, priority=True),
    Action(APP, "question_mark,f1", "help", "help", "what this pane shows and which keys it takes", palette=False),
    Action(APP, "q,ctrl+q,ctrl+c", "leave", "quit", "quit; asks when this process trains"),
)


def is_text(key: str) -> bool:
    """Whether an input takes `key` for a character."""
    character = key_to_character(REPLACED_KEYS.get(key, key))
    return character is not None and character.isprintable()


def bindings(scope: str) -> list[BindingType]:
    """The scope's bindings for a class' BINDINGS."""
    return [
        Binding(action.key, action.do, action.about, show=False, priority=action.priority)
        for action in ACTIONS
        if action.scope == scope and action.key
    ]


def of_scope(scope: str) -> list[Action]:
    """The scope's actions, in the order of the footer."""
    return [action for action in ACTIONS if action.scope == scope]
