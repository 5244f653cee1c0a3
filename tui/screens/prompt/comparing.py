"""Two answers beside each other, and answers after each other: A/B and chat."""

from __future__ import annotations

from dataclasses import replace

from engine.errors import UserError
from tui.screens.prompt.walking import Walking
from tui.state.conversation import CHAT, Conversation, turn_of
from tui.state.prompting import ChatSoFar


class Comparing(Walking):
    """Screen 2 as far as it is about more than one answer."""

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

    def action_compare(self) -> None:
        """Two answers side by side, or one again."""
        if self.main.other is None:
            self.write_back()
            self.main.other = Conversation(self.main.run, self.main.history)
            self.main.other.sheet, self.main.other.source = self.main.sheet, self.source
            self.main.other.int8 = self.main.int8
            self.side = "b"
        else:
            self.main.other.stop()
            self.main.other, self.side = None, "a"
            self._answers["a"].text.differ(None)
        self._compared = None
        self._answers["b"].display = self.main.other is not None
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

    # -- chat ----------------------------------------------------------------------------------------------------------

    def _say(self) -> None:
        """What is written, after all that was said."""
        talk, template = self.main, self.template()
        if template is None or not talk.sheet.prompt.strip():
            return
        turns = tuple(turn_of(turn) for turn in talk.chat)
        try:
            request = self.request(talk, replace(talk.sheet, templated=True), how=CHAT)
        except UserError as error:
            self.fail(str(error))
            return
        talk.ask(replace(request, chat=ChatSoFar(template, turns, self.context_size())), self.session.talks.models)
        talk.sheet = replace(talk.sheet, prompt="")
        self.show_sheet()
        self.show_answer()

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
