"""The new-run form: every setting, its bounds, what is wrong with it, and the forecast."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pilot_for_tests import on_screen, until
from runs_for_tests import write_run
from textual import events
from textual.pilot import Pilot
from textual.widget import Widget

from engine.config import SECTIONS, Config, DataConfig
from engine.model.sizes import count_parameters
from engine.plan import pace
from engine.plan.pace import Pace, pace_key
from engine.preset_files import load_preset, own_folder
from engine.runs.layout import RunDir
from engine.text.corpus import Corpus
from engine.tokenizers.prepare import ask_for, prepare
from engine.tokenizers.table import expected_vocab
from tui.app import Workbench
from tui.screens.dialogs.ask import AskScreen
from tui.screens.dialogs.choose import ChooseScreen
from tui.screens.newrun.fields import config_of, fields_for
from tui.screens.newrun.screen import NewRunScreen
from tui.screens.train.screen import TrainScreen
from tui.state.estimate import MEASURING
from tui.state.kit import Kit
from tui.text import fmt_count
from tui.widgets.form import Field, SettingsForm
from tui.widgets.rows import Rows


class Slow:
    """A measurement that ends when the test says so; no process is started."""

    def __init__(self, config: Config, vocab_size: int) -> None:
        self.key, self.cancelled = pace_key(config, vocab_size), False
        self.found: Pace | str | None = None

    def cancel(self) -> None:
        self.cancelled = True

    def end(self, seconds: float) -> None:
        self.found = Pace(seconds, 1e-5, 1e-3, "cpu", 2)
        pace.known[self.key] = self.found


@pytest.fixture(autouse=True)
def measured(monkeypatch: pytest.MonkeyPatch) -> list[Slow]:
    """The measurements begun, in the place of real ones."""
    made: list[Slow] = []

    def begin(config: Config, vocab_size: int) -> Slow:
        made.append(Slow(config, vocab_size))
        return made[-1]

    monkeypatch.setattr(pace, "Measuring", begin)
    monkeypatch.setattr(pace, "known", {})
    return made


@pytest.fixture
def corpora(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Corpus]:
    """Two corpora of known sizes, in a machine of known memory."""
    found = []
    for name, size in (("letters", 1_000_000), ("notes", 2_000_000)):
        (tmp_path / f"{name}.txt").write_bytes(b"x" * size)
        found.append(Corpus(name, path=tmp_path / f"{name}.txt"))
    monkeypatch.setattr("engine.text.catalog.list_corpora", lambda _: found)
    there = {"auto": (8 * 2**30, False), "cpu": (8 * 2**30, False)}
    monkeypatch.setattr("engine.telemetry.available_by_device", lambda: there)
    return found


async def open_form(pilot: Pilot[Any]) -> SettingsForm:
    app = pilot.app
    await until(pilot, lambda: isinstance(app.screen, TrainScreen) and app.session.view is not None)
    await pilot.press("n")
    await until(pilot, lambda: isinstance(app.screen, NewRunScreen))
    form = pilot.app.screen.query_one(SettingsForm)
    await until(pilot, lambda: bool(form.value("corpus")))
    return form


async def go_to(pilot: Pilot[Any], form: SettingsForm, key: str) -> None:
    form.action_move(-1000)
    for _ in range(100):
        if form.key == key:
            await pilot.pause()
            return
        form.action_move(1)
    raise AssertionError(f"no field {key}")


def text_of(rows: Rows) -> str:
    return "\n".join("".join(segment.text for segment in rows.render_line(y)) for y in range(rows.size.height))


@pytest.fixture
def bench(runs: Path, corpora: list[Corpus], monkeypatch: pytest.MonkeyPatch) -> tuple[Workbench, list[Any]]:
    app = Workbench(runs, run=write_run(runs, state="finished"))
    jobs: list[Any] = []
    monkeypatch.setattr(app, "train", jobs.append)
    return app, jobs


async def test_what_is_typed_is_what_is_trained(bench: tuple[Workbench, list[Any]]) -> None:
    app, jobs = bench
    async with app.run_test(size=(140, 40)) as pilot:
        form = await open_form(pilot)
        await pilot.press("right")  # the second corpus
        await go_to(pilot, form, "name")
        await pilot.press(*"night-1")
        await go_to(pilot, form, "train.max_steps")
        await pilot.press("ctrl+u", *"1_200")
        await go_to(pilot, form, "model.norm")
        await pilot.press("left")
        await go_to(pilot, form, "model.qk_norm")
        await pilot.press("space")
        await pilot.press("ctrl+s")
        await pilot.pause()
    (job,) = jobs
    assert (job.corpus, job.preset, job.name) == ("notes", "nano", "night-1")
    nano = load_preset("nano")
    assert job.config == nano.replace(
        {"train.max_steps": 1200, "model.norm": "layernorm", "model.qk_norm": not nano.model.qk_norm}
    )


@pytest.mark.parametrize("width", [40, 60, 80, 140])
async def test_a_value_can_be_read_beside_its_field(bench: tuple[Workbench, list[Any]], width: int) -> None:
    """Where there is no room for the forecast too, it is away."""
    app, _ = bench
    async with app.run_test(size=(width, 24)) as pilot:
        form = await open_form(pilot)
        await pilot.pause()
        lines = [form.render_line(y).text for y in range(form.size.height)]
        assert any("preset" in line and "nano" in line for line in lines), lines
        assert app.screen.query_one("#side").display == (width >= 72)


async def test_a_bad_value_is_refused_beside_its_field(bench: tuple[Workbench, list[Any]]) -> None:
    app, jobs = bench
    async with app.run_test(size=(140, 40)) as pilot:
        form = await open_form(pilot)
        for key, typed, said in (
            ("train.max_steps", "0", "train.max_steps"),
            ("train.max_steps", "many", "train.max_steps"),
            ("train.max_steps", "", "empty"),
            ("model.n_head", "5", "not a multiple of model.n_head 5"),
            ("train.learning_rate", "1e3", "train.learning_rate"),
            ("name", "a/b", "cannot name a run"),
            ("corpus", "", "name a corpus"),
        ):
            await go_to(pilot, form, key)
            await pilot.press("ctrl+u", *typed)
            await pilot.pause()
            assert list(form.errors) == [key] and said in form.errors[key] and "\n" not in form.errors[key]
            assert said in text_of(app.screen.query_one("#said", Rows))
            await pilot.press("ctrl+s")
            await pilot.pause()
            assert isinstance(app.screen, NewRunScreen) and not jobs
            await pilot.press("ctrl+r")
            await pilot.pause()
            assert not form.errors


async def test_the_forecast_changes_as_one_types(bench: tuple[Workbench, list[Any]], tmp_path: Path) -> None:
    (tmp_path / "tale.txt").write_text("an old tale of a donkey\n" * 400)
    name, ask = ask_for(str(tmp_path / "tale.txt"))
    made = prepare(name, ask, tmp_path / "tokens", DataConfig(tokenizer="bpe", vocab_size=270))
    app, _ = bench
    async with app.run_test(size=(140, 40)) as pilot:
        form = await open_form(pilot)
        forecast = app.screen.query_one("#forecast", Rows)
        before = text_of(forecast)
        nano = load_preset("nano")
        epochs = nano.tokens_per_step * nano.train.max_steps / 900_000
        assert fmt_count(count_parameters(nano.model, expected_vocab(nano.data))) in before
        assert f"{epochs:.2f}" in before and "✔ fits" in before
        await go_to(pilot, form, "model.n_embd")
        await pilot.press("ctrl+u", *"4096")
        await go_to(pilot, form, "train.batch_size")
        await pilot.press("ctrl+u", *"512")
        await pilot.pause()
        assert "does not fit" in text_of(forecast)
        await pilot.press("ctrl+r")
        await go_to(pilot, form, "model.n_embd")
        await pilot.press("ctrl+r")
        await go_to(pilot, form, "corpus")
        form.on_paste(events.Paste(str(tmp_path / "tokens")))
        await until(pilot, lambda: "bpe tokens" in text_of(forecast))
        vocab_size, tokens = made.tokenizer["vocab_size"], made.train.tokens
        assert fmt_count(count_parameters(nano.model, vocab_size)) in text_of(forecast)
        assert f"{nano.tokens_per_step * nano.train.max_steps / tokens:.2f}" in text_of(forecast)
        await pilot.press("s")
        await until(pilot, lambda: "bpe tokens" not in text_of(forecast))


def painted(app: Workbench) -> list[tuple[Widget, int]]:
    """Every widget of the screen that is painted from now on, with how many regions of it; 0 is the whole."""
    found: list[tuple[Widget, int]] = []
    for each in app.screen.walk_children(Widget):

        def refresh(*regions: Any, each: Widget = each, before: Any = each.refresh, **more: Any) -> Widget:
            found.append((each, len(regions)))
            before(*regions, **more)
            return each

        each.refresh = refresh  # type: ignore[method-assign]
    return found


async def tick(pilot: Pilot[Any]) -> None:
    """What the app does a few times a second."""
    pilot.app.screen.tick()
    await pilot.pause()


async def test_the_time_is_measured_when_the_form_rests(
    bench: tuple[Workbench, list[Any]], measured: list[Slow], monkeypatch: pytest.MonkeyPatch
) -> None:
    app, _ = bench
    async with app.run_test(size=(140, 40)) as pilot:
        form = await open_form(pilot)
        forecast = app.screen.query_one("#forecast", Rows)
        assert MEASURING in text_of(forecast) and "ms a step" not in text_of(forecast)
        monkeypatch.setattr("tui.state.estimate.STILL_SECONDS", 0.0)
        await tick(pilot)
        (first,) = measured
        first.end(0.0312)
        await tick(pilot)
        assert "31.2 ms a step · 2,000 steps in 1m02s" in text_of(forecast)
        assert "(measured on this machine)" in text_of(forecast) and MEASURING not in text_of(forecast)
        await go_to(pilot, form, "train.max_steps")
        await pilot.press("ctrl+u", "1")
        await tick(pilot)  # a single step, as it stands now, would be one in another precision
        await pilot.press(*"000")
        await tick(pilot)
        assert "31.2 ms a step · 1,000 steps in 31s" in text_of(forecast)
        assert all(each.cancelled for each in measured[1:]), "and no other measurement goes on"


async def test_typing_ends_a_measurement_and_waits_for_none(
    bench: tuple[Workbench, list[Any]], measured: list[Slow], monkeypatch: pytest.MonkeyPatch
) -> None:
    app, jobs = bench
    monkeypatch.setattr("tui.state.estimate.STILL_SECONDS", 0.0)
    async with app.run_test(size=(140, 40)) as pilot:
        form = await open_form(pilot)
        await tick(pilot)
        await go_to(pilot, form, "model.n_layer")
        await pilot.press("ctrl+u", "6")
        assert form.value("model.n_layer") == "6" and measured[0].cancelled
        await tick(pilot)
        assert not measured[-1].cancelled and MEASURING in text_of(app.screen.query_one("#forecast", Rows))
        await pilot.press("ctrl+s")
        await pilot.pause()
        assert len(jobs) == 1 and measured[-1].cancelled, "a run that begins is not measured beside"


async def test_an_error_elsewhere_in_the_form_leaves_the_forecast(
    bench: tuple[Workbench, list[Any]], measured: list[Slow], monkeypatch: pytest.MonkeyPatch
) -> None:
    app, _ = bench
    monkeypatch.setattr("tui.state.estimate.STILL_SECONDS", 0.0)
    async with app.run_test(size=(140, 40)) as pilot:
        form = await open_form(pilot)
        await go_to(pilot, form, "name")
        await pilot.press(*"a/b")
        await tick(pilot)
        measured[-1].end(0.5)
        await tick(pilot)
        assert "500 ms a step" in text_of(app.screen.query_one("#forecast", Rows))


async def test_another_preset_keeps_what_was_typed(bench: tuple[Workbench, list[Any]]) -> None:
    app, _ = bench
    async with app.run_test(size=(140, 40)) as pilot:
        form = await open_form(pilot)
        await go_to(pilot, form, "train.seed")
        await pilot.press("ctrl+u", "7")
        await go_to(pilot, form, "preset")
        await pilot.press("right")
        await pilot.pause()
        assert form.value("preset") != "nano" and form.value("train.seed") == "7"
        assert form.typed().keys() >= {"train.seed"} and "model.n_layer" not in form.typed()


async def test_keys_of_the_workbench_are_text_in_the_form(bench: tuple[Workbench, list[Any]]) -> None:
    app, _ = bench
    async with app.run_test(size=(140, 40)) as pilot:
        form = await open_form(pilot)
        await go_to(pilot, form, "name")
        await pilot.press(*"qnrz1")
        assert form.value("name") == "qnrz1" and isinstance(app.screen, NewRunScreen)
        await pilot.press("home", "x", "delete", "end", "backspace")
        assert form.value("name") == "xnrz"
        all_painted = painted(app)
        await pilot.press("b")
        assert form.value("name") == "xnrzb" and all_painted == [(form, 1)], "a letter paints its line alone"


async def test_a_setting_is_found_by_its_name(bench: tuple[Workbench, list[Any]]) -> None:
    app, _ = bench
    async with app.run_test(size=(140, 40)) as pilot:
        form = await open_form(pilot)
        await go_to(pilot, form, "train.max_steps")
        await pilot.press("slash")
        assert isinstance(app.screen, ChooseScreen) and form.value("train.max_steps") == "2000"
        await pilot.press(*"rotary", "enter")
        await until(pilot, lambda: form.key == "model.rope_base")
        await go_to(pilot, form, "corpus")
        await pilot.press("slash", "ctrl+f")
        assert form.value("corpus") == "/" and isinstance(app.screen, ChooseScreen), "where a path is typed, ctrl+f"


async def test_settings_are_kept_as_a_preset_and_begun_from(bench: tuple[Workbench, list[Any]]) -> None:
    app, jobs = bench
    async with app.run_test(size=(140, 40)) as pilot:
        form = await open_form(pilot)
        await go_to(pilot, form, "model.n_layer")
        await pilot.press("5", "ctrl+k")
        assert isinstance(app.screen, AskScreen)
        await pilot.press(*"nano", "enter")
        assert isinstance(app.screen, AskScreen) and "choose another name" in on_screen(app)
        await pilot.press("ctrl+u", *"mine", "enter")
        await until(pilot, lambda: form.value("preset") == "mine")
        assert form.typed() == {} and form.value("model.n_layer") == "5"
        assert load_preset("mine") == load_preset("nano").replace({"model.n_layer": 5})
        await pilot.press("ctrl+s")
        await pilot.pause()
        assert jobs[0].preset == "mine" and jobs[0].config == load_preset("mine")


async def test_a_damaged_preset_says_what_is_wrong_with_it(bench: tuple[Workbench, list[Any]]) -> None:
    own_folder().mkdir(parents=True)
    (own_folder() / "hurt.toml").write_text("[model]\nn_layer = 0\n")
    app, jobs = bench
    async with app.run_test(size=(140, 40)) as pilot:
        form = await open_form(pilot)
        await go_to(pilot, form, "preset")
        await pilot.press("left")
        assert form.value("preset") == "hurt" and "model.n_layer" in form.errors["preset"]
        await pilot.press("ctrl+s")
        assert isinstance(app.screen, NewRunScreen) and not jobs


async def test_a_run_is_fine_tuned_with_what_may_change(bench: tuple[Workbench, list[Any]]) -> None:
    import torch

    from engine.model import build_for
    from engine.tokenizers.char import CharTokenizer
    from engine.training.fork import fine_tuning_config
    from engine.training.saving import Contents, fresh_state, write_checkpoint

    app, jobs = bench
    run = RunDir(app.session.runs_dir / "trained")
    parent = write_run(app.session.runs_dir, "trained", step=0)
    small = load_preset("nano").replace({"model.n_layer": 1, "model.n_embd": 32, "model.n_head": 2})
    tokenizer = CharTokenizer("abc ")
    model = build_for(small, tokenizer.vocab_size, torch.Generator().manual_seed(1))
    weights = dict(model.named_parameters())
    write_checkpoint(parent, Contents(3, small, weights, {}, fresh_state(), tokenizer))
    async with app.run_test(size=(140, 40)) as pilot:
        form = await open_form(pilot)
        await go_to(pilot, form, "train.lora_r")
        await pilot.press("8")
        assert "fine-tune from" in form.errors["train.lora_r"], "adapters need a model"
        await go_to(pilot, form, "from")
        await pilot.press(*"traine")
        await until(pilot, lambda: "no run" in form.errors.get("from", ""))
        await pilot.press("d")
        await until(pilot, lambda: not form.errors)
        assert form.key == "from" and "model.n_layer" not in form.keys and "preset" not in form.keys
        assert (
            form.keys.index("train.lora_r") < form.keys.index("train.max_steps") and form.value("train.lora_r") == "8"
        )
        await go_to(pilot, form, "device")
        await pilot.press("right", "ctrl+s")
        await pilot.pause()
    (job,) = jobs
    assert job.base is not None and job.base[0].path == run.path.absolute() and job.base[1] == "best"
    assert job.device == "cpu" and job.preset == "tuned"
    assert job.config == fine_tuning_config(run).replace({"train.lora_r": 8})


async def test_a_device_that_is_not_here_is_refused(bench: tuple[Workbench, list[Any]]) -> None:
    app, _ = bench
    async with app.run_test(size=(140, 40)) as pilot:
        form = await open_form(pilot)
        await go_to(pilot, form, "device")
        for typed, said in (("cuda:3", "no cuda:3 here"), ("tpu", "cuda:0"), ("cpu", "")):
            await pilot.press("ctrl+u", *typed)
            assert said in form.errors.get("device", "") and bool(said) == ("device" in form.errors)


async def test_nothing_is_waited_for(bench: tuple[Workbench, list[Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    stalled = threading.Event()
    monkeypatch.setattr("engine.text.catalog.list_corpora", lambda _: stalled.wait(60) and [])
    app, jobs = bench
    async with app.run_test(size=(140, 40)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, TrainScreen) and app.session.view is not None)
        await pilot.press("n")
        await until(pilot, lambda: isinstance(app.screen, NewRunScreen))
        form = app.screen.query_one(SettingsForm)
        await pilot.press(*"letters.txt")
        await go_to(pilot, form, "train.seed")
        await pilot.press("7", "ctrl+s")
        await pilot.pause()
        stalled.set()
    assert jobs[0].corpus == "letters.txt" and jobs[0].config.train.seed == 7


async def test_what_is_read_meanwhile_disturbs_no_typing(bench: tuple[Workbench, list[Any]]) -> None:
    app, _ = bench
    async with app.run_test(size=(140, 40)) as pilot:
        form = await open_form(pilot)
        await pilot.press(*"my.t", "left")
        app.screen._take(Kit({"other": 5}, app.screen._kit.presets, ("r1",), app.screen._kit.memory))
        await pilot.press("x")
        assert form.value("corpus") == "my.xt" and form.fields[0].choices == ("other",)


def test_every_setting_of_the_schema_has_a_field_with_its_meaning() -> None:
    fields = fields_for(load_preset("nano"), ["a"], "a", "nano", ["nano"])
    by_key = {field.key: field for field in fields if isinstance(field, Field)}
    for section, cls in SECTIONS.items():
        for name, info in cls.model_fields.items():
            assert by_key[f"{section}.{name}"].about == info.description
    assert by_key["model.n_layer"].bounds == "from 1 to 256"
    assert by_key["model.position"].choices[0] == "learned"


def test_an_error_of_two_fields_stands_at_those_that_were_changed() -> None:
    base = load_preset("nano")
    config, errors = config_of(base, {"train.seed": "7", "model.n_head": "5"})
    assert config is None and list(errors) == ["model.n_head"] and "not a multiple" in errors["model.n_head"]
    config, errors = config_of(base, {"model.n_embd": "131", "model.n_head": "5"})
    assert config is None and set(errors) == {"model.n_head", "model.n_embd"}
    config, errors = config_of(base, {"model.n_embd": "140", "model.n_head": "5"})
    assert config is not None and not errors


def test_all_that_is_wrong_is_said_each_at_its_field() -> None:
    wrong = {"train.max_steps": "0", "model.n_head": "5", "train.learning_rate": "", "train.seed": "x"}
    config, errors = config_of(load_preset("nano"), {**wrong, "model.n_layer": "2"})
    assert config is None and errors.keys() == wrong.keys()
    assert all("\n" not in said for said in errors.values())
    assert "max_steps" in errors["train.max_steps"] and "empty" in errors["train.learning_rate"]


async def test_errors_are_walked_through_by_the_key_that_would_start(bench: tuple[Workbench, list[Any]]) -> None:
    app, jobs = bench
    async with app.run_test(size=(80, 24)) as pilot:
        form = await open_form(pilot)
        for key, typed in (("train.max_steps", "0"), ("name", "a/b"), ("train.grad_clip", "-1")):
            await go_to(pilot, form, key)
            await pilot.press(*typed)
        await pilot.pause()
        assert form.errors.keys() == {"train.max_steps", "name", "train.grad_clip"}
        assert "3 wrong" in str(app.screen.query_one("#box").border_subtitle)
        seen = []
        for _ in range(4):
            await pilot.press("ctrl+s")
            await pilot.pause()
            seen.append(form.key)
            said = " ".join(text_of(app.screen.query_one("#said", Rows)).split())
            assert said == f"✖ {form.errors[form.key]}"
        assert seen == ["name", "train.max_steps", "train.grad_clip", "name"] and not jobs


TYPED: list[tuple[str, list[str], str]] = [
    ("train.max_steps", ["5", "0"], "50"),  # 2000: the first character takes its place
    ("train.max_steps", ["backspace", "7"], "2007"),
    ("train.max_steps", ["home", "1"], "12000"),
    ("train.max_steps", ["home", "delete", "9"], "9000"),
    ("train.max_steps", ["left", "left", "5"], "20500"),
    ("train.max_steps", ["end", "0"], "20000"),
    ("train.max_steps", ["1", "ctrl+z"], "2000"),
    ("train.max_steps", ["1", "ctrl+r"], "2000"),
    ("train.max_steps", ["1", "left", "9", "ctrl+z"], "1"),
    ("train.max_steps", ["1", "left", "9", "ctrl+z", "ctrl+y"], "91"),
    ("train.max_steps", ["home", "shift+right", "shift+right", "5"], "500"),
    ("train.max_steps", ["end", "shift+home", "7"], "7"),
    ("train.sample_prompt", [*"a b", "ctrl+left", "x", "ctrl+a", "shift+left"], "a xb"),
    ("train.sample_prompt", [*"two words", "ctrl+w", "z"], "two z"),
    ("train.sample_prompt", [*"a/b"], "a/b"),
    ("train.max_steps", ["1", "ctrl+z", "3"], "3"),
    ("train.max_steps", ["7", "down", "up", "8"], "8"),
    ("corpus", [*"my.txt"], "my.txt"),
    ("corpus", ["right", *"my.txt"], "my.txt"),
    ("name", [*"run-1"], "run-1"),
]
"""A field, keys, and what stands there then."""


async def test_what_is_typed_first_takes_the_place_of_what_stood_there(bench: tuple[Workbench, list[Any]]) -> None:
    app, _ = bench
    async with app.run_test(size=(140, 40)) as pilot:
        for key, keys, value in TYPED:
            form = await open_form(pilot)
            await go_to(pilot, form, key)
            await pilot.press(*keys)
            assert form.value(key) == value, keys
            await pilot.press("escape")
            await until(pilot, lambda: isinstance(app.screen, TrainScreen))
            app.session.draft = None  # the next begins anew


async def test_a_click_and_a_paste_replace_too(bench: tuple[Workbench, list[Any]]) -> None:
    app, _ = bench
    async with app.run_test(size=(140, 40)) as pilot:
        form = await open_form(pilot)
        await pilot.click(form, offset=(30, form.keys.index("train.max_steps") + 1))  # below one heading
        assert form.key == "train.max_steps"
        form.post_message(events.Paste("1_500\n"))
        await pilot.pause()
        assert form.value("train.max_steps") == "1_500"
        form.post_message(events.Paste("0"))
        await pilot.pause()
        assert form.value("train.max_steps") == "1_5000"


async def test_a_form_that_was_left_is_as_it_was(bench: tuple[Workbench, list[Any]]) -> None:
    app, jobs = bench
    async with app.run_test(size=(140, 40)) as pilot:
        form = await open_form(pilot)
        await pilot.press("right")
        await go_to(pilot, form, "train.max_steps")
        await pilot.press(*"77")
        await pilot.press("escape")
        form = await open_form(pilot)
        assert (form.value("corpus"), form.value("train.max_steps")) == ("notes", "77")
        await pilot.press("ctrl+s")
        await pilot.pause()
        assert jobs[0].corpus == "notes" and jobs[0].config.train.max_steps == 77
        form = await open_form(pilot)
        assert form.value("train.max_steps") == "2000", "one that was started begins anew"


@pytest.mark.parametrize("size", [(140, 40), (100, 30), (80, 24)], ids=str)
async def test_every_description_can_be_read_whole(bench: tuple[Workbench, list[Any]], size: tuple[int, int]) -> None:
    app, _ = bench
    async with app.run_test(size=size) as pilot:
        form = await open_form(pilot)
        form.action_move(-1000)
        for key in form.keys:
            assert form.key == key
            await pilot.pause()
            said = " ".join(text_of(app.screen.query_one("#said", Rows)).split())
            assert form.field is not None and form.field.about in said and form.field.bounds in said
            form.action_move(1)


Snap = Callable[..., bool]


@pytest.mark.parametrize("size", [(140, 40), (80, 24)], ids=["140x40", "80x24"])
def test_picture(snap_compare: Snap, bench: tuple[Workbench, list[Any]], size: tuple[int, int]) -> None:
    async def show(pilot: Pilot[Any]) -> None:
        form = await open_form(pilot)
        await go_to(pilot, form, "model.n_head")
        await pilot.press("ctrl+u")
        await until(pilot, lambda: form.value("model.n_head") == "")  # a letter overtakes a key that is bound
        await pilot.press("5")

    assert snap_compare(bench[0], terminal_size=size, run_before=show)


@pytest.mark.parametrize("size", [(140, 40), (80, 24)], ids=["140x40", "80x24"])
def test_picture_of_the_forecast(
    snap_compare: Snap, bench: tuple[Workbench, list[Any]], measured: list[Slow], size: tuple[int, int]
) -> None:
    async def show(pilot: Pilot[Any]) -> None:
        await open_form(pilot)
        pilot.app.screen._pace._since = -1e9
        await tick(pilot)
        measured[-1].end(0.0312)
        await tick(pilot)

    assert snap_compare(bench[0], terminal_size=size, run_before=show)
