"""A new run: corpus, preset, every setting with its meaning and bounds, and what the run will need, as you type."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content

from engine.config import DEFAULT_PRESET, Config, load_preset, preset_about, preset_names
from engine.errors import UserError
from tui.actions import bindings
from tui.screens.dialogs.dialogue import Dialogue
from tui.screens.newrun.fields import CORPUS, NAME, PRESET, changes_of, config_of, fields_for, fields_of_fork
from tui.state.estimate import TOO_LARGE, PaceWatch, time_words
from tui.state.session import ForkFrom, Session, Start
from tui.text import Part, Row, clean, fmt_bytes, fmt_count, width_of
from tui.widgets.form import Field, SettingsForm
from tui.widgets.rows import Rows, wrap

if TYPE_CHECKING:
    from engine.text.corpus import Corpus
    from engine.training.forecast import Forecast
    from tui.app import Workbench

SIDE = 37
"""Cells of a line beside the form."""


class NewRunScreen(Dialogue[Start]):
    """Returns the Start to train, or None."""

    CSS_PATH = "new_run.tcss"
    AUTO_FOCUS = "SettingsForm"
    BINDINGS: ClassVar[list[BindingType]] = bindings("new_run")

    app: Workbench

    def __init__(self, session: Session, fork: ForkFrom | None = None) -> None:
        """With `fork` the form is filled in with that run's settings, and has those that may change."""
        super().__init__()
        self._session, self._fork = session, fork
        self._corpora: list[Corpus] = []
        self._config: Config | None = None
        self._forecast_of: Config | None = None
        self._pace = PaceWatch(session)

    def compose(self) -> ComposeResult:
        with Vertical(id="box") as box:
            box.border_title = "new run"
            if self._fork is not None:
                name = clean(self._fork.run.name, keep_newlines=False)
                box.border_title = Content(f"fork of {name} at step {self._fork.step:,}")
            with Horizontal():
                yield SettingsForm()
                with Vertical(id="side"):
                    yield Rows(id="forecast")
            yield Rows(id="said")

    def on_mount(self) -> None:
        from engine.text.catalog import list_corpora

        try:
            self._corpora = [each for each in list_corpora(self._session.corpora_dir) if each.available]
        except UserError:
            self._corpora = []
        if self._fork is not None:
            self._fill(self._fork.corpus, self._fork.preset, {})
            self.query_one(SettingsForm).go_to(NAME)
            return
        names = [corpus.name for corpus in self._corpora]
        shown = self._session.corpus()
        first = shown.name if shown is not None and shown.name in names else (names[0] if names else "")
        self._fill(*(self._session.draft or (first, DEFAULT_PRESET, {})))

    def _fill(self, corpus: str, preset: str, typed: dict[str, str]) -> None:
        """The form for a preset; what was typed under the preset before is kept."""
        if self._fork is not None:
            fields = fields_of_fork(self._fork.config, corpus, preset, self._fork.run.name)
        else:
            names = [each.name for each in self._corpora]
            fields = fields_for(load_preset(preset), names, corpus, preset, preset_names())
        form = self.query_one(SettingsForm)
        form.set_fields(fields, typed)
        self._check()

    def on_settings_form_changed(self, event: SettingsForm.Changed) -> None:
        form = self.query_one(SettingsForm)
        if event.key == PRESET and form.value(PRESET) in preset_names():
            self._fill(form.value(CORPUS), form.value(PRESET), form.typed())
        else:
            self._check()

    def on_settings_form_submitted(self) -> None:
        self.action_start()

    def _check(self) -> None:
        """Read the form as a Config; say beside the field what is wrong with it; forecast."""
        form = self.query_one(SettingsForm)
        preset = form.value(PRESET)
        errors: dict[str, str] = {}
        config: Config | None = None
        try:
            base = self._fork.config if self._fork is not None else load_preset(preset)
            config, errors = config_of(base, changes_of(form.typed()))
        except UserError as error:
            errors[PRESET] = str(error)
        if not form.value(CORPUS).strip():
            errors[CORPUS] = "name a corpus, or the path of a text, a table, an archive or a folder/"
        if (name := form.value(NAME)).strip():
            from engine.runs.layout import check_name

            try:
                check_name(name.strip())
            except UserError as error:
                errors[NAME] = str(error)
        form.set_errors(errors)
        self._config = config if not errors else None
        self._show_forecast(config)
        self._say_field(form.field, errors)

    def on_settings_form_moved(self) -> None:
        form = self.query_one(SettingsForm)
        self._say_field(form.field, form.errors)

    def on_rows_resized(self) -> None:
        form = self.query_one(SettingsForm)
        self._say_field(form.field, form.errors)

    def _say_field(self, field: Field | None, errors: dict[str, str]) -> None:
        """All about the field being edited, or what is wrong with it, in as many lines as that takes."""
        said = self.query_one("#said", Rows)
        width = max(20, said.size.width)
        rows: list[Row] = []
        if field is not None and field.key in errors:
            rows = [[(line, "alarm")] for line in wrap(f"✖ {clean(errors[field.key], keep_newlines=False)}", width)]
        elif field is not None:
            rows = [[(line, "foreground")] for line in wrap(field.about, width)]
            if field.bounds and len(rows) == 1 and width_of(rows[0]) + len(field.bounds) + 3 <= width:
                rows = [[*rows[0], (f"   {field.bounds}", "dim")]]
            elif field.bounds:
                rows.append([(field.bounds, "dim")])
        said.styles.height = max(2 if self.size.height >= 30 else 1, len(rows))
        said.show(rows)
        wrong = f"✖ {len(errors)} wrong, ^s shows the next" if errors else "^s start"
        self.query_one("#box").border_subtitle = f"{wrong}   ↑↓ move   ←→ choose   esc close"

    def tick(self) -> None:
        """Called at every poll of the app: the pace is measured when the form has rested."""
        if self._pace.tick():
            self._show_forecast(self._forecast_of)

    def action_close(self) -> None:
        """Close the form; it is as it was when it is opened again."""
        form = self.query_one(SettingsForm)
        if self._fork is None:
            self._session.draft = form.value(CORPUS), form.value(PRESET), form.typed()
        super().action_close()

    def on_unmount(self) -> None:
        self._pace.end()

    def _show_forecast(self, config: Config | None) -> None:
        self._forecast_of = config
        preset = self.query_one(SettingsForm).value(PRESET)
        rows: list[Row] = []
        if preset in preset_names():
            rows += [[(line, "dim")] for line in wrap(preset_about(preset), SIDE)]
        rows.append([])
        if config is None:
            self._pace.look_at(None, 0)
            rows.append([("no forecast while a setting is wrong", "dim")])
        else:
            rows += self._forecast(config)
        self.query_one("#forecast", Rows).show(rows)

    def _forecast(self, config: Config) -> list[Row]:
        """Time, memory and size of a run with these settings."""
        from engine.model.count import assumed_vocab
        from engine.training.forecast import expected_tokens, forecast

        size = self._corpus_bytes()
        tokens, val_tokens = expected_tokens(size, config.data) if size is not None else (None, None)
        vocab_size = assumed_vocab(config)
        told = forecast(config, vocab_size, tokens, *self._memory(), val_tokens=val_tokens)
        self._pace.look_at(None if told.fits is False else config, vocab_size)
        told = replace(told, pace=self._pace.pace)
        epochs = f"{told.epochs:.2f}" if told.epochs is not None else "–"
        fits: Part = ("", "")
        if told.fits is not None:
            fits = ("✔ fits", "good") if told.fits else ("✖ does not fit", "alarm")
        figures: list[tuple[str, str, Part]] = [
            ("parameters", fmt_count(told.params), ("", "")),
            ("memory", fmt_bytes(told.memory), fits),
            ("  weights", fmt_bytes(told.weights), ("", "")),
            ("  gradients", fmt_bytes(told.gradients), ("", "")),
            ("  optimizer", fmt_bytes(told.optimizer), ("", "")),
            ("  activations", fmt_bytes(told.activations), ("", "")),
            ("tokens a step", fmt_count(told.tokens_per_step), ("", "")),
            ("tokens in all", fmt_count(told.total_tokens), ("", "")),
            ("epochs", epochs, ("", "")),
            ("flops in all", f"{told.flops_per_step * config.train.max_steps:.2g}", ("", "")),
        ]
        return [
            *([(f"{label:<14}", "dim"), (f"{value:>9}", "bright"), (" ", ""), mark] for label, value, mark in figures),
            *self._time(told, config),
        ]

    def _time(self, told: Forecast, config: Config) -> list[Row]:
        """The run's time, measured on this machine, or what keeps it from being known."""
        if told.fits is False:
            return [[(TOO_LARGE, "dim")]]
        if told.pace is None:
            return [[(clean(line, keep_newlines=False), "dim")] for line in wrap(self._pace.said, SIDE)]
        first, *more = time_words(told, config.train.compile)
        rows: list[Row] = [[(line, "accent")] for line in wrap(first, SIDE)]
        return rows + [[(line, "foreground")] for each in more for line in wrap(each, SIDE)]

    def _corpus_bytes(self) -> int | None:
        """The size of the corpus named in the form; None when there is no such file."""
        name = self.query_one(SettingsForm).value(CORPUS)
        corpus = next((each for each in self._corpora if each.name == name), None)
        try:
            return corpus.path.stat().st_size if corpus is not None else None
        except OSError:
            return None

    def _memory(self) -> tuple[int | None, bool]:
        """Bytes free here and whether they are a GPU's, asked once."""
        if not hasattr(self, "_available"):
            from engine.training.forecast import available_memory

            self._available = available_memory()
        return self._available

    def action_start(self) -> None:
        form = self.query_one(SettingsForm)
        if self._config is None:
            self._go_to_next_error()
            return
        training = self._session.training
        if training is not None and training.alive:
            name = training.run.name if training.run is not None else "a run"
            form.set_errors({CORPUS: f"{name} trains in this process; detach it (d) or stop it (q) first"})
            form.go_to(CORPUS)
            return
        if self._fork is None:
            self._session.draft = None
        corpus, preset, named = (form.value(key).strip() for key in (CORPUS, PRESET, NAME))
        self.dismiss(Start(corpus, self._config, preset, named or None, fork=self._fork))

    def _go_to_next_error(self) -> None:
        form = self.query_one(SettingsForm)
        keys = [key for key in form.keys if key in form.errors]
        if keys:
            later = [key for key in keys if form.keys.index(key) > form.keys.index(form.key)] if form.key else []
            form.go_to(later[0] if later else keys[0])
