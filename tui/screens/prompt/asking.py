"""What every view of a conversation does: ask, choose weights and prompts, keep and copy what came of it.

The small pane beside the loss and screen 2 are two views of one conversation. What a person writes and sets goes into
it at once, so that the other view, and a restart, find all as it was.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from textual.widgets import Input

from engine.errors import UserError
from tui.screens.dialogs.choose import Choice, ChooseScreen
from tui.screens.prompt.words import source_words
from tui.state.conversation import Conversation, Sheet
from tui.state.news import Notice
from tui.state.outputs import save_output
from tui.state.prompting import LIVE, PromptJob, Request
from tui.state.session import Session
from tui.state.settings import keep_prompt, own_prompts
from tui.state.summary import name_in
from tui.state.tokens import Token
from tui.text import clean, fmt_loss
from tui.widgets.slider import Slider

if TYPE_CHECKING:
    from textual.widget import Widget

    from engine.runs.layout import RunDir
    from engine.text.template import Template
    from tui.app import Workbench

    _Base = Widget
else:
    _Base = object

TICK = 0.1
"""Seconds between two looks at what the model wrote."""


class Asking(_Base):
    """A mixin of a view. The view has `session`, `talk`, `sliders`, `seed`, and gives the methods that raise here."""

    app: Workbench
    session: Session
    talk: Conversation
    sliders: dict[str, Slider]
    seed: Input
    _known: tuple[Conversation, tuple[object, ...], tuple[object, ...]] | None = None
    """What both had when they last agreed: the conversation, the widgets, its sheet (whose text is not cleaned)."""

    # -- what a view gives

    @property
    def written(self) -> str:
        """What stands in the editor."""
        raise NotImplementedError

    def show_sheet(self) -> None:
        """Show what the conversation holds: text, sliders, seed."""
        raise NotImplementedError

    def show_answer(self) -> None:
        """Show the answer of the conversation, and go on as it is written."""
        raise NotImplementedError

    def show_source(self) -> None:
        """Say whom the prompt goes to, and in which format."""
        raise NotImplementedError

    def fail(self, problem: str) -> None:
        """Say what went wrong instead of an answer."""
        raise NotImplementedError

    def say_lock(self) -> None:
        """Say whether the seed is kept."""
        raise NotImplementedError

    def focus_editor(self) -> None:
        """The focus to where a prompt is written."""
        raise NotImplementedError

    # -- the run and its conversation

    def conversation_with(self, before: Conversation) -> Conversation:
        """The conversation with the run that is shown, which takes what was written while the run was on its way."""
        session = self.session
        if session.run is None or session.view is None:
            return before if before.run is None else Conversation(None, None)
        session.talks.read_only = self.app.read_only
        talk = session.talks.of(session.run, session.view.info.get("created"))
        if before.run is None and before.sheet.prompt.strip():
            talk.write(before.sheet.prompt)
        return talk

    def vocab_size(self) -> int:
        """Of the run shown; GPT-2's where it does not say."""
        view = self.session.view
        tokenizer = view.info.get("tokenizer") if view is not None else None
        vocab = tokenizer.get("vocab_size") if isinstance(tokenizer, Mapping) else None
        return int(vocab or 50_257)

    def example(self) -> str:
        """What an empty editor says."""
        corpus = self.session.corpus()
        example = corpus.examples[0] if corpus is not None and corpus.examples else ""
        return f"e.g. {clean(example, keep_newlines=False)}" if example else "type a prompt"

    def write_back(self) -> None:
        """What the widgets hold becomes the conversation's."""
        values = {**self.talk.sheet.values, **{name: slider.value for name, slider in self.sliders.items()}}
        self.talk.sheet = Sheet(self.written, self.talk.sheet.templated, values, self.seed.value)
        self._agreed()

    def agree(self) -> None:
        """Bring widgets and conversation together, whichever of them changed: messages of a change come late."""
        known = self._known
        if known is not None and known[0] is self.talk and self._held() != known[1]:
            self.write_back()
        elif known is None or known[0] is not self.talk or self._wanted() != known[2]:
            self.show_sheet()
            self._agreed()

    def _agreed(self) -> None:
        self._known = self.talk, self._held(), self._wanted()

    def _held(self) -> tuple[object, ...]:
        return self.written, self.seed.value, *(slider.value for slider in self.sliders.values())

    def _wanted(self) -> tuple[object, ...]:
        sheet = self.talk.sheet
        return sheet.prompt, sheet.seed, *(sheet.value(name) for name in self.sliders)

    def show_values(self) -> None:
        """The sliders and the seed as the conversation has them."""
        sheet = self.talk.sheet
        for name, slider in self.sliders.items():
            if slider.value != sheet.value(name):
                slider.set_value(sheet.value(name))
        if self.seed.value != sheet.seed:
            self.seed.value = sheet.seed

    def template(self) -> Template | None:
        """The corpus' format, where the run has one that can be used."""
        try:
            return self.session.template()
        except UserError:
            return None

    @property
    def source(self) -> str | int:
        """Whom the prompt goes to: the live weights while there are any, unless a checkpoint was chosen."""
        return self.source_of(self.talk)

    def source_of(self, talk: Conversation) -> str | int:
        """`source` of a conversation."""
        live = self.session.live and talk.run == self.session.run
        if talk.source is None or (talk.source == LIVE and not live):
            return LIVE if live else "best"
        return talk.source

    def source_parts(self, width: int) -> list[tuple[str, str]]:
        """Weights and format for a border's title of `width` cells."""
        parts = [(source_words(self.source, self.talk.int8), "bold $bright"), (" ▾", "$accent")]
        if self.template() is not None:
            view = self.session.view
            name = name_in(view.info, "corpus") if view is not None else ""
            said = f"{clean(name, keep_newlines=False)} format" if self.talk.sheet.templated else "as typed"
            if len(said) + 32 < width:
                parts.append((f"  {said}", "$dim"))
        return parts

    # -- asking

    def on_slider_changed(self, event: Slider.Changed) -> None:
        event.stop()
        self.write_back()
        self.sheet_changed()

    def sheet_changed(self) -> None:
        """Called when a slider, the text or the seed was changed by the person."""

    def on_slider_typing(self) -> None:
        """The keys of a slider change while a value is typed."""
        show_keys = getattr(self.app.screen, "show_keys", None)
        if show_keys is not None:
            show_keys()

    def seed_typed(self, value: str) -> None:
        """A seed that was typed is the one that is meant."""
        if value != self.talk.sheet.seed and self.seed.has_focus:
            self.talk.locked = True
            self.say_lock()
            self.write_back()

    def request(
        self, talk: Conversation, sheet: Sheet, begin: tuple[Token, ...] = (), edited: str | None = None, how: str = ""
    ) -> Request:
        """What is asked; raises UserError for settings that are none."""
        assert talk.run is not None
        template = (talk.template or self.template()) if sheet.templated else None
        settings = sheet.settings(template.stops if template is not None else ())
        applied = template.apply(sheet.prompt) if template is not None else sheet.prompt or "\n"
        return Request(
            talk.run,
            self.source_of(talk),
            sheet.prompt,
            applied,
            settings,
            template is not None,
            begin=begin,
            edited=edited,
            how=how,
            int8=talk.int8 and self.source_of(talk) != LIVE,
        )

    def action_run(self) -> None:
        """Send the prompt."""
        if not self.ready_to_ask():
            return
        self.new_seed()
        self.write_back()
        self.ask(self.talk.sheet)

    def ready_to_ask(self) -> bool:
        """Whether there is a run to ask; says so where there is none, or where another is being opened."""
        run = self.talk.run
        if self.app.read_only:
            self.app.refuse()
            return False
        if run is None or self.session.run is None:
            self.fail("no run is open; n starts one, r lists them")
            return False
        return True

    def new_seed(self) -> None:
        """Another seed, unless it is locked."""
        if not self.talk.locked:
            self.seed.value = str(random.randrange(10_000))

    def ask(
        self, sheet: Sheet, begin: tuple[Token, ...] = (), edited: str | None = None, how: str = ""
    ) -> PromptJob | None:
        """Send what `sheet` says, and show what comes; None for settings that are none, which is said."""
        try:
            request = self.request(self.talk, sheet, begin, edited, how)
        except UserError as error:
            self.fail(str(error))
            return None
        job = self.talk.ask(request, self.session.talks.models)
        self.show_answer()
        return job

    @property
    def busy(self) -> bool:
        """Whether a prompt is under way."""
        return bool(self.talk.under_way())

    def stop(self) -> None:
        """Stop the prompts under way; what they wrote stays."""
        for job in self.talk.under_way():
            job.cancel()

    def tell_passed_over(self, job: PromptJob) -> None:
        """Say once which damaged checkpoints were passed over, and what 8 bits cost."""
        while job.passed_over:
            self.session.notices.append(Notice(job.passed_over.pop(0), bad=True))
        while job.told:
            self.session.notices.append(Notice(job.told.pop(0)))

    def turn_history(self, by: int) -> None:
        """A prompt of this run's history into the view: text, settings, answer."""
        self.write_back()
        if self.talk.turn(by):
            self.show_sheet()
            self.show_answer()

    # -- actions

    def more_sources(self) -> list[Choice]:
        """Weights that this view alone can ask; the value of such a choice is what is to be done then."""
        return []

    def action_source(self) -> None:
        view, talk = self.session.view, self.talk
        if view is None:
            return

        def turn_int8() -> None:
            talk.int8 = not talk.int8
            self.show_source()

        choices = [Choice("live weights", LIVE, "as they are at the next step")] if self.session.live else []
        points = list(view.checkpoints)
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
        if points:
            cost = self.session.talks.models.cost.partition(", on")[0][:40]
            aside = cost if talk.int8 else "of a checkpoint; the cost in loss is told"
            choices.append(Choice("matrices as they are" if talk.int8 else "matrices in 8 bits", turn_int8, aside))
        choices += self.more_sources()

        def choose(source: Any) -> None:
            if callable(source):
                source()
            elif source is not None:
                talk.source = source
                self.show_source()

        self.app.push_screen(
            ChooseScreen("weights to ask", choices, empty="no checkpoint yet; press c while it trains"), choose
        )

    def action_examples(self) -> None:
        """Prompts to choose from: the person's own, the corpus' examples, this run's history, that of other runs."""
        corpus, history, runs, here = self.session.corpus(), self.talk.history, self.session.runs_dir, self.talk.run
        examples = list(corpus.examples) if corpus is not None else []
        past = history.prompts()[::-1] if history is not None else []

        def choices(own: list[str], elsewhere: list[tuple[str, str]]) -> list[Choice]:
            return [
                *(Choice(text, text, "yours") for text in own),
                *(Choice(text, text, "example") for text in examples),
                *(Choice(text, text, "history") for text in past if text.strip()),
                *(Choice(text, text, name, name) for text, name in elsewhere if text not in past),
            ]

        def read(_: object) -> tuple[list[str], list[tuple[str, str]]]:
            from tui.state.history import prompts_elsewhere

            return own_prompts(), prompts_elsewhere(runs, here)

        screen = ChooseScreen("prompts", choices([], []), empty="no examples, and no history yet")
        self.app.push_screen(screen, self._choose_prompt)
        self.session.reads.ask("prompts to choose", read, lambda found: screen.set_choices(choices(*found)))

    def _choose_prompt(self, text: str | None) -> None:
        if text is not None:
            self.write_back()
            self.talk.write(text)
            self.show_sheet()
            self.focus_editor()

    def action_keep(self) -> None:
        text = self.written
        if text.strip():
            self.session.reads.ask("keep a prompt", lambda _: keep_prompt(text), self._kept)

    def _kept(self, _: object) -> None:
        self.session.notices.append(Notice("kept; ctrl+g lists your prompts"))

    def action_template(self) -> None:
        if self.template() is not None:
            self.write_back()
            self.talk.sheet = replace(self.talk.sheet, templated=not self.talk.sheet.templated)
            self.show_source()
            self.sheet_changed()

    def action_lock(self) -> None:
        self.talk.locked = not self.talk.locked
        self.say_lock()

    @property
    def output(self) -> str | None:
        """The text that is kept and copied; None where the prompt was not answered."""
        raise NotImplementedError

    def action_save(self) -> None:
        """Write prompt and answer to `outputs/NNNN.txt` in the run."""
        run, text = self.session.run, self.output
        if text is None:
            self.session.notices.append(Notice("nothing is saved: the prompt was not answered", bad=True))
        elif run is None or not text:
            self.session.notices.append(Notice("nothing to save yet; send a prompt first", bad=True))
        else:
            self._save(run, text)

    def _save(self, run: RunDir, text: str) -> None:
        def saved(path: Any) -> None:
            self.session.notices.append(Notice(f"saved to {path}"))

        self.session.reads.ask(f"save {random.random()}", lambda _: save_output(run, text), saved)
