"""What stands on screen 2, and where: a pane each for the prompt, the outputs, the sliders and the bars."""

from __future__ import annotations

from typing import Any, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container, Horizontal, Vertical
from textual.content import Content

from tui.actions import bindings
from tui.screens.prompt.answer import AnswerPane
from tui.screens.prompt.asking import TICK, Asking
from tui.screens.prompt.beside import BarsPane, SamplingPane
from tui.screens.prompt.choosing import Choosing
from tui.screens.prompt.editor import EditorPane
from tui.screens.prompt.words import titled
from tui.screens.workscreen import WorkScreen
from tui.state.conversation import Conversation
from tui.state.counting import Counted
from tui.state.session import Session
from tui.text import clean
from tui.widgets.pane import Pane
from tui.widgets.tabs import PaneTabs

WIDE, TWO, FOUR, TINY = "wide", "two", "four", "tiny"
PARTS = {"prompt": ("ask-pane", "answer-a", "answer-b"), "sampling": ("sampling", "next")}
"""The two halves of the screen, of which one is seen where both do not fit."""
NAMES = {"prompt": "ask-pane", "output": "answer-a", "sampling": "sampling", "next token": "next"}
"""The panes by their names, where only one fits."""


def layout_for(width: int, height: int) -> str:
    """Everything, one half, one pane, or one pane and nothing else."""
    if width < 40 or height < 10:
        return TINY
    if height < 19:
        return FOUR
    return WIDE if width >= 96 and height >= 22 else TWO


