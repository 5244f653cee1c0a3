"""Screen 2: a prompt, its answer token by token, and the rules that every token was drawn by."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container, Horizontal, Vertical
from textual.content import Content
from textual.widgets import Input, TextArea

from engine.errors import UserError
from tui.actions import Action, bindings
from tui.screens.prompt.answer import AnswerPane
from tui.screens.prompt.asking import TICK, Asking, titled
from tui.screens.prompt.beside import BarsPane, SamplingPane
from tui.screens.prompt.choosing import Choosing
from tui.screens.prompt.editor import Editor
from tui.screens.workscreen import WorkScreen
from tui.state.conversation import CHAT, Conversation, Sheet
from tui.state.counting import Counted, count
from tui.state.looking import Look, look
from tui.state.news import Notice
from tui.state.prompting import ChatSoFar, PromptJob
from tui.state.session import Session
from tui.state.tokens import Token
from tui.text import clean
from tui.widgets.bars import NextTokenBars
from tui.widgets.pane import Pane
from tui.widgets.slider import top_k_scale
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


class EditorPane(Pane):
    """Where the prompt is written."""

    title = "prompt"
    about: ClassVar[tuple[str, ...]] = (
        "Asks the weights that are training now, without stopping them, or",
        "any checkpoint (ctrl+o). ⏎ sends, alt+⏎ makes a line, esc stops.",
        "↑ above the first line recalls what was asked before; what you",
        "type and do not send stays at its place, also after a restart.",
        "ctrl+g lists your prompts, examples and the history of all runs.",
        "ctrl+b compares two answers, ctrl+r nine; f4 is a chat, where the",
        "corpus has prompts and answers.",
        "Every prompt is kept with its settings in the run's prompts.jsonl.",
    )

    def __init__(self) -> None:
        super().__init__(id="ask-pane")
        self.editor = Editor(id="editor")

    def compose(self) -> ComposeResult:
        yield self.editor

    def focus_target(self) -> None:
        self.editor.focus()


class PromptScreen(Choosing, Asking, WorkScreen):
    """A view of the conversation with the session's run, and of the one beside it where two are compared."""

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
        self._answers["b"].add_class("away")
        self.set_interval(TICK, self._stream)
        self._ask.focus_target()

    # -- what is shown -------------------------------------------------------------------------------------------------

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

    def refresh_view(self) -> None:
        """Bring the screen up to date with the session."""
        session = self.session
        if session.run is not self._run:
            self._run = session.run
            self._other_run()
        self.agree()
        self._ask.editor.placeholder = self.example()
        self.show_answer()
        self.show_source()
        self._count_tokens()
        self._look()

    def _other_run(self) -> None:
        self.write_back()
        self.main = self.conversation_with(self.main)
        self.side = "a"
        self._place_editor()
        self.sliders["top_k"].scale = top_k_scale(self.vocab_size())
        self.show_sheet()

    def _stream(self) -> None:
        if self.is_current and self.built:
            for pane in self._answers.values():
                pane.tick()

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
        self._answers["b"].set_class(other is None or not self._sees("answer-b"), "away")

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

    # -- the token looked at -------------------------------------------------------------------------------------------

    def on_answer_pane_looked(self) -> None:
        self._look()

    def sheet_changed(self) -> None:
        self._count_tokens()
        self.show_source()
        self._look()

    def _look(self) -> None:
        """Have the bars of the token looked at reckoned by the rules as they are set, unless they are."""
        pane, at = self.pane, self.pane.at
        if at is None:
            self.session.works.drop("bars")
            self._asked = self._place = None
            self._next.show_none(self._no_bars())
            return
        tokens = pane.tokens
        token = tokens[at]
        try:
            settings = replace(self.talk.sheet.settings(), seed=None)
        except UserError:
            return
        place = (id(pane.shown), at)
        asked = (*place, token, settings)
        if asked == self._asked:
            return
        self._asked = asked
        before = pane.text.text_before(at)

        def show(found: Look) -> None:
            if found.why:
                self._next.show_none(found.why)
            elif found.next is not None:
                self._next.show(found.next, before, place != self._place)
            self._place = place

        shown = pane.shown
        models, run = self.session.talks.models, pane.talk.run
        assert run is not None and shown is not None
        self.session.works.ask("bars", lambda _: look(models, run, shown, tokens[: at + 1], settings), show)

    def _no_bars(self) -> str:
        return "the bars come with the first token" if self.pane.streaming else "the bars come with an answer"

    def on_next_token_bars_turned(self, event: NextTokenBars.Turned) -> None:
        at = self.pane.at
        if at is not None:
            self.pane.text.go_to(at + event.by)

    def on_next_token_bars_selected(self, event: NextTokenBars.Selected) -> None:
        """Another token in this place, and what comes after it."""
        pane, at, bar = self.pane, self.pane.at, event.token
        if at is None or bar.id < 0:
            return
        tokens, loss = pane.tokens, -math.log(bar.before) if bar.before > 0 else None
        begin = (*tokens[:at], Token(bar.id, "", tokens[at].kept, loss))
        self._go_on(begin, None, "token")

    def _go_on(self, begin: tuple[Token, ...], edited: str | None, how: str) -> None:
        """An answer that begins as this one, drawn with its seed."""
        if not self.ready_to_ask():
            return
        self.write_back()
        shown = self.pane.shown
        asked = shown.request if isinstance(shown, PromptJob) else shown
        sheet = self.talk.sheet
        if asked is not None and (seed := self.pane.seed) is not None:
            sheet = replace(sheet, seed=str(seed))
        if asked is not None:
            sheet = replace(sheet, prompt=asked.prompt, templated=asked.templated)
        self._ask_again(sheet, begin, edited, how)
        self.pane.focus_target()

    def _ask_again(self, sheet: Sheet, begin: tuple[Token, ...] = (), edited: str | None = None, how: str = "") -> None:
        """`sheet` where the answer that is shown stands: in a chat after the same turns."""
        shown = self.pane.shown
        try:
            request = self.request(self.talk, sheet, begin, edited, how)
        except UserError as error:
            self.fail(str(error))
            return
        if isinstance(shown, PromptJob) and shown.request.chat is not None:
            request = replace(request, chat=shown.request.chat, how=f"{CHAT} {how}".strip())
        self.talk.ask(request, self.session.talks.models)
        self.show_answer()

    # -- what is asked -------------------------------------------------------------------------------------------------

    def write_back(self) -> None:
        super().write_back()
        if self.talk is not self.main:
            sheet = self.talk.sheet
            self.main.sheet = replace(self.main.sheet, prompt=sheet.prompt, templated=sheet.templated, seed=sheet.seed)

    def action_run(self) -> None:
        """Send the prompt, to both where two are compared."""
        if not self.ready_to_ask():
            return
        self.new_seed()
        self.write_back()
        self._ask.editor.untouched = True
        if self.main.chatting:
            self._say()
        elif self.main.other is None:
            self.ask(self.main.sheet)
        else:
            self._ask_both(self.main.other)

    def _say(self) -> None:
        """What is written, after all that was said."""
        talk, template = self.main, self.template()
        if template is None or not talk.sheet.prompt.strip():
            return
        turns = tuple((job.request.prompt, job.text) for job in talk.chat)
        try:
            request = self.request(talk, replace(talk.sheet, templated=True), how=CHAT)
        except UserError as error:
            self.fail(str(error))
            return
        talk.ask(replace(request, chat=ChatSoFar(template, turns, self.context_size())), self.session.talks.models)
        talk.sheet = replace(talk.sheet, prompt="")
        self.show_sheet()
        self.show_answer()

    def context_size(self) -> int:
        """Tokens that the run's model holds."""
        view = self.session.view
        config = view.info.get("config") if view is not None else None
        size = (config.get("model") or {}).get("block_size") if isinstance(config, dict) else None
        return size if isinstance(size, int) and size > 0 else 0

    def action_chat(self) -> None:
        """Turns that build on each other, or single prompts again; what was said stays until a new chat is begun."""
        talk = self.main
        talk.chatting = not talk.chatting
        if talk.chatting:
            if talk.other is not None:
                self.action_compare()
            talk.shown = talk.chat[-1] if talk.chat else None
        self._place_editor()
        self.show_answer()
        self.focus_editor()

    def action_new_chat(self) -> None:
        """Begin anew: nothing was said yet. The answers stay in the history."""
        self.main.stop()
        self.main.chat, self.main.shown = [], None
        self.show_answer()

    def _place_editor(self) -> None:
        """In a chat one writes below what was said."""
        chatting = self.main.chatting
        if chatting != self.has_class("chat"):
            self.set_class(chatting, "chat")
            answers = self.query_one("#answers")
            if chatting:
                self.query_one("#left").move_child(self._ask, after=answers)
            else:
                self.query_one("#left").move_child(self._ask, before=answers)

    def _ask_both(self, other: Conversation) -> None:
        main = self.main.sheet
        other.sheet = replace(other.sheet, prompt=main.prompt, templated=main.templated, seed=main.seed)
        for talk in (self.main, other):
            try:
                talk.ask(self.request(talk, talk.sheet), self.session.talks.models)
            except UserError as error:
                self.fail(str(error))
                return
        self.show_answer()

    def new_seed(self) -> None:
        if not self.main.locked:
            super().new_seed()

    def on_answer_pane_wanted(self, event: AnswerPane.Wanted) -> None:
        pane = event.pane
        if event.what != "ended":  # that comes by itself, whatever is looked at
            self.side = pane.side if self.main.other is not None else "a"
        if event.what == "bars":
            self.show_part("next")
        elif event.what == "again":
            self._again(pane)
        elif event.what == "more":
            self._go_on(tuple(pane.tokens), None, "on")
        elif event.what == "edited":
            self._go_on(tuple(pane.tokens), event.text, "edited")
        elif event.what == "copy":
            self.action_copy()
        elif event.what == "ended":
            if (job := pane.talk.job) is not None:
                self.tell_passed_over(job)
            self._compare_words()
        else:
            self._look()
        self.show_keys()

    def _again(self, pane: AnswerPane) -> None:
        shown = pane.shown
        if shown is None or not self.ready_to_ask():
            return
        asked = shown.request if isinstance(shown, PromptJob) else shown
        self.new_seed()
        self.write_back()
        self._ask_again(replace(self.talk.sheet, prompt=asked.prompt, templated=asked.templated))

    # -- the editor ----------------------------------------------------------------------------------------------------

    def on_editor_sent(self, event: Editor.Sent) -> None:
        event.stop()
        self.action_run()

    def on_text_area_changed(self, event: TextArea.Changed) -> None:
        event.stop()
        editor = self._ask.editor
        if event.text_area is editor and editor.text != clean(self.main.sheet.prompt):
            self.write_back()
            editor.untouched = self.main.untouched
            self._count_tokens()

    def on_editor_turned(self, event: Editor.Turned) -> None:
        event.stop()
        side, self.side = self.side, "a"
        self.turn_history(event.by)
        self.side = side

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self.seed_typed(event.value)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.action_run()

    def seed_typed(self, value: str) -> None:
        if value != self.main.sheet.seed and self.seed.has_focus:
            self.main.locked = True
            self.write_back()
            self.say_lock()

    def focus_editor(self) -> None:
        self.show_part("ask-pane")

    def action_lock(self) -> None:
        self.main.locked = not self.main.locked
        self.say_lock()

    def _count_tokens(self) -> None:
        """Have the tokens of what is written counted; of several questions the newest is answered."""
        run, view, sheet = self.session.run, self.session.view, self.main.sheet
        template = self.template() if sheet.templated else None
        text = template.apply(sheet.prompt) if template is not None else sheet.prompt
        asked = (run, text, len(view.checkpoints) > 0 if view is not None else False)
        if run is None or asked == self._count_asked:
            return
        self._count_asked = asked
        vocabularies = self.session.talks.models.vocabularies

        def show(found: Counted) -> None:
            self._counted = found
            self._ask.say_below(self._counted_words())

        self.session.works.ask("count", lambda _: count(vocabularies, run, text), show)

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

    # -- actions -------------------------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Whether the action means something now."""
        if action == "step":
            return self._focused_pane() is self._sampling
        if action == "template":
            return self.template() is not None
        if action == "back":
            return True
        if action == "copy":
            return bool(self.pane.text.answer)
        if action == "save":
            return bool(self.output)
        if action == "chat":
            return self.main.run is not None and self.template() is not None
        if action == "new_chat":
            return self.main.chatting and bool(self.main.chat)
        if action in ("grid", "compare"):
            return self.main.run is not None and not self.main.chatting
        return super().check_action(action, parameters)

    def relabel(self, action: Action) -> Action:
        """The footer's word for an action as things stand."""
        words = {"chat": "single prompts" if self.main.chatting else "", "compare": "one" if self.main.other else ""}
        return replace(action, label=words.get(action.do) or action.label)

    def action_step(self, by: int) -> None:
        self._sampling.step(by)

    def action_copy(self) -> None:
        """The answer, by the escape sequence that most terminals know (OSC 52); none of them says that it took it."""
        text = self.pane.text.answer or self.pane.text.text
        if text:
            self.app.copy_to_clipboard(text)
            said = f"{len(text):,} characters sent to the clipboard (OSC 52); not every terminal takes them"
            self.session.notices.append(Notice(said))

    def action_compare(self) -> None:
        """Two answers side by side, or one again."""
        if self.main.other is None:
            self.write_back()
            self.main.other = Conversation(self.main.run, self.main.history)
            self.main.other.sheet, self.main.other.source = self.main.sheet, self.source
            self.side = "b"
        else:
            self.main.other.stop()
            self.main.other, self.side = None, "a"
            self._answers["a"].text.differ(None)
        self._compared = None
        self._answers["b"].set_class(self.main.other is None, "away")
        self.show_sheet()
        self.show_answer()
        if self._focused_pane() in (None, self._answers["b"]):
            self.show_part("answer-a")
        self._arrange()
        self._look()

    def _compare_words(self) -> None:
        """Have what the two answers differ in bright, and the rest dim."""
        if self.main.other is None:
            return
        texts = (self._answers["a"].text.answer, self._answers["b"].text.answer)
        if not all(texts) or any(pane.streaming for pane in self._answers.values()) or texts == self._compared:
            return
        self._compared = texts

        def differ(_: object) -> tuple[set[int], set[int]]:
            from engine.text.diff import compare_words

            spans = [span for span in compare_words(*texts) if not span.same]
            return (
                {place for span in spans for place in range(span.start, span.end)},
                {place for span in spans for place in range(span.other_start, span.other_end)},
            )

        def show(found: tuple[set[int], set[int]]) -> None:
            if self.main.other is not None and texts == self._compared:
                for name, places in zip("ab", found, strict=True):
                    self._answers[name].text.differ(places)

        self.session.works.ask("words that differ", differ, show)

    def action_back(self) -> None:
        """Stop the answer; else one level out: from the bars and sliders to the output, from there to the editor."""
        pane = self._focused_pane()
        if isinstance(pane, AnswerPane) and pane.editing:
            pane.stop_editing()
        elif self.busy:
            self.stop()
        elif isinstance(pane, AnswerPane) and pane.text.cursor is not None:
            pane.text.go_to(None)
        elif isinstance(pane, AnswerPane):
            self.show_part("ask-pane")
        else:
            self.show_part(self.pane.id or "answer-a")

    def on_click(self, event: events.Click) -> None:
        widget = event.widget
        if widget is self._ask and event.y == 0:
            self.action_source()
        elif widget is self._sampling and event.y == 0:
            self.action_preset()
        elif widget is not None and widget.id == "lock":
            self.action_lock()

    # -- layout --------------------------------------------------------------------------------------------------------

    def on_resize(self, event: events.Resize) -> None:
        self._arrange()

    def on_descendant_focus(self) -> None:
        pane = self._focused_pane()
        if isinstance(pane, AnswerPane) and self.main.other is not None and pane.side != self.side:
            self.write_back()
            self.side = pane.side
            self.show_sheet()
            self._look()
        self._arrange()
        self.show_keys()

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
            hidden = pane is self._answers["b"] and self.main.other is None
            pane.set_class(hidden or not self._sees(pane.id or ""), "away")
        for name, panes in (("left", PARTS["prompt"]), ("right", PARTS["sampling"])):
            self.query_one(f"#{name}").set_class(not any(self._sees(pane) for pane in panes), "away")
        self.query_one("#answers").set_class(not self._sees("answer-a") and not self._sees("answer-b"), "away")
        focused = self._focused_pane()
        here = focused.id if focused is not None else "ask-pane"
        self.query_one("#tabs-two", PaneTabs).show_tab(next((n for n, half in PARTS.items() if here in half), ""))
        tab = next((n for n, pane in NAMES.items() if pane == here), "output")
        self.query_one("#tabs-four", PaneTabs).show_tab(tab)
        self.call_after_refresh(self.update)

    def show_part(self, pane: str) -> None:
        """The focus to a pane, which is seen then."""
        target = self.query_one(f"#{pane}", Pane)
        for node in (target, *target.ancestors):
            node.remove_class("away")
        target.focus_target()
        self._arrange()

    def on_pane_tabs_picked(self, event: PaneTabs.Picked) -> None:
        self.show_part(NAMES[event.name] if self._layout != TWO else PARTS[event.name][0])

    def action_step_focus(self, by: int) -> None:
        """The next pane, or the one before."""
        panes, here = self._panes(), self._focused_pane()
        at = panes.index(here) if here in panes else -1
        self.show_part(panes[(at + by) % len(panes)].id or "")
