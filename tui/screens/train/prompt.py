"""The prompt pane: a prompt to the weights in training or to a checkpoint, how to sample, and what comes of it."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.widgets import Input

from engine.sampling.settings import SamplingSettings
from tui.actions import bindings
from tui.screens.prompt.asking import TICK, Asking
from tui.screens.prompt.sliders import make_sliders, seed_input
from tui.screens.prompt.words import asked_of, from_history, titled
from tui.screens.train.promptinput import PromptInput
from tui.state.conversation import Conversation, Shown
from tui.state.prompting import LIVE, Outcome, PromptJob
from tui.state.session import Session
from tui.text import clean, fit, fmt_count
from tui.widgets.pane import Pane
from tui.widgets.rows import Rows
from tui.widgets.slider import top_k_scale
from tui.widgets.stream import OutputText

EMPTY = "the answer streams here; ⏎ sends"
SLIDERS = ("temperature", "top_k", "top_p", "max_tokens")
ELSEWHERE = ("copy", "compare", "grid", "chat", "new_chat", "preset", "step_focus", "back")
"""Of the prompt's actions those that screen 2 has alone."""


class PromptPane(Asking, Pane):
    """Shows the conversation with the session's run; `tick` moves what the model wrote to the screen."""

    scope = "prompt"
    title = "prompt"
    about: ClassVar[str] = (
        "Asks the weights that are training now, without stopping them, or any "
        "checkpoint. Enter sends, escape stops; an answer goes on while you look "
        "elsewhere. In the input ↑ ↓ walk through what you asked; what you type "
        "and do not send stays at its place, a new prompt below the newest. "
        "alt+enter or ctrl+j makes a new line; it is shown as ⏎. "
        "A slider also takes a typed value, or off where it has one. "
        "Screen 2 has the same conversation with more room: 2 goes there. "
        "Every prompt is kept with its settings in the run's prompts.jsonl."
    )
    BINDINGS: ClassVar[list[BindingType]] = bindings("prompt")

    def __init__(self, session: Session) -> None:
        super().__init__(id="prompt")
        self.session = session
        self.talk = Conversation(None, None)
        self._shown: Shown = None
        self._streaming: PromptJob | None = None
        self._written = 0
        self._said: str | None = ""
        self._ask = PromptInput(id="ask")
        self._answer = OutputText(empty=EMPTY, id="answer")
        self.sliders = make_sliders(SLIDERS)
        self.seed = seed_input()

    def compose(self) -> ComposeResult:
        with Horizontal(id="ask-row"):
            yield Rows(id="ask-mark")
            yield self._ask
        yield self._answer
        yield from self.sliders.values()
        with Horizontal(id="seed-row"):
            yield Rows(id="seed-label")
            yield self.seed
            yield Rows(id="lock")

    def on_mount(self) -> None:
        self._ticker = self.set_interval(TICK, self.tick, pause=True)
        self.query_one("#ask-mark", Rows).show([[("❯", "accent bold")]])
        self.query_one("#seed-label", Rows).show([[(" seed", "dim")]])
        self.show_sheet()

    def on_unmount(self) -> None:
        self.write_back()

    def focus_target(self) -> None:
        self._ask.focus()

    def focus_editor(self) -> None:
        self._ask.focus()

    @property
    def written(self) -> str:
        return self._ask.text

    @property
    def output(self) -> str | None:
        return None if self._answer.failed else self._answer.text

    # -- the run and what is asked of it -------------------------------------------------------------------------------

    def run_changed(self) -> None:
        """Another run is shown, or none: its conversation, vocabulary and template."""
        self.write_back()
        self.talk = self.conversation_with(self.talk)
        self.sliders["top_k"].scale = top_k_scale(self.vocab_size())
        self._ask.placeholder = self.example()
        self.show_sheet()
        self.show_answer()

    def sync(self) -> None:
        """What was written, set, asked or read elsewhere since the last look."""
        self.agree()
        if self.talk.shown is not self._shown:
            self.show_answer()
        self._ask.placeholder = self.example()
        self.show_source()

    def show_sheet(self) -> None:
        if self._ask.text != clean(self.talk.sheet.prompt):
            self._ask.text = self.talk.sheet.prompt
        self.show_values()
        self.say_lock()
        self.show_source()

    def show_answer(self) -> None:
        """What the conversation shows, from its beginning, and then as it is written."""
        shown, self._streaming = self.talk.shown, None
        self._shown = shown
        if isinstance(shown, PromptJob):
            self._streaming, self._written = shown, 0
            self._answer.start(asked_of(shown))
            self._subtitle("waiting for the weights" if shown.request.source == LIVE else "loading the checkpoint")
            self._ticker.resume()
            self.tick()
        elif shown is not None:
            self._answer.set_text(shown.text, asked_of(shown))
            self._subtitle(from_history(shown))
            if shown.problem:
                self._say_failed(shown.problem)
        else:
            self._answer.clear()
            self._subtitle("")

    def show_source(self) -> None:
        """Say in the border whom the prompt goes to, and in which format."""
        self.say_title(titled(("prompt", ""), ("  ", ""), *self.source_parts(self.size.width)))

    # -- asking --------------------------------------------------------------------------------------------------------

    def settings(self) -> SamplingSettings:
        """The sliders as settings; raises UserError for a seed that is none."""
        self.write_back()
        template = self.template() if self.talk.sheet.templated else None
        return self.talk.sheet.settings(template.stops if template is not None else ())

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.action_run()

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        if event.input is self.seed:
            self.seed_typed(event.value)
        elif self._ask.has_focus:
            self.write_back()

    def tick(self) -> None:
        """Show what came since the last call."""
        job = self._streaming
        if job is None:
            self._ticker.pause()
            return
        done = job.done  # before the pieces: what comes after the look is shown the next time
        if pieces := job.written.pieces[self._written :]:
            self._written += len(pieces)
            self._answer.append("".join(pieces))
            self._subtitle(f"writing  {self._written} tokens  esc stops")
        if done:
            self._streaming = None
            self._answer.finish()
            self._subtitle(_how_it_ended(job.outcome or Outcome(), self._written))
            self.tell_passed_over(job)
            if job.error is not None:
                self._say_failed(job.error)

    @property
    def busy(self) -> bool:
        return super().busy or self._streaming is not None

    def fail(self, problem: str) -> None:
        self._answer.start()
        self._say_failed(problem)

    def _say_failed(self, problem: str) -> None:
        """Say what went wrong where there is room for all of it."""
        self._answer.fail(problem)
        self._said = None
        self.say_below(Content.styled("✖ not answered", "$alarm"))

    def _subtitle(self, text: str) -> None:
        self._said = text
        self.say_below(Content(fit(text, min(len(text), max(10, self.size.width - 6)))))

    # -- actions -------------------------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return action not in ELSEWHERE

    def action_step(self, by: int) -> None:
        """The row above or below."""
        if by < 0:
            self.screen.focus_previous()
        else:
            self.screen.focus_next()

    def on_prompt_input_turned(self, event: PromptInput.Turned) -> None:
        self.turn_history(event.by)

    def say_lock(self) -> None:
        said = ("■ locked", "bright") if self.talk.locked else ("□ lock", "dim")
        self.query_one("#lock", Rows).show([[said, ("  ^l", "accent")]])

    def on_resize(self) -> None:
        self.show_source()
        if self._said is not None:
            self._subtitle(self._said)

    def on_click(self, event: events.Click) -> None:
        if self.on_title(event):
            self.action_source()
        elif event.widget is not None and event.widget.id == "lock":
            self.action_lock()


def _how_it_ended(outcome: Outcome, written: int) -> str:
    parts = [{"length": "done", "stop": "done", "cancelled": "stopped"}.get(outcome.stop_reason, "done")]
    parts.append(f"{outcome.tokens or written} tokens")
    if outcome.tokens_per_second:
        parts.append(f"{fmt_count(outcome.tokens_per_second)} tok/s")
    if outcome.seed is not None:
        parts.append(f"seed {outcome.seed}")
    if outcome.step is not None:
        parts.append(f"step {outcome.step:,}")
    return "  ".join(parts)
