"""The output: an answer as it comes, token by token, and all others to the same prompt."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.content import Content
from textual.message import Message

from tui.actions import bindings
from tui.screens.prompt.editor import Editor
from tui.screens.prompt.words import asked_of, source_words
from tui.state.conversation import Conversation, Shown, turn_of
from tui.state.history import Prompted
from tui.state.prompting import LIVE, Outcome, PromptJob
from tui.state.session import Session
from tui.state.tokens import Token, Written, tokens_of
from tui.text import clean, fmt_count
from tui.theme import only_marks
from tui.widgets.pane import Pane
from tui.widgets.tokentext import IN_MARKS, LEGEND, TokenText

EMPTY = "the answer streams here; ⏎ in the editor sends the prompt"
EMPTY_CHAT = "say something below; each turn is answered after all before it"
GAP = ("  ", "")


class AnswerPane(Pane):
    """Shows the answer of a conversation; `tick` moves what the model wrote to the screen."""

    scope = "answer"
    title = "output"
    about: ClassVar[str] = (
        "The answer, token by token: ← → walk, and the bars show what else "
        "could have stood there. ⏎ goes to the bars, where ⏎ on another "
        "token goes on from it. e edits the answer as text and goes on from "
        "there; m goes on from its end. "
        "Every answer stays: [ ] walk through all to the same prompt. "
        "ctrl+u tints each token by its surprise, -log2 of its probability "
        "before the rules: dim below 1 bit, underlined from 9 on."
    )
    BINDINGS: ClassVar[list[BindingType]] = bindings("answer")

    class Looked(Message):
        """Another token is looked at, or there are more."""

    @dataclass
    class Wanted(Message):
        """Something is asked for: `again`, `more`, `bars`, `edited` (with its text), `version` (by so many), `copy`,
        `ended`."""

        pane: AnswerPane
        what: str
        text: str = ""
        by: int = 0

    def __init__(self, session: Session, side: str) -> None:
        super().__init__(id=f"answer-{side}")
        self.side = side
        self.session = session
        self.talk = Conversation(None, None)
        self.shown: Shown = None
        self.written = Written()
        self.text = TokenText(empty=EMPTY, id=f"output-{side}")
        self.tinted = False
        self.compared = False
        """Whether the pane is one of two."""
        self.chatting = False
        self._job: PromptJob | None = None
        self._raw = 0
        self._whole = 0
        self._held = 0
        self._editor = Editor(id=f"edit-{side}", history=False)
        self._editor.display = False

    def compose(self) -> ComposeResult:
        yield self.text
        yield self._editor

    def focus_target(self) -> None:
        (self._editor if self.editing else self.text).focus()

    # -- what is shown -------------------------------------------------------------------------------------------------

    @property
    def streaming(self) -> bool:
        """Whether more may come."""
        return self._job is not None

    def sync(self, talk: Conversation) -> None:
        """Show what the conversation shows, if that is another answer."""
        if talk is not self.talk or talk.shown is not self.shown:
            self.talk = talk
            self.show_answer()
        self.say()

    def show_answer(self) -> None:
        """The answer from its beginning, and then as it is written."""
        shown = self.shown = self.talk.shown
        self.stop_editing()
        self.session.works.drop(f"tokens {self.side}")
        self._job = shown if isinstance(shown, PromptJob) else None
        self._begin(self._job.written if self._job is not None else Written())
        if isinstance(shown, Prompted):
            self.text.append(shown.text)
            self.text.finish()
            self.written = Written()
            self._find_tokens(shown)
            if shown.problem:
                self.text.fail(shown.problem)
            elif shown.text:
                self.text.scroll_home(animate=False)
        self.tick()
        self.say()
        self.post_message(self.Looked())

    def _begin(self, written: Written) -> None:
        self.written, self._raw, self._whole = written, 0, 0
        turns = self.talk.turns_before(self.shown)
        if turns is None or self.shown is None:
            self.text.start(asked_of(self.shown))
            return
        told = [f"❯ {prompt}\n{answer.strip()}\n\n" for prompt, answer in turns]
        self._held = self._job.held if self._job is not None else len(turns)
        out = "".join(clean(turn) for turn in told[: len(turns) - self._held])
        self.text.start("".join(told) + f"❯ {turn_of(self.shown)[0]}\n", out_of_context=len(out))

    def _find_tokens(self, entry: Prompted) -> None:
        """What was kept of an answer are its tokens' numbers; their texts are the tokenizer's."""
        run, vocabularies = self.talk.run, self.session.talks.models.vocabularies
        if run is None or not entry.text:
            return

        def find(_: object) -> list[Token] | None:
            tokenizer = vocabularies.of(run)
            return tokens_of(tokenizer, entry.ids, entry.text) if tokenizer is not None else None

        def found(tokens: list[Token] | None) -> None:
            known = tokens is not None and "".join(token.text for token in tokens).startswith(entry.text)
            if tokens is None or not known or self.shown is not entry:
                return
            written = Written(tokens)
            written.pieces, written.certain = [entry.text], len(entry.text)
            self._begin(written)
            self._more()
            if entry.problem:
                self.text.fail(entry.problem)
            self.text.scroll_home(animate=False)
            self.say()
            self.post_message(self.Looked())

        self.session.works.ask(f"tokens {self.side}", find, found)

    def tick(self) -> None:
        """Show what came since the last call."""
        job = self._job
        if job is None:
            return
        if job.request.chat is not None and job.held != self._held:  # known since it began to write
            self._begin(job.written)
        done = job.done  # before the tokens: what comes after the look is shown the next time
        if self._more():
            self.post_message(self.Looked())
        if done:
            self._job = None
            if rest := self.written.text[self._raw :]:  # a token that a stop string cut
                self.text.append_tokens([rest])
            self.text.finish()
            if job.error is not None:
                self.text.fail(job.error)
            if self.tinted:
                self.text.tint(self._bits())
            self.post_message(self.Wanted(self, "ended"))
        self.say()

    def _more(self) -> bool:
        """The tokens whose text is certain by now; whether there were new ones."""
        certain, texts = self.written.certain, list[str]()
        for token in self.written.tokens[self._whole :]:
            if self._raw + len(token.text) > certain:
                break
            texts.append(token.text)
            self._raw += len(token.text)
        if texts:
            self._whole += len(texts)
            if self.tinted:
                self.text.tint(self._bits())
            self.text.append_tokens(texts)
        return bool(texts)

    def _bits(self) -> list[float | None]:
        return [None if token.loss is None else token.loss / math.log(2) for token in self.written.tokens]

    @property
    def tokens(self) -> list[Token]:
        """Those that are shown whole."""
        return self.written.tokens[: self._whole]

    @property
    def at(self) -> int | None:
        """The token looked at: the one under the cursor, or the newest."""
        if not self._whole:
            return None
        cursor = self.text.cursor
        return self._whole - 1 if cursor is None else min(cursor, self._whole - 1)

    @property
    def seed(self) -> int | None:
        """That the answer was drawn with."""
        if isinstance(self.shown, PromptJob):
            outcome = self.shown.outcome
            return outcome.seed if outcome is not None else self.shown.request.settings.seed
        seed = self.shown.settings.get("seed") if self.shown is not None else None
        return seed if type(seed) is int else None

    # -- what is said about it -----------------------------------------------------------------------------------------

    def say(self) -> None:
        """Title and subtitle as things stand."""
        self.text.empty = EMPTY_CHAT if self.chatting else EMPTY
        title: list[tuple[str, str]] = [
            (f"output {self.side.upper()}" if self.compared else "chat" if self.chatting else "output", "")
        ]
        at, count = self.talk.version
        if count > 1:
            title += [GAP, (f"{at} of {count}", "bold $bright"), (" ◀ ▶", "$accent")]
        width = self.size.width
        if self.compared:
            title += [GAP, (self._weights(), "$bright")]
        elif self.seed is not None and self.shown is not None and width >= 44:
            title += [GAP, (f"seed {self.seed}", "$dim")]
        if (step := self._step()) is not None and width >= 44:
            title += [GAP, (f"step {step:,}", "$dim")]
        if self.editing:
            title += [GAP, ("editing", "bold $accent")]
        self.say_title(Content.assemble(*title))
        self.say_below(self._below(width - 6))

    def _weights(self) -> str:
        shown = self.shown
        asked = shown.request if isinstance(shown, PromptJob) else self.talk
        name = f"{clean(self.talk.run.name, keep_newlines=False)} " if self._elsewhere() and self.talk.run else ""
        return name + (source_words(asked.source, asked.int8) if asked.source is not None else "")

    def _elsewhere(self) -> bool:
        return self.talk.run is not None and self.talk.run != self.session.run

    def _step(self) -> int | None:
        if isinstance(self.shown, PromptJob):
            return self.shown.outcome.step if self.shown.outcome is not None else None
        return self.shown.step if self.shown is not None else None

    def _below(self, width: int) -> Content:
        shown = self.shown
        if self.editing:
            return Content("⏎ goes on from here   esc gives up")
        if self.text.failed:
            return Content.styled("✖ not answered", "$alarm")
        if shown is None:
            return Content("")
        said = self._streaming_words() if self._job is not None else self._ended_words(shown)
        if self.tinted:
            legend = IN_MARKS if only_marks(self.app) else LEGEND
            said.append(legend if len(said[0]) + len(legend) + 2 <= width else legend.partition(": ")[2])
        chat = shown.request.chat if isinstance(shown, PromptJob) else None
        if isinstance(shown, PromptJob) and chat is not None and shown.held < len(chat.turns):
            said.append(f"{len(chat.turns) - shown.held} of {len(chat.turns)} turns out of context")
        if not self.text.following and self._job is not None:
            said.append("↓ more")
        while len("  ".join(said)) > width and len(said) > 1:
            said.pop(1 if len(said) > 2 else -1)
        return Content("  ".join(said))

    def _streaming_words(self) -> list[str]:
        assert self._job is not None
        if not self.written.tokens:
            return ["waiting for the weights" if self._job.request.source == LIVE else "loading the checkpoint"]
        return [f"{len(self.written.tokens)} tokens", "writing", "esc stops"]

    def _ended_words(self, shown: PromptJob | Prompted) -> list[str]:
        if isinstance(shown, PromptJob):
            outcome, templated = shown.outcome or Outcome(), shown.request.templated
        else:
            outcome = Outcome(
                shown.stop_reason, None, shown.step, shown.tokens, tokens_per_second=shown.tokens_per_second
            )
            templated = shown.templated
        if outcome.stop_reason == "not sent":
            return ["not sent"]
        tokens = outcome.tokens or len(self.written.tokens)
        said = [f"{tokens:,} tokens"]
        if outcome.tokens_per_second:
            said.append(f"{fmt_count(outcome.tokens_per_second)} tok/s")
        ends = {"length": "max tokens reached", "cancelled": "stopped"}
        said.append(ends.get(outcome.stop_reason, "ended at the record's end" if templated else "ended by itself"))
        if (loss := self.written.loss) is not None:
            said.append(f"loss {loss:.2f}")
        if isinstance(shown, Prompted) and not self._whole:
            said.append("from history")
        return said

    def on_resize(self) -> None:
        self.say()

    # -- keys ----------------------------------------------------------------------------------------------------------

    @property
    def editing(self) -> bool:
        """Whether the answer is being edited."""
        return bool(self._editor.display)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if self.editing:
            return False
        if action in ("bars", "edit", "tint", "copy"):
            return bool(self.text.answer) if action == "copy" else bool(self._whole)
        if action in ("again", "more"):
            return self.shown is not None and (action == "again" or bool(self._whole))
        if action == "version":
            return self.talk.version[1] > 1
        return True

    def action_bars(self) -> None:
        self.post_message(self.Wanted(self, "bars"))

    def action_again(self) -> None:
        self.post_message(self.Wanted(self, "again"))

    def action_more(self) -> None:
        self.post_message(self.Wanted(self, "more"))

    def action_copy(self) -> None:
        self.post_message(self.Wanted(self, "copy"))

    def action_version(self, by: int) -> None:
        if self.talk.turn_version(by):
            self.show_answer()
            self.post_message(self.Wanted(self, "version", by=by))

    def on_click(self, event: events.Click) -> None:
        if (said := self.title_at(event)) in ("◀", "▶") and self.talk.version[1] > 1:
            self.action_version(1 if said == "▶" else -1)

    def action_tint(self) -> None:
        self.tinted = not self.tinted
        self.text.tint(self._bits() if self.tinted else None)
        self.say()

    def action_edit(self) -> None:
        if self._job is not None:
            self._job.cancel()
        self._editor.put(self.written.text)
        self._editor.display, self.text.display = True, False
        self._editor.focus()
        self.say()

    def stop_editing(self) -> None:
        """Show the answer as it was."""
        if self.editing:
            had = self._editor.has_focus
            self._editor.display, self.text.display = False, True
            if had:
                self.text.focus()
            self.say()

    def on_editor_sent(self, event: Editor.Sent) -> None:
        event.stop()
        text = self._editor.text
        self.stop_editing()
        self.post_message(self.Wanted(self, "edited", text))

    def on_token_text_moved(self, event: TokenText.Moved) -> None:
        event.stop()
        self.post_message(self.Looked())
