"""A new run: corpus, preset, every setting with its meaning and bounds, and what the run will need, as you type."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical

from engine.config import Config
from engine.errors import UserError
from engine.preset_files import DEFAULT_PRESET
from tui.actions import bindings
from tui.screens.dialogs.dialogue import Box, Dialogue
from tui.screens.newrun.fields import (
    CORPUS,
    DEVICE,
    FROM,
    NAME,
    PRESET,
    PROCESSES,
    changes_of,
    config_of,
    fields_for,
    fields_of_fork,
    fields_of_tuning,
    processes_of,
    with_machine,
)
from tui.screens.newrun.forecast import forecast_rows
from tui.screens.newrun.keep import about_kept, keep_as_preset
from tui.state.estimate import PaceWatch
from tui.state.kit import (
    LOOK_EVERY,
    Expected,
    Kit,
    KitReader,
    Preset,
    Tuning,
    expected_of,
    read_tokens,
    read_tuning,
)
from tui.state.session import Session
from tui.state.training import ForkFrom, Start
from tui.text import Row, clean, lines_of, width_of
from tui.widgets.form import Field, Heading, SettingsForm
from tui.widgets.rows import Rows

if TYPE_CHECKING:
    from tui.app import Workbench

BOTH = 72
"""Cells of the terminal from which on the forecast stands beside the fields: with fewer no value could be read."""
SIDE, NARROW = 38, 33
"""Cells of a line beside the form, and of one in a terminal of fewer than `WIDE` cells."""
WIDE = 100
TUNED = "tuned"
"""What stands for the preset of a run that is fine-tuned."""
_DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?")


class NewRunScreen(Dialogue[Start]):
    """Returns the Start to train, or None. What there is to choose from is read beside it, again and again."""

    CSS_PATH = "new_run.tcss"
    AUTO_FOCUS = "SettingsForm"
    BINDINGS: ClassVar[list[BindingType]] = bindings("new_run")

    app: Workbench

    def __init__(self, session: Session, fork: ForkFrom | None = None) -> None:
        """With `fork` the form is filled in with that run's settings, and has those that may change."""
        super().__init__()
        self._session, self._fork = session, fork
        self._kit = session.kit or Kit()
        self._preset = DEFAULT_PRESET
        self._tuning: Tuning | None = None
        self._named, self._tokens = "", None  # type: str, Expected | None
        self._read: tuple[Config, dict[str, Any], Config | None, dict[str, str]] | None = None
        self._config: Config | None = None
        self._forecast_of: Config | None = None
        self._processes = 1
        self._pace = PaceWatch(session)

    def on_resize(self) -> None:
        side = self.query_one("#side")
        side.display = self.size.width >= BOTH
        side.styles.width = self._side + 2
        if self._forecast_of is not None:
            self._show_forecast(self._forecast_of)

    @property
    def _side(self) -> int:
        return SIDE if self.app.size.width >= WIDE else NARROW

    def compose(self) -> ComposeResult:
        fork = self._fork
        with Box("new run" if fork is None else f"fork of {fork.run.name} at step {fork.step:,}"):
            with Horizontal():
                yield SettingsForm()
                with Vertical(id="side"):
                    yield Rows(id="forecast")
            yield Rows(id="said")

    def on_mount(self) -> None:
        if self._fork is not None:
            self._preset = self._fork.preset
            self._fill(self._fork.corpus, {})
            self.query_one(SettingsForm).go_to(NAME)
        else:
            corpus, self._preset, typed = self._session.draft or (self._first_corpus(), DEFAULT_PRESET, {})
            self._fill(corpus, typed)
            self._check_tuning()
            self._look_at_corpus()
        reader = KitReader(self._session.runs_dir, self._session.corpora_dir)
        self._session.reads.ask("kit", reader.look, self._take, every=LOOK_EVERY)

    def on_unmount(self) -> None:
        self._session.reads.drop("kit")
        self._session.reads.drop("tokens")
        self._session.works.drop("tuning")
        self._pace.end()

    # -- what there is to choose from ----------------------------------------------------------------------------------

    def _first_corpus(self) -> str:
        shown = self._session.corpus()
        if shown is not None and shown.name in self._kit.corpora:
            return shown.name
        return next(iter(self._kit.corpora), "")

    def _take(self, kit: Kit) -> None:
        """Offer what there is now; what was typed, and where the cursor stands, stay."""
        self._kit = self._session.kit = kit
        if not self.built:
            return
        if self._fork is not None:
            self._check()
            return
        form = self.query_one(SettingsForm)
        form.update_field(CORPUS, choices=tuple(kit.corpora))
        if not form.value(CORPUS):
            form.update_field(CORPUS, value=self._first_corpus())
        form.update_field(PRESET, choices=tuple(kit.presets))
        form.update_field(FROM, choices=("", *kit.runs) if kit.runs else ())
        form.update_field(DEVICE, choices=kit.devices)
        self._check()

    def _fill(self, corpus: str, typed: dict[str, str]) -> None:
        """The form for the preset, the run to fork or to tune; what was typed before is kept where it still is."""
        form, kit = self.query_one(SettingsForm), self._kit
        rows: list[Field | Heading]
        if self._fork is not None:
            fork = self._fork
            rows = fields_of_fork(fork.config, corpus, self._preset, fork.run.name, fork.processes)
        else:
            tuned = self._tuning.config if self._tuning is not None else None
            try:
                base = tuned or kit.preset(self._preset)
            except UserError:
                base = Config()
            rows = fields_for(base, tuple(kit.corpora), corpus, self._preset, tuple(kit.presets) or (self._preset,))
            rows = with_machine(rows, kit.devices, kit.runs)
            rows = fields_of_tuning(rows) if tuned is not None else rows
        form.set_fields(rows, typed)
        self._check()

    def on_settings_form_changed(self, event: SettingsForm.Changed) -> None:
        form = self.query_one(SettingsForm)
        if event.key == PRESET and form.value(PRESET) != self._preset:
            self._preset = form.value(PRESET)
            self._fill(form.value(CORPUS), form.typed())
        else:
            if event.key == FROM:
                self._check_tuning()
            if event.key == CORPUS:
                self._look_at_corpus()
            self._check()

    def _check_tuning(self) -> None:
        """Read the settings of the run that was named to be tuned; without one the form is the preset's again."""
        form = self.query_one(SettingsForm)
        typed = form.value(FROM).strip()
        if typed == (self._tuning.typed if self._tuning is not None else ""):
            return
        was_tuned = self._tuning is not None and self._tuning.config is not None
        self._tuning = Tuning(typed) if typed else None
        self._session.works.drop("tuning")
        if typed:
            runs = self._session.runs_dir
            self._session.works.ask("tuning", lambda _: read_tuning(typed, runs), self._take_tuning)
        if was_tuned:
            self._refill()

    def _take_tuning(self, tuning: Tuning) -> None:
        if self.built and self._tuning is not None and self._tuning.typed == tuning.typed:
            self._tuning = tuning
            if tuning.config is not None:
                self._refill()
            else:
                self._check()

    def _look_at_corpus(self) -> None:
        """Whether tokens lie at the path that was typed: then they are known."""
        typed = self.query_one(SettingsForm).value(CORPUS).strip()
        if typed == self._named:
            return
        self._named, self._tokens = typed, None
        self._session.reads.drop("tokens")
        if typed and typed not in self._kit.corpora:
            self._session.reads.ask("tokens", lambda _: read_tokens(typed), self._take_tokens)

    def _take_tokens(self, tokens: Expected | None) -> None:
        self._tokens = tokens
        if self.built and tokens is not None:
            self._check()

    def _expected(self, config: Config) -> Expected:
        """What is known of the tokens of the run."""
        size = self._kit.corpora.get(self.query_one(SettingsForm).value(CORPUS))
        if self._fork is not None:
            return self._fork.expected or expected_of(config, size)
        found = self._tokens or expected_of(config, size)
        if self._tuning is not None:  # with the tokenizer of the other run
            return replace(found, vocab_size=self._tuning.vocab_size or found.vocab_size, settings={})
        return found

    def _refill(self) -> None:
        """The form with other fields, and the cursor where it was."""
        form = self.query_one(SettingsForm)
        key = form.key
        self._fill(form.value(CORPUS), form.typed())
        form.go_to(key)

    def on_settings_form_submitted(self) -> None:
        self.action_start()

    def _check(self) -> None:
        """Read the form as a Config; say beside the field what is wrong with it; forecast."""
        form = self.query_one(SettingsForm)
        errors: dict[str, str] = {}
        config: Config | None = None
        tuning = self._tuning
        try:
            if self._fork is not None:
                base = self._fork.config
            else:
                base = (tuning.config if tuning is not None else None) or self._kit.preset(self._preset)
            config, errors = self._config_of(base, changes_of(form.typed()))
        except UserError as error:
            errors[PRESET] = str(error)
        if not form.value(CORPUS).strip():
            errors[CORPUS] = "name a corpus, or the path of a text, a table, an archive or a folder/"
        if tuning is not None and tuning.config is None:
            errors[FROM] = tuning.problem or f"reading the settings of {tuning.typed} …"
        elif tuning is None and self._fork is None and config is not None and config.train.lora_r:
            errors["train.lora_r"] = "LoRA adapts a trained model; name its run under fine-tune from"
        device = form.value(DEVICE).strip()
        if device and (said := self._no_device(device)):
            errors[DEVICE] = said
        try:
            self._processes = processes_of(form.value(PROCESSES), config, device, self._kit.gpus)
        except UserError as error:
            errors[PROCESSES] = str(error)
        if (name := form.value(NAME)).strip():
            from engine.runs.layout import check_name

            try:
                check_name(name.strip())
            except UserError as error:
                errors[NAME] = str(error)
        form.set_errors(errors)
        self._config = config if not errors else None
        self._show_forecast(config if FROM not in errors and PROCESSES not in errors else None)
        self._say_field(form.field, errors)

    def _config_of(self, base: Config, changes: dict[str, Any]) -> tuple[Config | None, dict[str, str]]:
        """As `config_of`; the same again is the same object, found without looking at every setting."""
        if self._read is None or self._read[0] is not base or self._read[1] != changes:
            self._read = base, changes, *config_of(base, changes)
        return self._read[2], dict(self._read[3])

    def _no_device(self, device: str) -> str:
        """Why one cannot train there."""
        if _DEVICE.fullmatch(device) is None:
            return "device is auto, cpu, cuda or cuda:0"
        there = self._kit.memory
        if there and device.startswith("cuda:") and device not in there:
            gpus = [each for each in there if each.startswith("cuda")]
            return f"there is no {device} here; there {'are ' + ', '.join(gpus) if gpus else 'is no GPU'}"
        return ""

    def on_settings_form_moved(self) -> None:
        form = self.query_one(SettingsForm)
        self._say_field(form.field, form.errors)

    def on_rows_resized(self) -> None:
        form = self.query_one(SettingsForm)
        self._say_field(form.field, form.errors)

    def _say_field(self, field: Field | None, errors: dict[str, str]) -> None:
        """All about the field being edited, or what is wrong with it, in as many lines as that takes."""
        said = self.query_one("#said", Rows)
        form = self.query_one(SettingsForm)
        width = max(20, said.size.width)
        rows: list[Row] = []
        if field is not None and field.key in errors:
            rows = [[(line, "alarm")] for line in lines_of(f"✖ {clean(errors[field.key], keep_newlines=False)}", width)]
        elif field is not None:
            before = (
                f"• {clean(field.value, keep_newlines=False) or 'empty'} at first, ^r"
                if field.key in form.typed()
                else ""
            )
            aside = "   ".join(each for each in (field.bounds, before) if each)
            rows = [[(line, "foreground")] for line in lines_of(field.about, width)]
            if aside and len(rows) == 1 and width_of(rows[0]) + width_of([(aside, "")]) + 3 <= width:
                rows = [[*rows[0], (f"   {aside}", "dim")]]
            elif aside:
                rows += [[(line, "dim")] for line in lines_of(aside, width)]
        most = max(1, self.size.height // 4)
        said.styles.height = max(2 if self.size.height >= 30 else 1, min(len(rows), most))
        said.show(rows)
        wrong = f"✖ {len(errors)} wrong, ^s shows the next" if errors else "^s start"
        find = "^f find" if field is not None and field.prose else "/ find"
        more = (find, "^k keep as preset", "^r as at first", "←→ choose", "esc close")
        self.box.say_keys("   ".join([wrong, *more]))

    def on_settings_form_finding(self) -> None:
        """Choose a setting by a part of its name or meaning."""
        from tui.screens.dialogs.choose import Choice, ChooseScreen

        form = self.query_one(SettingsForm)
        choices = [
            Choice(f"{each.label}  {each.about}", each.key, form.value(each.key)[:20], each.key) for each in form.fields
        ]

        def go(key: str | None) -> None:
            if key is not None:
                form.go_to(key)

        self.app.push_screen(ChooseScreen("find a setting", choices), go)

    def action_keep(self) -> None:
        """Keep the settings as a preset."""
        if self._config is None:
            self._go_to_next_error()
            return
        base = self._preset if self._tuning is None else self._tuning.typed
        about = about_kept(base, self.query_one(SettingsForm).typed())
        keep_as_preset(self.app, self._config, about, self._kit.presets, self._kept)

    def _kept(self, name: str, preset: Preset) -> None:
        if not self.built:
            return
        self._kit = replace(self._kit, presets={**self._kit.presets, name: preset})
        if self._fork is None and self._tuning is None:
            form = self.query_one(SettingsForm)
            typed = {key: text for key, text in form.typed().items() if key in (NAME, DEVICE, PROCESSES)}
            self._preset = name
            self._fill(form.value(CORPUS), typed)

    def tick(self) -> None:
        """Called at every poll of the app: the pace is measured when the form has rested."""
        if self._pace.tick() and self.built:
            self._show_forecast(self._forecast_of)

    def action_close(self) -> None:
        """Close the form; it is as it was when it is opened again."""
        form = self.query_one(SettingsForm)
        if self._fork is None:
            self._session.draft = form.value(CORPUS), self._preset, form.typed()
        super().action_close()

    def _show_forecast(self, config: Config | None) -> None:
        self._forecast_of = config
        form, kit = self.query_one(SettingsForm), self._kit
        about = kit.about(self._preset) if self._tuning is None else ""
        rows: list[Row] = [[(line, "dim")] for line in lines_of(clean(about, keep_newlines=False), self._side)]
        rows += [[]] if rows else []
        if config is None:
            self._pace.look_at(None, 0)
            rows.append([("no forecast while a setting is wrong", "dim")])
        else:
            device = form.value(DEVICE).strip() or "auto"
            name = "cuda:0" if device == "cuda" else device
            expected, free, whole = self._expected(config), kit.memory.get(name), kit.whole.get(name)
            config = config.replace(expected.settings) if expected.settings else config
            rows += forecast_rows(config, expected, free, self._pace, self._side, self._processes, whole)
        self.query_one("#forecast", Rows).show(rows)

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
        corpus, name, device = (form.value(key).strip() for key in (CORPUS, NAME, DEVICE))
        base, preset = None, self._preset
        if self._tuning is not None and self._tuning.run is not None:
            base, preset = (self._tuning.run, self._tuning.which), TUNED
        start = Start(corpus, self._config, preset, name or None, device or "auto", base, self._fork)
        self.dismiss(replace(start, processes=self._processes))

    def _go_to_next_error(self) -> None:
        form = self.query_one(SettingsForm)
        keys = [key for key in form.keys if key in form.errors]
        if keys:
            later = [key for key in keys if form.keys.index(key) > form.keys.index(form.key)] if form.key else []
            form.go_to(later[0] if later else keys[0])
