"""The prompt pane: a prompt to the weights in training or to a checkpoint, how to sample, and what comes of it."""

from __future__ import annotations

import random
import time
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
from tui.actions import PROMPT, bindings
from tui.history import Prompted, PromptHistory
from tui.panes.pane import Pane
from tui.panes.promptinput import PromptInput
from tui.prompting import LIVE, LoadedModels, Outcome, PromptJob, Request
from tui.rows import Rows
from tui.screens.choose import Choice, ChooseScreen
from tui.session import Notice, Session
from tui.settings import load_settings, save_setting
from tui.text import clean, fit, fmt_count, fmt_loss
from tui.view import name_in
from tui.widgets.slider import TEMPERATURE, TOP_P, Scale, Slider, top_k_scale
from tui.widgets.stream import OutputText

EMPTY = "the answer streams here; ⏎ sends"
TOKENS = Scale(1, 4000, step=1, fine=1, coarse=1, digits=0, log=True)
OWN_PROMPTS = "prompts"
TICK = 0.1
"""Seconds between two looks at what the model wrote."""


class PromptPane(Pane):
    """Holds one prompt under way at most; `tick` moves what it wrote to the screen."""

    scope = PROMPT
    title = "prompt"
    about: ClassVar[tuple[str, ...]] = (
        "Asks the weights that are training now, without stopping them, or any",
        "checkpoint. Enter sends, escape stops, up and down recall what you asked.",
        "alt+enter or ctrl+j makes a new line; it is shown as ⏎.",
        "Sliders: ← → step, shift fine, page up and down coarse, or type a value.",
        "Every prompt is kept with its settings and seed in the run's prompts.jsonl.",
    )
    BINDINGS: ClassVar[list[BindingType]] = bindings(PROMPT)

    def __init__(self, session: Session) -> None:
        super().__init__(id="prompt")
        self._session = session
        self._models = LoadedModels()
        self._job: PromptJob | None = None
        self._history: PromptHistory | None = None
        self._recalled = 0
        self._chosen: str | int | None = None
        self._templated = True
        self._locked = False
        self._written = 0

    def compose(self) -> ComposeResult:
        with Horizontal(id="ask-row"):
            yield Rows(id="ask-mark")
            yield PromptInput(id="ask")
        yield OutputText(empty=EMPTY, id="answer")
        yield Slider("temperature", 0.8, TEMPERATURE, id="temperature")
        yield Slider("top-k", 40, top_k_scale(65), id="top-k")
        yield Slider("top-p", 1.0, TOP_P, id="top-p")
        yield Slider("max tokens", SamplingSettings().max_tokens, TOKENS, id="tokens")
        with Horizontal(id="seed-row"):
            yield Rows(id="seed-label")
            seed = Input(str(random.randrange(10_000)), type="integer", compact=True, max_length=10, id="seed")
            seed.cursor_blink = False
            yield seed
            yield Rows(id="lock")

    def on_mount(self) -> None:
        self._ticker = self.set_interval(TICK, self.tick, pause=True)
        self.query_one("#ask-mark", Rows).show([[("❯", "accent bold")]])
        self._say_seed()

    def focus_target(self) -> None:
        self.query_one("#ask").focus()

    # -- the run -------------------------------------------------------------------------------------------------------

    def run_changed(self) -> None:
        """Another run is shown: its history, vocabulary and template."""
        self.stop()
        run, reader = self._session.run, self._session.reader
        self._history = PromptHistory(run.path / "prompts.jsonl") if run is not None else None
        self._recalled = 0
        self._chosen = None
        self.query_one("#answer", OutputText).clear()
        self._subtitle("")
        if reader is not None:
            tokenizer = reader.info.get("tokenizer") or {}
            vocab = tokenizer.get("vocab_size") if isinstance(tokenizer, Mapping) else None
            self.query_one("#top-k", Slider).scale = top_k_scale(int(vocab or 50_257))
        corpus = self._session.corpus()
        ask = self.query_one("#ask", PromptInput)
        example = corpus.examples[0] if corpus is not None and corpus.examples else ""
        ask.placeholder = f"e.g. {clean(example, keep_newlines=False)}" if example else "type a prompt"
        self.show_source()

    @property
    def source(self) -> str | int:
        """Whom the prompt goes to: the live weights while there are any, unless a checkpoint was chosen."""
        if self._chosen is None or (self._chosen == LIVE and not self._session.live):
            return LIVE if self._session.live else "best"
        return self._chosen

    def show_source(self) -> None:
        """Say in the border whom the prompt goes to, and in which format."""
        source = self.source
        word = {LIVE: "live weights", "best": "best checkpoint", "last": "last checkpoint"}.get(str(source))
        parts = [("prompt", ""), ("  ", ""), (word or f"checkpoint {source:,}", "bold $bright"), (" ▾", "$accent")]
        if self._template() is not None:
            reader = self._session.reader
            name = name_in(reader.info, "corpus") if reader is not None else ""
            said = f"{clean(name, keep_newlines=False)} format" if self._templated else "as typed"
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
        seed = self.query_one("#seed", Input).value.strip()
        template = self._template() if self._templated else None
        return SamplingSettings(
            temperature=self.query_one("#temperature", Slider).value,
            top_k=int(self.query_one("#top-k", Slider).value),
            top_p=self.query_one("#top-p", Slider).value,
            max_tokens=int(self.query_one("#tokens", Slider).value),
            seed=int(seed) if seed.isdigit() else None,
            stop=template.stops if template is not None else (),
        ).check()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.action_run()

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()

    def action_run(self) -> None:
        if self._job is not None and not self._job.done:
            self.stop()
        run = self._session.run
        if run is None:
            self._subtitle("no run is open", bad=True)
            return
        if not self._locked:
            self.query_one("#seed", Input).value = str(random.randrange(10_000))
        prompt = self.query_one("#ask", PromptInput).text
        template = self._template() if self._templated else None
        try:
            settings = self.settings()
        except UserError as error:
            self._subtitle(str(error), bad=True)
            return
        applied = template.apply(prompt) if template is not None else prompt or "\n"
        request = Request(run, self.source, prompt, applied, settings, template is not None)
        self._written = 0
        self._recalled = 0
        self.query_one("#answer", OutputText).start("" if template is not None else prompt)
        self._subtitle("waiting for the weights" if request.source == LIVE else "loading the checkpoint")
        self._job = PromptJob(request, self._models)
        self._job.start()
        self._ticker.resume()

    @property
    def busy(self) -> bool:
        """Whether a prompt is under way."""
        return self._job is not None

    def stop(self) -> None:
        """Stop the prompt under way; what it wrote stays."""
        if self._job is not None:
            self._job.cancel()

    def tick(self) -> None:
        """Show what came since the last call."""
        job = self._job
        if job is None:
            return
        done = job.done  # before the pieces: what comes after the look is shown the next time
        pieces = []
        while job.pieces:
            pieces.append(job.pieces.popleft())
        if pieces:
            self._written += len(pieces)
            self.query_one("#answer", OutputText).append("".join(pieces))
            self._subtitle(f"writing  {self._written} tokens  esc stops")
        if done:
            self._job = None
            self._ticker.pause()
            self._finish(job)

    def _finish(self, job: PromptJob) -> None:
        output = self.query_one("#answer", OutputText)
        output.finish()
        if job.error is not None:
            self._subtitle(job.error, bad=True)
            return
        outcome = job.outcome or Outcome()
        self._subtitle(_how_it_ended(outcome, self._written))
        request = job.request
        if self._history is not None and self._session.run == request.run:
            seed = outcome.seed if outcome.seed is not None else request.settings.seed
            self._history.append(
                Prompted(
                    prompt=request.prompt,
                    text=output.answer,
                    source=str(request.source),
                    step=outcome.step,
                    settings={**request.settings.to_dict(), "seed": seed},
                    templated=request.templated,
                    time=round(time.time(), 3),
                    stop_reason=outcome.stop_reason,
                    tokens=outcome.tokens,
                    tokens_per_second=round(outcome.tokens_per_second, 1),
                )
            )

    def _subtitle(self, text: str, *, bad: bool = False) -> None:
        said = fit(text, min(len(text), max(10, self.size.width - 6)))
        self.say_below(Content.styled(f"✖ {said}", "$alarm") if bad else Content(said))

    # -- actions -------------------------------------------------------------------------------------------------------

    def action_turn(self, by: int) -> None:
        """In the input: the prompt before or after; elsewhere: the row above or below."""
        if isinstance(self.screen.focused, PromptInput):
            self.recall(by)
        elif by < 0:
            self.screen.focus_previous()
        else:
            self.screen.focus_next()

    def recall(self, by: int) -> None:
        """Turn the prompts of this run's history, newest first, into the pane: text, settings, output."""
        entries = self._history.entries if self._history is not None else []
        if not entries:
            return
        self._recalled = max(0, min(self._recalled - by, len(entries)))
        if self._recalled == 0:
            self.query_one("#ask", PromptInput).text = ""
            return
        self._show_again(entries[-self._recalled])

    def _show_again(self, entry: Prompted) -> None:
        self.query_one("#ask", PromptInput).text = entry.prompt
        self._templated = entry.templated
        for name, key in (
            ("#temperature", "temperature"),
            ("#top-k", "top_k"),
            ("#top-p", "top_p"),
            ("#tokens", "max_tokens"),
        ):
            if isinstance(value := entry.settings.get(key), int | float):
                self.query_one(name, Slider).set_value(value)
        if (seed := entry.settings.get("seed")) is not None:
            self.query_one("#seed", Input).value = str(seed)
        self.query_one("#answer", OutputText).set_text(entry.text, "" if entry.templated else entry.prompt)
        weights = f"step {entry.step:,}" if entry.step is not None else entry.source
        self._subtitle(f"from history: {weights}  seed {entry.settings.get('seed')}")
        self.show_source()

    def action_source(self) -> None:
        reader = self._session.reader
        if reader is None:
            return
        choices = [Choice("live weights", LIVE, "as they are at the next step")] if self._session.live else []
        points = list(reader.checkpoints())
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
            self._chosen = source
            self.show_source()

    def action_examples(self) -> None:
        corpus = self._session.corpus()
        examples = corpus.examples if corpus is not None else ()
        own = [text for text in load_settings().get(OWN_PROMPTS, []) if isinstance(text, str)]
        past = self._history.prompts()[::-1] if self._history is not None else []
        choices = [Choice(text, text, "yours") for text in own]
        choices += [Choice(text, text, "example") for text in examples]
        choices += [Choice(text, text, "history") for text in past if text.strip()]
        self.app.push_screen(
            ChooseScreen("prompts", choices, empty="no examples, and no history yet"), self._choose_prompt
        )

    def _choose_prompt(self, text: str | None) -> None:
        if text is not None:
            ask = self.query_one("#ask", PromptInput)
            ask.text = text
            ask.focus()

    def action_keep(self) -> None:
        text = self.query_one("#ask", PromptInput).text
        own = [each for each in load_settings().get(OWN_PROMPTS, []) if isinstance(each, str)]
        if text.strip() and text not in own:
            save_setting(OWN_PROMPTS, [text, *own][:100])
            self._session.notices.append(Notice("kept; ctrl+g lists your prompts"))

    def action_template(self) -> None:
        if self._template() is not None:
            self._templated = not self._templated
            self.show_source()

    def action_lock(self) -> None:
        self._locked = not self._locked
        self._say_seed()

    def action_save(self) -> None:
        """Write prompt and answer to `outputs/NNNN.txt` in the run."""
        run, text = self._session.run, self.query_one("#answer", OutputText).text
        if run is None or not text:
            self._session.notices.append(Notice("nothing to save yet; send a prompt first", bad=True))
            return
        folder = run.path / "outputs"
        try:
            folder.mkdir(exist_ok=True)
            number = 1 + max((int(path.stem) for path in folder.glob("*.txt") if path.stem.isdigit()), default=0)
            path = folder / f"{number:04d}.txt"
            path.write_text(text + "\n", encoding="utf-8")
        except OSError as error:
            self._session.notices.append(Notice(f"cannot save to {folder}: {error.strerror}", bad=True))
            return
        self._session.notices.append(Notice(f"saved to {path}"))

    def _say_seed(self) -> None:
        self.query_one("#seed-label", Rows).show([[(" seed", "dim")]])
        said = ("■ locked", "bright") if self._locked else ("□ lock", "dim")
        self.query_one("#lock", Rows).show([[said, ("  ^l", "accent")]])

    def on_resize(self) -> None:
        self.show_source()

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