class PromptParts(Choosing, Asking, WorkScreen):
    """The panes, what they show of the conversations, and which of them are seen."""

    BINDINGS: ClassVar[list[BindingType]] = bindings("prompt")
    CSS_PATH = "prompt.tcss"
    scope = "prompt"
    place = "prompt"
    help_title = "prompt"

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.main = Conversation(None, None)
        self.side = "a"
        self._run: object = self  # of nothing yet
        self._layout = ""
        self._ask = EditorPane()
        self._answers = {"a": AnswerPane(session, "a"), "b": AnswerPane(session, "b")}
        self._sampling = SamplingPane()
        self._next = BarsPane()
        self.sliders, self.seed = self._sampling.sliders, self._sampling.seed
        self._asked: tuple[Any, ...] | None = None
        self._place: tuple[Any, ...] | None = None
        self._counted: Counted | None = None
        self._count_asked: tuple[Any, ...] | None = None
        self._compared: tuple[str, str] | None = None

    def body(self) -> ComposeResult:
        yield PaneTabs(tuple(PARTS), id="tabs-two")
        yield PaneTabs(tuple(NAMES), id="tabs-four")
        with Container(id="parts"):
            with Vertical(id="left"):
                yield self._ask
                with Horizontal(id="answers"):
                    yield self._answers["a"]
                    yield self._answers["b"]
            with Vertical(id="right"):
                yield self._sampling
                yield self._next

    def on_mount(self) -> None:
        self._answers["b"].display = False
        self.set_interval(TICK, self._stream)
        self._ask.focus_target()

    @property
    def talk(self) -> Conversation:  # type: ignore[override]
        """The conversation that the sliders and the weights are of: the one beside where that has the focus."""
        return self.main.other if self.side == "b" and self.main.other is not None else self.main

    @property
    def pane(self) -> AnswerPane:
        """The output that the bars are of."""
        return self._answers[self.side if self.main.other is not None else "a"]

    @property
    def written(self) -> str:
        return self._ask.editor.text

    @property
    def output(self) -> str | None:
        text = self.pane.text
        return None if text.failed else text.text

    def show_sheet(self) -> None:
        editor = self._ask.editor
        if editor.text != clean(self.main.sheet.prompt):
            editor.put(self.main.sheet.prompt)
        editor.untouched = self.main.untouched
        self.show_values()
        self.say_lock()
        self.show_source()

    def show_answer(self) -> None:
        other = self.main.other
        for name, talk in (("a", self.main), ("b", other)):
            pane = self._answers[name]
            pane.compared, pane.chatting = other is not None, self.main.chatting
            if talk is not None:
                pane.sync(talk)
        self._answers["b"].display = other is not None and self._sees("answer-b")

    def show_source(self) -> None:
        width = self._ask.size.width
        side = [(f"{self.side.upper()}: ", "bold $accent")] if self.main.other is not None else []
        self._ask.say_title(titled(("prompt", ""), ("  ", ""), *side, *self.source_parts(width)))
        self._ask.say_below(self._counted_words())
        self.say_lock()

    def say_lock(self) -> None:
        side = self.side if self.main.other is not None else ""
        self._sampling.say(self.preset_name(), side, self.main.locked)

    def fail(self, problem: str) -> None:
        text = self.pane.text
        text.start()
        text.fail(problem)
        self.pane.say()

    def focus_editor(self) -> None:
        self.show_part("ask-pane")

    def _stream(self) -> None:
        if self.is_current and self.built:
            for pane in self._answers.values():
                pane.tick()

    def _counted_words(self) -> Content:
        found, view = self._counted, self.session.view
        if found is None or view is None:
            return Content("")
        if found.problem:
            return Content.styled(f"✖ {found.problem}"[: max(20, self._ask.size.width - 6)], "$alarm")
        if found.tokens is None:
            return Content("")
        size = self.context_size()
        if not size:
            return Content(f"{found.tokens:,} tokens")
        over = "  its beginning is out of the context" if found.tokens > size else ""
        return Content.styled(f"{found.tokens:,} of {size:,} tokens{over}", "$val" if over else "")

    def context_size(self) -> int:
        """Tokens that the run's model holds."""
        view = self.session.view
        config = view.info.get("config") if view is not None else None
        size = (config.get("model") or {}).get("block_size") if isinstance(config, dict) else None
        return size if isinstance(size, int) and size > 0 else 0

    # -- layout --------------------------------------------------------------------------------------------------------

    def _focused_pane(self) -> Pane | None:
        node: Any = self.focused
        while node is not None and not isinstance(node, Pane):
            node = node.parent
        return node

    def _panes(self) -> list[Pane]:
        answers = [self._answers["a"], *([self._answers["b"]] if self.main.other is not None else [])]
        return [self._ask, *answers, self._sampling, self._next]

    def _sees(self, pane: str) -> bool:
        """Whether there is room for `pane` beside, or instead of, the one with the focus."""
        focused = self._focused_pane()
        name = focused.id if focused is not None else "ask-pane"
        if self._layout == WIDE or name == pane:
            return True
        if self._layout == TWO:
            return any(name in half and pane in half for half in PARTS.values())
        return False

    def _arrange(self) -> None:
        self._layout = layout = layout_for(self.size.width, self.size.height)
        for each in (TWO, FOUR, TINY):
            self.set_class(layout == each or (each == FOUR and layout == TINY), each)
        for pane in (self._ask, *self._answers.values(), self._sampling, self._next):
            there = pane is not self._answers["b"] or self.main.other is not None
            pane.display = there and self._sees(pane.id or "")
        for name, panes in (("left", PARTS["prompt"]), ("right", PARTS["sampling"])):
            self.query_one(f"#{name}").display = any(self._sees(pane) for pane in panes)
        self.query_one("#answers").display = self._sees("answer-a") or self._sees("answer-b")
        focused = self._focused_pane()
        here = focused.id if focused is not None else "ask-pane"
        self.query_one("#tabs-two", PaneTabs).show_tab(next((n for n, half in PARTS.items() if here in half), ""))
        tab = next((n for n, pane in NAMES.items() if pane == here), "output")
        self.query_one("#tabs-four", PaneTabs).show_tab(tab)
        self.call_after_refresh(self.update)

    def show_part(self, pane: str) -> None:
        """The focus to a pane, which is seen then."""
        target = self.query_one(f"#{pane}", Pane)
        for node in (target, *(each for each in target.ancestors if each.id in ("answers", "left", "right"))):
            node.display = True
        target.focus_target()
        self._arrange()

    def action_step_focus(self, by: int) -> None:
        """The next pane, or the one before."""
        panes, here = self._panes(), self._focused_pane()
        at = panes.index(here) if here in panes else -1
        self.show_part(panes[(at + by) % len(panes)].id or "")

    def on_resize(self, event: events.Resize) -> None:
        self._arrange()

    def on_pane_tabs_picked(self, event: PaneTabs.Picked) -> None:
        self.show_part(NAMES[event.name] if self._layout != TWO else PARTS[event.name][0])
