"""Every action of the workbench, once: its id, its keys, its word in the footer, its line in the palette and in help.

An id is `scope.name`; the scope is the node whose class declares the bindings: the app, a screen, a pane or a widget.
`bindings(scope)` gives them to Textual; footer, palette, help and the keymap file read the same table. Nothing is bound
outside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from textual.binding import Binding, BindingType
from textual.keys import REPLACED_KEYS, key_to_character

_KEY_NAMES = {"question_mark": "?", **{f"f{number}": f"F{number}" for number in range(1, 13)}}


@dataclass(frozen=True)
class Action:
    """`do` is Textual's action, run on the scope's node; `label` is its word in the footer ("" hides it there), `about`
    its line in help and the palette ("": another action's line says it too); `changes` says that it writes or starts
    something, which a read-only screen must not."""

    id: str
    key: str
    do: str
    label: str
    about: str
    shown_key: str = ""
    palette: bool = True
    priority: bool = False
    changes: bool = False

    @property
    def scope(self) -> str:
        return self.id.partition(".")[0]

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
    Action("train.pause", "space", "pause", "pause", "pause training, or go on", changes=True),
    Action("train.checkpoint", "c", "checkpoint", "checkpoint", "write a checkpoint now", changes=True),
    Action("train.sample", "s", "sample", "sample", "write a sample now", changes=True),
    Action(
        "train.learning_rate",
        "l",
        "learning_rate",
        "lr",
        "set the learning rate in force; the schedule goes on in proportion",
        changes=True,
    ),
    Action(
        "train.fork",
        "b",
        "fork",
        "fork",
        "a new run from the checkpoint at the crosshair, or from the newest",
        changes=True,
    ),
    Action("train.go_to_prompt", "p", "focus_pane('prompt')", "prompt", "go to the prompt"),
    Action(
        "train.detach",
        "d",
        "detach",
        "detach",
        "checkpoint, then train on in the background without this screen; asks",
        changes=True,
    ),
    Action("train.stop", "x", "stop", "stop", "stop this run with a checkpoint, after asking", changes=True),
    Action(
        "train.resume",
        "u",
        "resume",
        "resume",
        "go on with this run where it stopped, or to more steps, in this process",
        changes=True,
    ),
    Action("loss.metric", "m", "metric", "metric", "what is drawn: loss, learning rate, gradient norm, speed, memory"),
    Action("train.zoom", "z", "zoom", "zoom", "the focused pane alone, and back"),
    Action("train.next_part", "tab", "step_focus(1)", "", "the next part of the screen", palette=False),
    Action("train.part_before", "shift+tab", "step_focus(-1)", "", "the part before", palette=False),
    Action("train.back", "escape", "back", "", "stop the prompt, leave the input, or leave the zoom", palette=False),
    Action("samples.older", "left", "older", "older", "the sample before this one", "◀", palette=False),
    Action("samples.newer", "right", "newer", "newer", "the sample after this one", "▶", palette=False),
    Action("samples.oldest", "home", "oldest", "", "the first sample", palette=False, priority=True),
    Action(
        "samples.newest", "end", "newest", "newest", "the newest sample, and follow it", palette=False, priority=True
    ),
    Action("pages.b_before", "left", "turn('b',-1)", "turn B", "B: the page before this one", "◀▶"),
    Action("pages.b_after", "right", "turn('b',1)", "", "B: the page after this one", "▶"),
    Action("pages.a_before", "shift+left", "turn('a',-1)", "turn A", "A: the page before this one", "⇧◀▶"),
    Action("pages.a_after", "shift+right", "turn('a',1)", "", "A: the page after this one", "⇧▶"),
    Action("pages.play", "space", "play", "play", "turn B through the checkpoints, a page a second, or stop that"),
    Action("pages.where", "o", "where", "where", "where in the corpus the copied passage stands"),
    Action("pages.prompt_before", "up", "choose(-1)", "prompt", "the prompt before this one", "↑↓", palette=False),
    Action("pages.prompt_after", "down", "choose(1)", "", "the prompt after this one", "↓", palette=False),
    Action("pages.first", "home", "edge('b',0)", "", "B: the first page", "Home", palette=False),
    Action("pages.newest", "end", "edge('b',1)", "", "B: the newest page, and follow it", "End", palette=False),
    Action("pages.up", "pageup", "page(-1)", "", "both texts a page up", "PgUp", palette=False),
    Action("pages.down", "pagedown", "page(1)", "", "both texts a page down", "PgDn", palette=False),
    Action("pages.other", "tab,shift+tab", "next_part", "", "the other column", palette=False),
    Action("pages.back", "escape", "back", "", "stop playing", "esc", palette=False),
    Action("where.up", "pageup,up", "page(-1)", "", "a page up", "PgUp", palette=False),
    Action("where.down", "pagedown,down", "page(1)", "", "a page down", "PgDn", palette=False),
    Action("prompt.run", "enter", "run", "run", "send the prompt", "⏎", palette=False, changes=True),
    Action("prompt.row_above", "up", "step(-1)", "", "the row above", palette=False),
    Action("prompt.row_below", "down", "step(1)", "", "the row below", palette=False),
    Action("prompt.source", "ctrl+o", "source", "weights", "choose the weights: live, best, or a checkpoint"),
    Action(
        "prompt.examples",
        "ctrl+g",
        "examples",
        "examples",
        "examples of the corpus, your own prompts, this run's history",
    ),
    Action(
        "prompt.template", "ctrl+t", "template", "template", "the corpus' record format around the prompt, on and off"
    ),
    Action("prompt.keep", "", "keep", "", "keep this prompt among your own", changes=True),
    Action("prompt.lock", "ctrl+l", "lock", "seed lock", "keep the seed, or draw a new one each time"),
    Action("prompt.preset", "ctrl+n", "preset", "presets", "settings of sampling by name: choose, keep, forget"),
    Action("prompt.save", "ctrl+s", "save", "save", "save the output as a text file in the run", changes=True),
    Action("prompt.copy", "ctrl+y", "copy", "copy", "copy the output to the terminal's clipboard"),
    Action(
        "prompt.compare", "ctrl+b", "compare", "A/B", "two answers side by side, each with its weights and settings"
    ),
    Action(
        "prompt.grid", "ctrl+r", "grid", "grid", "the prompt at nine settings of temperature and top-p", changes=True
    ),
    Action("prompt.chat", "f4", "chat", "chat", "turns that build on each other, and back to single prompts"),
    Action("prompt.new_chat", "", "new_chat", "", "begin a new chat: nothing was said yet"),
    Action("prompt.next_part", "tab", "step_focus(1)", "", "the next part of the screen", palette=False),
    Action("prompt.part_before", "shift+tab", "step_focus(-1)", "", "the part before", palette=False),
    Action("prompt.back", "escape", "back", "", "stop the prompt, or back to the editor", "esc", palette=False),
    Action("editor.older", "up", "older", "", "the line above; on the first one the prompt before", "↑", palette=False),
    Action("editor.newer", "down", "newer", "", "the line below; on the last one the prompt after", "↓", palette=False),
    Action(
        "editor.new_line",
        "alt+enter,shift+enter,ctrl+j",
        "new_line",
        "new line",
        "a new line in the prompt",
        "alt+⏎",
        palette=False,
    ),
    Action("editor.redo", "ctrl+shift+z,alt+z", "redo", "", "what was undone (ctrl+z) again", "alt+z", palette=False),
    Action("answer.bars", "enter", "bars", "others", "to what else could stand here", "⏎", palette=False),
    Action("answer.edit", "e", "edit", "edit", "edit the output as text, and go on from there", changes=True),
    Action("answer.again", "r", "again", "again", "the same prompt once more; this answer stays", changes=True),
    Action("answer.more", "m", "more", "more", "go on writing from the end of this answer", changes=True),
    Action(
        "answer.version_before",
        "left_square_bracket,ctrl+left,ctrl+z",
        "version(-1)",
        "versions",
        "the answer before, to the same prompt",
        "[]",
    ),
    Action(
        "answer.version_after",
        "right_square_bracket,ctrl+right,ctrl+shift+z",
        "version(1)",
        "",
        "the answer after, to the same prompt",
        "]",
    ),
    Action("answer.tint", "ctrl+u", "tint", "surprise", "tint each token by how much it surprised the model"),
    Action("answer.copy", "y", "copy", "copy", "copy the output", palette=False),
    Action("grid.left", "left", "move(0,-1)", "", "the cell to the left", "←", palette=False),
    Action("grid.right", "right", "move(0,1)", "", "the cell to the right", "→", palette=False),
    Action("grid.up", "up", "move(-1,0)", "", "the cell above", "↑", palette=False),
    Action("grid.down", "down", "move(1,0)", "", "the cell below", "↓", palette=False),
    Action("grid.take", "enter", "take", "", "take the settings of this cell", "⏎", palette=False),
    Action("output.left", "left", "step(-1)", "token", "the token before", "←→", palette=False),
    Action("output.right", "right", "step(1)", "", "the token after", "→", palette=False),
    Action("output.up", "up", "line(-1)", "", "the token above", "↑", palette=False),
    Action("output.down", "down", "line(1)", "", "the token below", "↓", palette=False),
    Action("output.first", "home", "jump(0)", "", "the first token", "Home", palette=False),
    Action("output.newest", "end", "jump(1)", "", "the end, and follow it", "End", palette=False),
    Action("output.page_up", "pageup", "page_up", "", "a page up", "PgUp", palette=False),
    Action("output.page_down", "pagedown", "page_down", "", "a page down", "PgDn", palette=False),
    Action("ask.older", "up", "turn(-1)", "history", "the prompt before, from this run's history", "↑↓", palette=False),
    Action(
        "ask.newer", "down", "turn(1)", "", "the prompt after; below the newest, what you were typing", palette=False
    ),
    Action(
        "ask.new_line",
        "alt+enter,shift+enter,ctrl+j",
        "new_line",
        "new line",
        "a new line in the prompt",
        "alt+⏎",
        palette=False,
    ),
    Action("slider.take", "enter", "take", "take", "take the value that was typed", "⏎", palette=False),
    Action("slider.give_up", "escape", "give_up", "give up", "keep the value as it was", "esc", palette=False),
    Action("slider.less", "left", "move(-1)", "less", "less; a click does it too", "←", palette=False),
    Action("slider.more", "right", "move(1)", "more", "more; or type a value", "→", palette=False),
    Action("slider.less_fine", "shift+left", "move(-1,'fine')", "fine", "a little less, or more", "⇧←→", palette=False),
    Action("slider.more_fine", "shift+right", "move(1,'fine')", "", "", "⇧→", palette=False),
    Action(
        "slider.less_coarse", "pagedown", "move(-1,'coarse')", "coarse", "much less, or more", "PgDn/Up", palette=False
    ),
    Action("slider.more_coarse", "pageup", "move(1,'coarse')", "", "", "PgUp", palette=False),
    Action("slider.least", "home", "jump(0)", "least", "the least value", "Home", palette=False),
    Action(
        "slider.most", "end", "jump(1)", "most", "the greatest value, or off where it has one", "End", palette=False
    ),
    Action("text.copy", "y", "copy", "copy", "copy the text to the clipboard", palette=False),
    Action("runs.filter", "slash", "filter", "filter", "show the runs that match what is typed", "/"),
    Action("runs.sort", "o", "sort", "sort", "sort the runs by a column"),
    Action(
        "runs.mark",
        "space",
        "mark",
        "mark",
        "mark the run for the picture below, or take its mark away",
        "␣",
        palette=False,
    ),
    Action(
        "runs.differences",
        "equals_sign",
        "differences",
        "differ",
        "how the marked runs differ, and how far each is at the same step",
        "=",
    ),
    Action("runs.tree", "g", "tree", "tree", "forks below the run they come from, or all in one order"),
    Action("runs.rename", "e", "rename", "rename", "give the chosen run another name", changes=True),
    Action("runs.note", "i", "note", "note", "write a note on the chosen run", changes=True),
    Action(
        "runs.fork", "b", "fork", "fork", "a new run that goes on from a checkpoint of the chosen one", changes=True
    ),
    Action("runs.verify", "v", "verify", "", "read every byte of the chosen run's checkpoints"),
    Action("runs.open", "enter", "open", "open", "open the chosen run", "⏎", palette=False),
    Action(
        "runs.resume",
        "u",
        "resume",
        "resume",
        "go on with the chosen run, or to more steps, in this process",
        changes=True,
    ),
    Action(
        "runs.delete",
        "x,delete",
        "delete",
        "delete",
        "delete the chosen run, or stop it while it trains, after asking",
        changes=True,
    ),
    Action("runs.reload", "f5", "reload", "refresh", "read the list again", "F5"),
    Action("runs.back", "escape", "back", "back", "back to the run", "esc", palette=False),
    Action("inspect.loss", "l", "view('loss')", "", "the loss of each token"),
    Action("inspect.attention", "a", "view('attention')", "", "attention: who looks at whom"),
    Action("inspect.lens", "e", "view('lens')", "", "the lens: what each layer would say"),
    Action("inspect.tokens", "o", "view('tokens')", "", "tokens: where they end, counts, neighbours"),
    Action("inspect.ladder", "d", "view('ladder')", "", "the ladder: from a table to the full model"),
    Action("inspect.passage", "g", "turn(1)", "passage", "the next passage of the held-out text"),
    Action("inspect.passage_before", "G", "turn(-1)", "", "the passage before"),
    Action("inspect.worst", "w", "worst", "worst", "the ten passages that the weights understand least"),
    Action("inspect.type", "i", "type", "type", "type a text to look at"),
    Action("inspect.weights", "c", "weights", "weights", "the weights of another checkpoint"),
    Action("inspect.longer", "plus,equals_sign", "resize(1)", "length", "a longer passage", "+-"),
    Action("inspect.shorter", "minus", "resize(-1)", "", "a shorter passage", "-"),
    Action("inspect.next_part", "tab", "step_focus(1)", "", "the next part of the screen", palette=False),
    Action("inspect.part_before", "shift+tab", "step_focus(-1)", "", "the part before", palette=False),
    Action("inspect.back", "escape", "back", "back", "back to the passage before", "esc", palette=False),
    Action("map.left", "left", "step(-1)", "token", "the token before", "←→", palette=False),
    Action("map.right", "right", "step(1)", "", "the token after", "→", palette=False),
    Action("map.up", "up,k", "line(-1)", "", "the token above", "↑", palette=False),
    Action("map.down", "down,j", "line(1)", "", "the token below", "↓", palette=False),
    Action("map.page_up", "pageup", "page(-1)", "", "a page up", "PgUp", palette=False),
    Action("map.page_down", "pagedown", "page(1)", "", "a page down", "PgDn", palette=False),
    Action("map.first", "home", "edge(0)", "", "the first token", "Home", palette=False),
    Action("map.last", "end", "edge(1)", "", "the last token", "End", palette=False),
    Action("wall.left", "left", "choose(0,-1)", "head", "the head to the left", "←→", palette=False),
    Action("wall.right", "right", "choose(0,1)", "", "the head to the right", "→", palette=False),
    Action("wall.up", "up,k", "choose(-1,0)", "layer", "the layer above", "↑↓", palette=False),
    Action("wall.down", "down,j", "choose(1,0)", "", "the layer below", "↓", palette=False),
    Action("head.up", "up,k,left", "step(-1)", "token", "the token before", "↑↓", palette=False),
    Action("head.down", "down,j,right", "step(1)", "", "the token after", "↓", palette=False),
    Action("head.page_up", "pageup", "step(-10)", "", "ten tokens before", "PgUp", palette=False),
    Action("head.page_down", "pagedown", "step(10)", "", "ten tokens after", "PgDn", palette=False),
    Action("lens.left", "left", "move(-1,0)", "token", "the token before", "←→", palette=False),
    Action("lens.right", "right", "move(1,0)", "", "the token after", "→", palette=False),
    Action("lens.up", "up,k", "move(0,1)", "layer", "the layer after", "↑↓", palette=False),
    Action("lens.down", "down,j", "move(0,-1)", "", "the layer before", "↓", palette=False),
    Action("lens.page_left", "pageup", "move(-10,0)", "", "ten tokens before", "PgUp", palette=False),
    Action("lens.page_right", "pagedown", "move(10,0)", "", "ten tokens after", "PgDn", palette=False),
    Action("corpora.add", "a", "add", "add", "keep a file or folder as a corpus", changes=True),
    Action(
        "corpora.fetch",
        "f",
        "fetch",
        "fetch",
        "download a known corpus, a book, or a text by its address",
        changes=True,
    ),
    Action("corpora.new_run", "n", "new_run_on", "new run", "train a new model on the chosen corpus", changes=True),
    Action("corpora.count", "s", "count", "count", "count what is in the chosen text, however long that takes"),
    Action("corpora.remove", "x,delete", "remove", "remove", "remove the chosen corpus, after asking", changes=True),
    Action("corpora.cancel", "c", "cancel", "give up", "give up what is being fetched or added"),
    Action("corpora.percent", "g", "percent", "go to", "go to a place in the text, in percent"),
    Action("corpora.next_part", "tab", "step_focus(1)", "", "the next part of the screen", palette=False),
    Action("corpora.part_before", "shift+tab", "step_focus(-1)", "", "the part before", palette=False),
    Action("corpora.back", "escape", "back", "", "back to the list", "esc", palette=False),
    Action("leaf.up", "up,k", "scroll(-1)", "", "a line up", "↑", palette=False),
    Action("leaf.down", "down,j", "scroll(1)", "", "a line down", "↓", palette=False),
    Action("leaf.page_up", "pageup", "page(-1)", "page", "a page up", "PgUp", palette=False),
    Action("leaf.page_down", "pagedown,space", "page(1)", "", "a page down", "PgDn", palette=False),
    Action("leaf.first", "home", "edge(0)", "", "the beginning", "Home", palette=False),
    Action("leaf.last", "end", "edge(1)", "", "the end", "End", palette=False),
    Action("add.add", "ctrl+s,f5", "add", "add", "add it", palette=False, priority=True, changes=True),
    Action("path.take", "tab", "take", "", "what stands under the cursor", palette=False, priority=True),
    Action("list.up", "up,k", "move(-1)", "", "the line above", "↑", palette=False),
    Action("list.down", "down,j", "move(1)", "", "the line below", "↓", palette=False),
    Action("list.page_up", "pageup", "page(-1)", "", "a page up", "PgUp", palette=False),
    Action("list.page_down", "pagedown", "page(1)", "", "a page down", "PgDn", palette=False),
    Action("list.first", "home", "move(-1000000)", "", "the first line", "Home", palette=False),
    Action("list.last", "end", "move(1000000)", "", "the last line", "End", palette=False),
    Action("list.choose", "enter", "choose", "", "choose it", "⏎", palette=False),
    Action("plot.zoom_in", "plus,equals_sign", "zoom(2.0)", "", "zoom in", "+", palette=False),
    Action("plot.zoom_out", "minus", "zoom(0.5)", "", "zoom out", "-", palette=False),
    Action("plot.left", "left", "pan(-0.25)", "", "earlier steps", "◀", palette=False),
    Action("plot.right", "right", "pan(0.25)", "", "later steps", "▶", palette=False),
    Action("plot.reset", "0", "reset", "", "the whole run", palette=False),
    Action("plot.scale", "y", "turn('scale')", "scale", "y: what matters, the whole range, a log scale", palette=False),
    Action("plot.axis", "X", "turn('axis')", "", "x: steps, tokens, time", palette=False),
    Action("plot.smooth", "e", "turn('smooth')", "", "smoother, not smoothed, as usual", palette=False),
    Action("plot.point_before", "left_square_bracket", "point(-1)", "point", "the crosshair: one column", "[]"),
    Action("plot.point_after", "right_square_bracket", "point(1)", "", "", "]", palette=False),
    Action("plot.point_far", "left_curly_bracket", "point(-10)", "", "the crosshair: ten columns", "{}", palette=False),
    Action("plot.point_far_after", "right_curly_bracket", "point(10)", "", "", "}", palette=False),
    Action("plot.point_nowhere", "escape", "point_nowhere", "", "the crosshair away", "esc", palette=False),
    Action(
        "plot.checkpoint_before",
        "comma",
        "checkpoint(-1)",
        "",
        "the checkpoint before, or after",
        ", .",
        palette=False,
    ),
    Action("plot.checkpoint_after", "full_stop", "checkpoint(1)", "", "", ".", palette=False),
    Action("bars.up", "up", "move(-1)", "", "the token above", "↑", palette=False),
    Action("bars.down", "down", "move(1)", "", "the token below", "↓", palette=False),
    Action("bars.token_before", "left", "token(-1)", "token", "the token before, in the output", "←→", palette=False),
    Action("bars.token_after", "right", "token(1)", "", "the token after, in the output", "→", palette=False),
    Action(
        "bars.select",
        "enter",
        "select",
        "go on from it",
        "take this token and go on from it",
        "⏎",
        palette=False,
        changes=True,
    ),
    Action("form.up", "up,shift+tab", "move(-1)", "", "the field above", "↑", palette=False),
    Action("form.down", "down,tab", "move(1)", "", "the field below", "↓", palette=False),
    Action("form.page_up", "pageup", "move(-10)", "", "ten fields up", "PgUp", palette=False),
    Action("form.page_down", "pagedown", "move(10)", "", "ten fields down", "PgDn", palette=False),
    Action("form.before", "left", "turn(-1)", "", "the choice before", "◀", palette=False),
    Action("form.after", "right", "turn(1)", "", "the choice after", "▶", palette=False),
    Action("form.start", "home", "edge(0)", "", "start of the value", "Home", palette=False),
    Action("form.end", "end", "edge(1)", "", "end of the value", "End", palette=False),
    Action("form.word_before", "ctrl+left,alt+b", "word(-1)", "", "a word to the left, or right", "^←→", palette=False),
    Action("form.word_after", "ctrl+right,alt+f", "word(1)", "", "", "^→", palette=False),
    Action("form.select_before", "shift+left", "step(-1,True)", "", "select: a character", "⇧←→", palette=False),
    Action("form.select_after", "shift+right", "step(1,True)", "", "", "⇧→", palette=False),
    Action("form.select_word_before", "ctrl+shift+left", "word(-1,True)", "", "select: a word", "^⇧←→", palette=False),
    Action("form.select_word_after", "ctrl+shift+right", "word(1,True)", "", "", "^⇧→", palette=False),
    Action("form.select_start", "shift+home", "edge(0,True)", "", "select: to the start", "⇧Home", palette=False),
    Action("form.select_end", "shift+end", "edge(1,True)", "", "select: to the end", "⇧End", palette=False),
    Action("form.select_all", "ctrl+a", "all", "", "select the whole value", palette=False),
    Action(
        "form.erase",
        "backspace",
        "erase(-1)",
        "",
        "erase the character before, or what is selected",
        "⌫",
        palette=False,
    ),
    Action("form.erase_after", "delete", "erase(1)", "", "erase the character after", "Del", palette=False),
    Action(
        "form.erase_word",
        "ctrl+w,ctrl+backspace,alt+backspace",
        "erase_word(-1)",
        "",
        "erase the word before",
        palette=False,
    ),
    Action(
        "form.erase_word_after",
        "alt+d,ctrl+delete",
        "erase_word(1)",
        "",
        "erase the word after",
        "alt+d",
        palette=False,
    ),
    Action("form.clear", "ctrl+u", "clear", "", "clear the field", palette=False),
    Action("form.undo", "ctrl+z", "undo", "", "undo the last change of this field", palette=False),
    Action("form.redo", "ctrl+y,alt+z", "redo", "", "what was undone, again", palette=False),
    Action("form.restore", "ctrl+r", "restore", "", "the preset's value", palette=False),
    Action(
        "form.find",
        "ctrl+f",
        "find",
        "",
        "find a setting by its name; / does it, too, but where text is typed",
        palette=False,
    ),
    Action("form.enter", "enter", "enter", "", "the next field", "⏎", palette=False),
    Action(
        "settings.keys", "ctrl+k", "keys", "keys", "all actions with their ids and keys", palette=False, priority=True
    ),
    Action(
        "new_run.keep",
        "ctrl+k",
        "keep",
        "keep",
        "keep these settings as a preset",
        palette=False,
        priority=True,
        changes=True,
    ),
    Action("new_run.start", "ctrl+s,f5", "start", "start", "start the run", palette=False, priority=True, changes=True),
    Action(
        "dialog.close",
        "escape,ctrl+c,ctrl+q",
        "close",
        "close",
        "close without deciding",
        "esc",
        palette=False,
        priority=True,
    ),
    Action("choose.close", "ctrl+p", "close", "", "close without choosing", palette=False, priority=True),
    Action("choose.up", "up", "move(-1)", "", "the line above", "↑", palette=False),
    Action("choose.down", "down", "move(1)", "", "the line below", "↓", palette=False),
    Action("choose.page_up", "pageup", "move(-10)", "", "ten lines up", "PgUp", palette=False),
    Action("choose.page_down", "pagedown", "move(10)", "", "ten lines down", "PgDn", palette=False),
    Action("help.close", "question_mark,f1,q,enter", "close", "", "close", palette=False),
    Action("welcome.first", "enter", "first", "", "train a first model", "⏎", palette=False, changes=True),
    Action("app.new_run", "n", "new_run", "new run", "train a new model", changes=True),
    Action("app.train", "1", "go('train')", "", "screen 1: training, all panes"),
    Action("app.prompt", "2", "go('prompt')", "", "screen 2: prompt"),
    Action("app.samples", "3", "go('samples')", "", "screen 3: samples"),
    Action("app.runs", "r,4", "go('runs')", "runs", "screen 4: all runs: open, resume, compare, delete"),
    Action("app.inspect", "5", "go('inspect')", "", "screen 5: inspect the weights"),
    Action("app.corpora", "6", "go('corpora')", "", "screen 6: corpora"),
    Action("app.jump", "f", "jump", "", "go to a pane by its letter"),
    Action("app.dark", "t", "dark", "", "dark or light"),
    Action("app.high_contrast", "", "look('tinytui-contrast')", "", "high contrast"),
    Action("app.ansi", "", "look('tinytui-ansi')", "", "the terminal's own sixteen colours"),
    Action("app.settings", "comma", "settings", "", "settings: look, mouse, order of the runs, sampling", ","),
    Action("app.keys", "", "keys", "", "all actions with their ids and keys, and where other keys are set"),
    Action("app.palette", "ctrl+p", "palette", "commands", "every action, by name", palette=False, priority=True),
    Action(
        "app.help", "question_mark,f1", "help", "help", "what this pane shows and which keys it takes", palette=False
    ),
    Action("app.leave", "q,ctrl+q,ctrl+c", "leave", "quit", "quit; asks when this process trains"),
)


def is_text(key: str) -> bool:
    """Whether an input takes `key` for a character."""
    character = key_to_character(REPLACED_KEYS.get(key, key))
    return character is not None and character.isprintable()


def bindings(scope: str) -> list[BindingType]:
    """The scope's bindings for a class' BINDINGS, with ids that a keymap names."""
    return [
        Binding(action.key, action.do, action.about, show=False, priority=action.priority, id=action.id)
        for action in ACTIONS
        if action.scope == scope and action.key
    ]


def of_scope(scope: str, keymap: Mapping[str, str] | None = None) -> list[Action]:
    """The scope's actions, in the order of the footer, with the keys that `keymap` (id to keys) gives them."""
    found = [action for action in ACTIONS if action.scope == scope]
    return [replace(a, key=keymap[a.id], shown_key="") if keymap and a.id in keymap else a for a in found]
