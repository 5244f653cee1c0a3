"""The prompt pane: a prompt to the weights in training or to a checkpoint, how to sample, and what comes of it."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.widgets import Input

from engine.errors import UserError
from engine.sampling.settings import SamplingSettings
from tui.actions import bindings
from tui.screens.dialogs.choose import Choice, ChooseScreen
from tui.screens.train.promptinput import PromptInput
from tui.state.conversation import Conversation, Sheet
from tui.state.history import Prompted
from tui.state.news import Notice
from tui.state.outputs import save_output
from tui.state.prompting import LIVE, Outcome, PromptJob, Request
from tui.state.session import Session
from tui.state.settings import keep_prompt, own_prompts
from tui.state.summary import name_in
from tui.text import clean, fit, fmt_count, fmt_loss
from tui.widgets.pane import Pane
from tui.widgets.rows import Rows
from tui.widgets.slider import TEMPERATURE, TOP_P, Scale, Slider, top_k_scale
from tui.widgets.stream import OutputText

EMPTY = "the answer streams here; ⏎ sends"
TOKENS = Scale(1, 4000, step=1, fine=1, coarse=1, digits=0, log=True)
TICK = 0.1
"""Seconds between two looks at what the model wrote."""
SEED_DIGITS = 19
"""Of the greatest seed, 2^63 - 1."""


class PromptPane(Pane):
    """Shows the conversation with the session's run; `tick` moves what the model wrote to the screen."""

    scope = "prompt"
    title = "prompt"
    about: ClassVar[tuple[str, ...]] = (
        "Asks the weights that are training now, without stopping them, or any",
        "checkpoint. Enter sends, escape stops; an answer goes on while you look",
        "elsewhere. In the input ↑ ↓ walk through what you asked; what you type",
        "and do not send stays at its place, a new prompt below the newest.",
        "alt+enter or ctrl+j makes a new line; it is shown as ⏎.",
        "A slider also takes a typed value, or off where it has one.",
        "Every prompt is kept with its settings in the run's prompts.jsonl.",
    )
    BINDINGS: ClassVar[list[BindingType]] = bindings("prompt")

    def __init__(self, session: Session) -> None:
        super().__init__(id="prompt")
        self._session = session
        self._talk = Conversation(None, None)
        self._streaming: PromptJob | None = None
        self._written = 0
        self._said: str | None = ""
        self._ask = PromptInput(id="ask")
        self._answer = OutputText(empty=EMPTY, id="answer")
        self._sliders = {
            "temperature": Slider("temperature", 0.8, TEMPERATURE, id="temperature"),
            "top_k": Slider("top-k", 40, top_k_scale(65), id="top-k"),
            "top_p": Slider("top-p", 1.0, TOP_P, id="top-p"),
            "max_tokens": Slider("max tokens", SamplingSettings().max_tokens, TOKENS, id="tokens"),
        }
        self._defaults = {name: slider.value for name, slider in self._sliders.items()}
        self._seed = Input(type="integer", compact=True, max_length=SEED_DIGITS, id="seed")
        self._seed.cursor_blink = False

    def compose(self) -> ComposeResult:
        with Horizontal(id="ask-row"):
            yield Rows(id="ask-mark")
            yield self._ask
        yield self._answer
        yield from self._sliders.values()
        with Horizontal(id="seed-row"):
            yield Rows(id="seed-label")
            yield self._seed
            yield Rows(id="lock")

    def on_mount(self) -> None:
        self._ticker = self.set_interval(TICK, self.tick, pause=True)
        self.query_one("#ask-mark", Rows).show([[("❯", "accent bold")]])
        self.query_one("#seed-label", Rows).show([[(" seed", "dim")]])
        self._show_sheet()

    def on_unmount(self) -> None:
        self._write_back()

    def focus_target(self) -> None:
        self._ask.focus()

    # -- the run and what is asked of it -------------------------------------------------------------------------------

    def run_changed(self) -> None:
        """Another run is shown, or none: its conversation, vocabulary and template."""
        self._write_back()
        run, reader, before = self._session.run, self._session.view, self._talk
        if run is None or reader is None:
            self._talk = Conversation(None, None)
        else:
            self._talk = self._session.talks.of(run, reader.info.get("created"))
            if before.run is None and before.sheet.prompt.strip():  # typed while the run was on its way
                self._talk.write(before.sheet.prompt)
            tokenizer = reader.info.get("tokenizer") or {}
            vocab = tokenizer.get("vocab_size") if isinstance(tokenizer, Mapping) else None
            self._sliders["top_k"].scale = top_k_scale(int(vocab or 50_257))
        corpus = self._session.corpus()
        example = corpus.examples[0] if corpus is not None and corpus.examples else ""
        self._ask.placeholder = f"e.g. {clean(example, keep_newlines=False)}" if example else "type a prompt"
        self._show_sheet()
        self._show_answer()

    def _write_back(self) -> None:
        """What the widgets hold becomes the conversation's."""
        self._talk.sheet = Sheet(
            self._ask.text,
            self._talk.sheet.templated,
            {name: slider.value for name, slider in self._sliders.items()},
            self._seed.value,
        )

    def _show_sheet(self) -> None:
        sheet = self._talk.sheet
        self._ask.text = sheet.prompt
        for name, slider in self._sliders.items():
            slider.set_value(sheet.values.get(name, self._defaults[name]))
        self._seed.value = sheet.seed
        self._say_lock()
        self.show_source()

    def _show_answer(self) -> None:
        """What the conversation shows, from its beginning, and then as it is written."""
        shown, self._streaming = self._talk.shown, None
        if isinstance(shown, PromptJob):
            self._streaming, self._written = shown, 0
            self._answer.start("" if shown.request.templated else shown.request.prompt)
            self._subtitle("waiting for the weights" if shown.request.source == LIVE else "loading the checkpoint")
            self._ticker.resume()
            self.tick()
        elif shown is not None:
            self._answer.set_text(shown.text, "" if shown.templated else shown.prompt)
            self._subtitle(_from_history(shown))
            if shown.problem:
                self._fail(shown.problem)
        else:
            self._answer.clear()
            self._subtitle("")

    @property
    def source(self) -> str | int:
        """Whom the prompt goes to: the live weights while there are any, unless a checkpoint was chosen."""
        chosen = self._talk.source
        if chosen is None or (chosen == LIVE and not self._session.live):
            return LIVE if self._session.live else "best"
        return chosen

    def show_source(self) -> None:
        """Say in the border whom the prompt goes to, and in which format."""
        source = self.source
        word = {LIVE: "live weights", "best": "best checkpoint", "last": "last checkpoint"}.get(str(source))
        parts = [("prompt", ""), ("  ", ""), (word or f"checkpoint {source:,}", "bold $bright"), (" ▾", "$accent")]
        if self._template() is not None:
            reader = self._session.view
            name = name_in(reader.info, "corpus") if reader is not None else ""
            said = f"{clean(name, keep_newlines=False)} format" if self._talk.sheet.templated else "as typed"
            if len(said) + 32 < self.size.width:
                parts.append((f"  {said}", "$dim"))
        self.say_title(Content.assemble(*parts))

    def _template(self) -> Any:
        try:
            return self._session.template()
        except UserError:
            return None

    # -- asking --------------------------------------------------------------------------------------------------------

    def settings(self) -> SamplingSettings:
        """The sliders as settings; raises UserError for a seed that is none."""
        typed = self._seed.value.strip()
        try:
            seed = int(typed) if typed else None
        except ValueError:
            raise UserError(f"seed must be a whole number, not {typed!r}") from None
        template = self._template() if self._talk.sheet.templated else None
        return SamplingSettings(
            temperature=self._sliders["temperature"].value,
            top_k=int(self._sliders["top_k"].value),
            top_p=self._sliders["top_p"].value,
            max_tokens=int(self._sliders["max_tokens"].value),
            seed=seed,
            stop=template.stops if template is not None else (),
        ).check()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.action_run()

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        if event.input is self._seed and event.value != self._talk.sheet.seed and self._seed.has_focus:
            self._talk.locked = True  # a seed that was typed is the one that is meant
            self._say_lock()

    def on_slider_typing(self) -> None:
        """The keys of a slider change while a value is typed."""
        show_keys = getattr(self.screen, "show_keys", None)
        if show_keys is not None:
            show_keys()

    def action_run(self) -> None:
        run = self._talk.run
        if run is None or run != self._session.run:  # or another is being opened
            self._answer.start()
            self._fail("no run is open; n starts one, r lists them")
            return
        if not self._talk.locked:
            self._seed.value = str(random.randrange(10_000))
        self._write_back()
        sheet = self._talk.sheet
        template = self._template() if sheet.templated else None
        try:
            settings = self.settings()
        except UserError as error:
            self._answer.start()
            self._fail(str(error))
            return
        applied = template.apply(sheet.prompt) if template is not None else sheet.prompt or "\n"
        request = Request(run, self.source, sheet.prompt, applied, settings, template is not None)
        self._talk.ask(request, self._session.talks.models)
        self._show_answer()

    @property
    def busy(self) -> bool:
        """Whether a prompt is under way."""
        return self._talk.busy or self._streaming is not None

    def stop(self) -> None:
        """Stop the prompt under way; what it wrote stays."""
        self._talk.stop()

    def tick(self) -> None:
        """Show what came since the last call."""
        job = self._streaming
        if job is None:
            self._ticker.pause()
            return
        done = job.done  # before the pieces: what comes after the look is shown the next time
        if pieces := job.pieces[self._written :]:
            self._written += len(pieces)
            self._answer.append("".join(pieces))
            self._subtitle(f"writing  {self._written} tokens  esc stops")
        if done:
            self._streaming = None
            self._answer.finish()
            self._subtitle(_how_it_ended(job.outcome or Outcome(), self._written))
            while job.passed_over:  # said once, also when the answer is shown again
                self._session.notices.append(Notice(job.passed_over.pop(0), bad=True))
            if job.error is not None:
                self._fail(job.error)

    def _fail(self, problem: str) -> None:
        """Say what went wrong where there is room for all of it."""
        self._answer.fail(problem)
        self._said = None
        self.say_below(Content.styled("✖ not answered", "$alarm"))

    def _subtitle(self, text: str) -> None:
        self._said = text
        self.say_below(Content(fit(text, min(len(text), max(10, self.size.width - 6)))))

    # -- actions -------------------------------------------------------------------------------------------------------

    def action_step(self, by: int) -> None:
        """The row above or below."""
        if by < 0:
            self.screen.focus_previous()
        else:
            self.screen.focus_next()

    def on_prompt_input_turned(self, event: PromptInput.Turned) -> None:
        """A prompt of this run's history into the pane: text, settings, answer."""
        self._write_back()
        if self._talk.turn(event.by):
            self._show_sheet()
            self._show_answer()

    def action_source(self) -> None:
        reader = self._session.view
        if reader is None:
            return
        choices = [Choice("live weights", LIVE, "as they are at the next step")] if self._session.live else []
        points = list(reader.checkpoints)
        if points:
            choices += [
                Choice("best checkpoint", "best", "lowest val loss"),
                Choice("last checkpoint", "last", "newest"),
            ]
        for point in reversed(points):
            loss = point.get("val_loss")
            choices.append(
                Choice(f"checkpoint {point['step']:,}", point["step"], f"val {fmt_loss(loss)}" if loss else "")
            )
        self.app.push_screen(
            ChooseScreen("weights to ask", choices, empty="no checkpoint yet; press c while it trains"),
            self._choose_source,
        )

    def _choose_source(self, source: str | int | None) -> None:
        if source is not None:
            self._talk.source = source
            self.show_source()

    def action_examples(self) -> None:
        corpus, history = self._session.corpus(), self._talk.history
        examples = corpus.examples if corpus is not None else ()
        past = history.prompts()[::-1] if history is not None else []
        choices = [Choice(text, text, "yours") for text in own_prompts()]
        choices += [Choice(text, text, "example") for text in examples]
        choices += [Choice(text, text, "history") for text in past if text.strip()]
        self.app.push_screen(
            ChooseScreen("prompts", choices, empty="no examples, and no history yet"), self._choose_prompt
        )

    def _choose_prompt(self, text: str | None) -> None:
        if text is not None:
            self._write_back()
            self._talk.write(text)
            self._ask.text = text
            self._ask.focus()

    def action_keep(self) -> None:
        text = self._ask.text
        if text.strip():
            keep_prompt(text)
            self._session.notices.append(Notice("kept; ctrl+g lists your prompts"))

    def action_template(self) -> None:
        if self._template() is not None:
            self._write_back()
            sheet = self._talk.sheet
            self._talk.sheet = Sheet(sheet.prompt, not sheet.templated, sheet.values, sheet.seed)
            self.show_source()

    def action_lock(self) -> None:
        self._talk.locked = not self._talk.locked
        self._say_lock()

    def action_save(self) -> None:
        """Write prompt and answer to `outputs/NNNN.txt` in the run."""
        run, text = self._session.run, self._answer.text
        if self._answer.failed:
            said = Notice("nothing is saved: the prompt was not answered", bad=True)
        elif run is None or not text:
            said = Notice("nothing to save yet; send a prompt first", bad=True)
        else:
            try:
                said = Notice(f"saved to {save_output(run, text)}")
            except UserError as error:
                said = Notice(str(error), bad=True)
        self._session.notices.append(said)

    def _say_lock(self) -> None:
        said = ("■ locked", "bright") if self._talk.locked else ("□ lock", "dim")
        self.query_one("#lock", Rows).show([[said, ("  ^l", "accent")]])

    def on_resize(self) -> None:
        self.show_source()
        if self._said is not None:
            self._subtitle(self._said)

    def on_click(self, event: events.Click) -> None:
        if event.widget is self and event.y == 0:
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


def _from_history(entry: Prompted) -> str:
    if entry.stop_reason == "not sent":
        return "from history: not sent"
    weights = f"step {entry.step:,}" if entry.step is not None else entry.source
    return f"from history: {weights}  seed {entry.settings.get('seed')}"
