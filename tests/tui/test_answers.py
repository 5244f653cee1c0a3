"""An answer as tokens: their texts, logits and versions, without a screen."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.runs.layout import RunDir
from engine.sampling.kept import KeptLogits, TopLogits
from engine.sampling.settings import SamplingSettings
from engine.tokenizers.byte import ByteTokenizer
from engine.tokenizers.char import CharTokenizer
from tui.state.conversation import DEFAULTS, Sheet
from tui.state.conversations import Conversations
from tui.state.counting import count
from tui.state.drafts import read_draft, write_draft
from tui.state.grid import temperatures
from tui.state.history import Prompted, prompts_elsewhere
from tui.state.looking import FROM_HISTORY, GONE, look
from tui.state.nexttoken import next_token
from tui.state.presets import RULES, SHIPPED, forget_preset, keep_preset, own_presets, preset_of
from tui.state.prompting import LIVE, LoadedModels, PromptJob, Request
from tui.state.tokens import Token, Written, loss_of, tokens_of
from tui.state.vocabulary import Vocabularies

KEPT = Path(__file__).parents[1] / "kept" / "format-1" / "runs"


# -- tokens


@given(st.text(max_size=12), st.integers(0, 12))
def test_tokens_have_their_own_texts_whatever_is_held_back(text: str, certain: int) -> None:
    tokenizer, written = ByteTokenizer(), Written()
    ids = [int(id) for id in tokenizer.encode(text)] if text.isprintable() else list(text.encode("utf-8", "replace"))
    written.begin(tokenizer, [])
    for at, id in enumerate(ids):
        written.add(id, text[:certain] if at == len(ids) - 1 else "", at, 0.5)
    whole = "".join(token.text for token in written.tokens)
    assert whole == bytes(ids).decode("utf-8", "replace") and written.certain == len(written.text)
    assert [token.kept for token in written.tokens] == list(range(len(ids)))
    assert written.loss == (0.5 if ids else None)
    assert tokens_of(tokenizer, ids, whole) == [Token(token.id, token.text) for token in written.tokens]


def test_what_comes_again_keeps_its_logits_up_to_the_first_other_token() -> None:
    written = Written()
    written.begin(None, [Token(1, "a", 7, 0.1), Token(2, "b", 8, 0.2), Token(3, "c", 9, 0.3)])
    for id in (1, 4, 3):
        written.add(id, "x", None, None)
    assert [token.kept for token in written.tokens] == [7, None, None], "the third stands after another text"


@given(st.lists(st.floats(-30, 30), min_size=2, max_size=20), st.data())
def test_a_loss_is_that_of_all_logits_however_they_came(values: list[float], data: st.DataObject) -> None:
    logits = torch.tensor(values)
    id = data.draw(st.integers(0, len(values) - 1))
    right = float(torch.nn.functional.cross_entropy(logits[None], torch.tensor([id])))
    assert loss_of(logits, id) == pytest.approx(right, abs=1e-4)
    top = TopLogits.of(logits, data.draw(st.integers(1, len(values))))
    found = loss_of(top, id)
    assert found == pytest.approx(right, abs=1e-4) if id in top.ids else found is None
    assert loss_of(logits, len(values)) is None


@given(st.lists(st.floats(-8, 8), min_size=3, max_size=30), st.data())
def test_the_bars_are_what_is_drawn_from(values: list[float], data: st.DataObject) -> None:
    settings = SamplingSettings(
        temperature=data.draw(st.sampled_from([0.0, 0.5, 1.0])),
        top_k=data.draw(st.integers(0, 5)),
        top_p=data.draw(st.sampled_from([0.3, 0.9, 1.0])),
        min_p=data.draw(st.sampled_from([0.0, 0.2])),
    )
    taken = data.draw(st.integers(0, len(values) - 1))
    most = data.draw(st.integers(1, len(values)))
    found = next_token(torch.tensor(values), settings, [], taken, str, most)
    listed = [bar for bar in found.bars if not (bar.taken and found.bars.index(bar) >= most)]
    assert sum(bar.after for bar in listed) + found.others_after == pytest.approx(1, abs=1e-5)
    assert sum(bar.before for bar in listed) + found.others_before == pytest.approx(1, abs=1e-5)
    assert [bar.id for bar in found.bars if bar.taken] == [taken]
    assert all((bar.after == 0) == bool(bar.cut) or bar.after < 1e-7 for bar in found.bars)


def test_a_place_without_logits_says_why(tmp_path: Path) -> None:
    models, run = LoadedModels(), RunDir(tmp_path / "run")
    models._logits = KeptLogits(budget=8)
    old = models.logits.add(torch.zeros(2))
    new = models.logits.add(torch.tensor([1.0, 0.0]))
    job = PromptJob(Request(run, LIVE, "x", "x", SamplingSettings()), models, lambda _: None)
    job.labels = {0: "zero"}
    assert look(models, run, job, [Token(0, "a", old)], SamplingSettings()).why == GONE
    assert look(models, run, Prompted("x"), [Token(0, "a")], SamplingSettings()).why == FROM_HISTORY
    found = look(models, run, job, [Token(1, "b", old), Token(0, "a", new)], SamplingSettings()).next
    assert found is not None and [bar.text for bar in found.bars] == ["zero", "#1"]


def test_the_penalty_sees_the_prompt_too(tmp_path: Path) -> None:
    models, run = LoadedModels(), RunDir(tmp_path / "run")
    models.vocabularies.of = lambda _: CharTokenizer("abc")  # type: ignore[method-assign]
    kept = models.logits.add(torch.tensor([1.0, 1.0, 1.0]))
    settings = SamplingSettings(repetition_penalty=2.0, temperature=1.0)
    job = PromptJob(Request(run, "best", "a", "a", settings), models, lambda _: None)
    found = look(models, run, job, [Token(1, "b", kept), Token(2, "c", kept)], settings).next
    assert found is not None
    after = {bar.text: bar.after for bar in found.bars}
    assert after["a"] == after["b"] < after["c"], "a was asked, b was written, c was not there yet"


def test_the_rate_is_that_of_the_tokens_that_were_drawn(tmp_path: Path) -> None:
    request = Request(RunDir(KEPT / "grouped-heads"), "best", "one", "one", SamplingSettings(max_tokens=4, seed=1))
    kept: list[Prompted] = []
    first = PromptJob(request, LoadedModels(), kept.append)
    first.run()
    more = PromptJob(replace(request, begin=tuple(first.written.tokens), how="on"), LoadedModels(), kept.append)
    more.run()
    assert first.outcome is not None and first.outcome.tokens == 4 and more.outcome is not None
    assert more.outcome.tokens == 8 and more.written.tokens[:4] == first.written.tokens
    more._finish({"tokens": 8, "seconds": 2.0, "tokens_per_second": 4.0})
    assert more.outcome.tokens_per_second == 2.0
    assert [(entry.how, len(entry.ids)) for entry in kept] == [("", 4), ("on", 8)]


# -- versions, drafts, lists


def test_every_answer_to_a_prompt_is_a_version_of_it(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    run.path.mkdir()
    lines = [("one", False, ""), ("two", False, ""), ("one", False, "token"), ("one", True, ""), ("one", False, "chat")]
    (run.path / "prompts.jsonl").write_text(
        "".join(json.dumps({"prompt": p, "templated": t, "how": how, "ids": [1]}) + "\n" for p, t, how in lines)
    )
    talk = Conversations().of(run)
    assert talk.version == (0, 0) and not talk.turn_version(-1)
    talk.turn(-5)
    assert talk.version == (1, 2)
    assert talk.turn_version(1) and talk.version == (2, 2) and not talk.turn_version(1)
    talk.sheet = replace(talk.sheet, prompt="one")
    job = talk.ask(Request(run, LIVE, "one", "one", SamplingSettings()), LoadedModels())
    job.join(60)
    assert talk.version == (3, 3) and talk.turn_version(-1) and talk.turn_version(1) and talk.shown is job


@given(
    st.text(max_size=8),
    st.booleans(),
    st.dictionaries(st.sampled_from(list(DEFAULTS)), st.floats(0, 100), max_size=3),
    st.booleans(),
)
def test_a_draft_outlives_the_program(
    tmp_path_factory: pytest.TempPathFactory, prompt: str, templated: bool, values: dict[str, float], locked: bool
) -> None:
    run = RunDir(tmp_path_factory.mktemp("runs") / "run")
    run.path.mkdir()
    run.run_json.write_text("{}")
    talks = Conversations()
    talk = talks.of(run)
    talk.sheet, talk.locked = Sheet(prompt, templated, values, "77"), locked
    talks.end()
    again = Conversations().of(run)
    assert (again.sheet.prompt, again.sheet.templated, again.locked) == (prompt, templated, locked)
    assert {name: again.sheet.value(name) for name in DEFAULTS} == {name: talk.sheet.value(name) for name in DEFAULTS}
    assert not locked or again.sheet.seed == "77"
    assert (run.path / "draft.json").exists() == bool(talk.draft())


def test_what_was_sent_is_no_draft(tmp_path: Path) -> None:
    talk = Conversations().of(RunDir(tmp_path / "run"))
    talk.sheet = Sheet("asked")
    assert talk.run is not None and talk.draft() == {"prompt": "asked"}
    talk.ask(Request(talk.run, LIVE, "asked", "asked", SamplingSettings()), LoadedModels()).join(60)
    assert talk.draft() == {}
    talk.sheet = Sheet("asked more")
    assert talk.draft() == {"prompt": "asked more"}


def test_a_draft_that_came_late_or_damaged_takes_nothing_away(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    run.path.mkdir()
    run.run_json.write_text("{}")
    write_draft(run, {"prompt": "from before", "unsent": ["older"]})
    talk = Conversations().of(RunDir(tmp_path / "new"))
    talk.sheet = replace(talk.sheet, prompt="typed meanwhile")
    talk.take([], read_draft(run))
    assert talk.sheet.prompt == "typed meanwhile"
    assert talk.turn(-1) and talk.sheet.prompt == "from before" and talk.turn(-1) and talk.sheet.prompt == "older"
    for bad in (b"", b"{", b"[]", b'{"prompt": 3}', b'{"values": {"top_p": "x"}}', b"\xff"):
        (run.path / "draft.json").write_bytes(bad)
        assert read_draft(run) == {}
    write_draft(RunDir(tmp_path / "deleted"), {"prompt": "x"})
    assert not (tmp_path / "deleted").exists()
    talks = Conversations()
    talks.read_only = True
    talks.of(run).sheet = Sheet("only looking")
    talks.end()
    assert (run.path / "draft.json").read_bytes() == b"\xff"


def test_prompts_of_other_runs_come_newest_first_and_once(tmp_path: Path) -> None:
    for name, asked in (
        ("a", [(1.0, "old"), (9.0, "both")]),
        ("b", [(5.0, "both"), (7.0, "new")]),
        ("c", [(8.0, "own")]),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text("{}")
        lines = "".join(json.dumps({"prompt": text, "time": at}) + "\n" for at, text in asked)
        (tmp_path / name / "prompts.jsonl").write_text(lines + "{torn")
    found = prompts_elsewhere(tmp_path, RunDir(tmp_path / "c"))
    assert found == [("both", "a"), ("new", "b"), ("old", "a")]
    assert prompts_elsewhere(tmp_path / "none", None) == []


def test_presets_of_ones_own_are_kept_and_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert preset_of({}, SHIPPED) == "default" and own_presets() == {}
    keep_preset("mine", {"temperature": 0.3})
    assert preset_of({"temperature": 0.3, "max_tokens": 7}, {**SHIPPED, **own_presets()}) == "mine"
    assert all("max_tokens" not in values for values in {**SHIPPED, **own_presets()}.values())
    assert preset_of({"temperature": 0.31}, {**SHIPPED, **own_presets()}) == ""
    forget_preset("mine")
    assert own_presets() == {}
    (tmp_path / "tinytui" / "settings.json").write_text('{"sampling": {"a": 3, "b": {"top_p": "x", "min_p": 0.5}}}')
    assert own_presets() == {"b": {**RULES, "min_p": 0.5}}


@pytest.mark.parametrize("count", [3, 4])
@pytest.mark.parametrize("around", [0.0, 0.2, 0.8, 2.0])
def test_the_grid_has_temperatures_that_are_some(around: float, count: int) -> None:
    found = temperatures(around, count)
    assert len(set(found)) == count and list(found) == sorted(found) and found[1] == max(around, 0.4)
    for each in found:
        SamplingSettings(temperature=each)


def test_tokens_are_counted_as_the_model_gets_them() -> None:
    run, vocabularies = RunDir(KEPT / "grouped-heads"), Vocabularies()
    tokenizer = vocabularies.of(run)
    assert tokenizer is not None and vocabularies.of(run) is tokenizer
    assert count(vocabularies, run, "one two").tokens == len(tokenizer.encode("one two"))
    assert count(vocabularies, run, "").tokens == 1
    assert "\u2603" in count(vocabularies, run, "one \u2603").problem
    assert count(vocabularies, RunDir(KEPT / "none"), "x").tokens is None
