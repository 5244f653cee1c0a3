"""The token that is looked at, and what goes on from it or comes in the place of the answer."""

from __future__ import annotations

import math
from dataclasses import replace

from engine.errors import UserError
from tui.screens.prompt.answer import AnswerPane
from tui.screens.prompt.parts import PromptParts
from tui.state.conversation import CHAT, Sheet
from tui.state.looking import Look, look
from tui.state.prompting import ChatSoFar, PromptJob
from tui.state.tokens import Token
from tui.widgets.bars import NextTokenBars


class Walking(PromptParts):
    """Screen 2 as far as it is about one token of the output, or another answer to the same prompt."""

    def on_answer_pane_looked(self) -> None:
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
            settings = self.talk.sheet.settings().replace(seed=None)
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
        turns, template = self.talk.turns_before(shown), self.template()
        if turns is not None and template is not None:
            chat = ChatSoFar(template, turns, self.context_size())
            request = replace(request, chat=chat, how=f"{CHAT} {how}".strip())
        self.talk.ask(request, self.session.talks.models)
        self.show_answer()

    def _again(self, pane: AnswerPane) -> None:
        shown = pane.shown
        if shown is None or not self.ready_to_ask():
            return
        asked = shown.request if isinstance(shown, PromptJob) else shown
        self.new_seed()
        self.write_back()
        self._ask_again(replace(self.talk.sheet, prompt=asked.prompt, templated=asked.templated))
