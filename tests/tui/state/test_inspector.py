"""Looking into weights beside the screen: what is asked for, what is known, what is kept and what is let go."""

from __future__ import annotations

import json
import math
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import engine.inspect.subject
from engine.inspect.layers import attention_maps, logit_lens
from engine.inspect.losses import joined, text_losses, worst_passages
from engine.inspect.subject import HeldOut, Subject, open_held_out, open_subject
from engine.model import build_model
from engine.preset_files import load_preset
from engine.runs.layout import RunDir, create_run
from engine.runs.writer import RunWriter
from engine.sampling.generate import start_token
from engine.tokenizers.answers import Answers
from engine.tokenizers.byte import ByteTokenizer
from tui.state.inspected import LENGTH, LENGTHS, Held, Source, around, pieces_of
from tui.state.inspector import Inspector, Inspectors
from tui.state.ladder import RUNGS, Rung, RungsReader
from tui.state.news import Notice
from tui.state.worker import Ticket, Worker

KEPT = Path(__file__).parents[2] / "kept" / "format-1"
TICKET = Ticket("", lambda _: None, lambda _: None, lambda _: None)


class Desk:
    """A worker, and an inspector of a run that was really trained."""

    def __init__(self, run: RunDir) -> None:
        self.run, self.said = run, list[Notice]()
        self.works = Worker("works", lambda problem: self.said.append(Notice(problem, bad=True)))
        self.inspectors = Inspectors(self.works, self.said.append, None)

    @property
    def inspector(self) -> Inspector:
        return self.inspectors.of(self.run)

    def until(self, test: Callable[[], object], live: bool = False) -> None:
        """Look, as a screen would, until `test` holds."""
        end = time.monotonic() + 60
        while not test():
            assert time.monotonic() < end, f"it did not happen: {self.inspector.problem} {self.said}"
            self.inspector.look(live, tuple(self.run.checkpoint_steps()))
            self.works.deliver()
            time.sleep(0.002)

    def read(self, live: bool = False) -> None:
        """Until the text that is asked for is read, or cannot be."""
        inspector = self.inspector
        inspector.look(live, tuple(self.run.checkpoint_steps()))
        self.until(lambda: not inspector.reading and (inspector.problem or inspector.read), live)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], RunDir]:
    """A trained run by its name, its corpus found again."""
    monkeypatch.setenv("TINYTUI_CACHE", str(tmp_path / "cache"))

    def copy(name: str) -> RunDir:
        run = RunDir(tmp_path / "runs" / name)
        shutil.copytree(KEPT / "runs" / name, run.path)
        info = json.loads(run.run_json.read_text())
        info["corpus"]["path"] = str(KEPT / "corpora" / "kept.txt")
        run.run_json.write_text(json.dumps(info))
        return run

    return copy


@pytest.fixture
def desk(kept: Callable[[str], RunDir]) -> Iterator[Desk]:
    made = Desk(kept("grouped-heads"))
    yield made
    made.works.end()


@pytest.mark.parametrize("name", ["grouped-heads", "muon-bpe"])
def test_a_held_out_passage_has_the_losses_of_the_engine(kept: Callable[[str], RunDir], name: str) -> None:
    desk = Desk(kept(name))
    desk.read()
    subject = open_subject(desk.run, "best")
    split = open_held_out(desk.run, subject.tokenizer)
    read, inspector = desk.inspector.read, desk.inspector
    assert read is not None and read.losses is not None and read.whole and read.step == subject.step == 20
    ids = split.passage(0, LENGTH)
    assert read.text.ids.tolist() == ids.tolist()
    wanted = joined(list(text_losses(subject.model, ids)))
    assert np.allclose(read.losses.loss, wanted.loss, atol=1e-5)
    assert inspector.cursor == 1 and read.loss_of(0) is None
    assert read.loss_of(1) == pytest.approx(float(wanted.loss[0]))
    text = "".join(read.text.pieces).replace("⏎\n", "\n")
    assert text == subject.tokenizer.decode(ids)
    assert sum(count for _, count in read.text.counts) == len(ids), "the very first token is shown too"
    desk.works.end()


def test_a_typed_text_begins_as_one_without_a_prompt(desk: Desk) -> None:
    desk.read()
    inspector = desk.inspector
    inspector.show_typed("the thing")
    desk.until(lambda: inspector.text and inspector.text.source.kind == "typed" and not inspector.reading)
    text, read = inspector.text, inspector.read
    assert text is not None and read is not None and read.losses is not None
    assert text.ids[0] == start_token(text.tokenizer) and text.first == 1 and inspector.cursor == 1
    assert "".join(text.pieces[1:]) == "the thing" and read.loss_of(1) is not None
    inspector.show_typed("snow ☃ man")
    desk.until(lambda: inspector.problem)
    assert "☃" in inspector.problem and inspector.read is None
    inspector.turn(1)
    desk.read()
    assert inspector.source == Source() and not inspector.problem and inspector.typed == "snow ☃ man"


def test_the_worst_passages_are_shown_as_they_were_judged(desk: Desk) -> None:
    desk.read()
    inspector = desk.inspector
    inspector.find_worst()
    desk.until(lambda: inspector.worst is not None and inspector.worst.looked_at == inspector.worst.wanted)
    subject = open_subject(desk.run, "best")
    *_, wanted = worst_passages(subject.model, open_held_out(desk.run, subject.tokenizer).ids)
    assert inspector.worst is not None and inspector.worst.passages == wanted.passages
    assert len(inspector.worst_texts) == len(wanted.passages) and all(
        "\n" not in text for text in inspector.worst_texts
    )
    found = inspector.worst
    inspector.find_worst()
    assert inspector.worst is found, "what is known is not looked for again"
    for passage in found.passages[:3]:
        inspector.show_worst(passage)
        desk.read()
        read = inspector.read
        assert read is not None and read.judged is not None and len(read.judged) == passage.length
        assert read.judged.mean == pytest.approx(passage.loss, rel=1e-4)
        assert inspector.cursor == read.text.judged
    inspector.turn(0)
    assert inspector.source == Source()


def test_the_figures_are_of_answers_where_they_alone_were_learned(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = open_subject(desk.run, "best").tokenizer
    split = HeldOut(open_held_out(desk.run, tokenizer).ids, Answers(np.array([0, 20]), np.array([9, 30])))
    monkeypatch.setattr(engine.inspect.subject, "open_held_out", lambda *_: split)
    desk.read()
    read, counted = desk.inspector.read, [*range(1, 9), *range(20, 30)]
    assert read is not None and read.figures is not None and read.text.in_part
    assert np.flatnonzero(read.text.counted).tolist() == counted
    losses = [read.loss_of(place) for place in counted]
    assert read.figures[0] == 18 and read.figures[1] == pytest.approx(np.mean(losses))


def test_a_search_that_is_left_is_not_taken_for_a_whole_one(desk: Desk) -> None:
    desk.read()
    inspector = desk.inspector
    inspector.find_worst()
    inspector.leave_worst()
    assert not desk.works.asked("inspect worst")
    inspector.find_worst()
    desk.until(lambda: inspector.worst is not None and inspector.worst.looked_at == inspector.worst.wanted)


def test_attention_and_the_lens_are_of_the_tokens_around_the_cursor(desk: Desk) -> None:
    desk.read()
    inspector = desk.inspector
    subject = open_subject(desk.run, "best")
    assert inspector.text is not None
    ids = inspector.text.ids
    size = subject.model.config.block_size
    for cursor in (1, size - 1, size, len(ids) - 1):
        inspector.go(cursor)
        start, end = around(cursor, len(ids), size)
        inspector.view = "attention"
        desk.until(lambda: inspector.part("attention"))
        part = inspector.part("attention")
        assert part is not None and part.maps is not None and (part.start, part.end) == (start, end)
        assert np.allclose(part.maps.weights, attention_maps(subject.model, ids[start:end]).weights, atol=1e-5)
        inspector.view = "lens"
        desk.until(lambda: inspector.part("lens"))
        part, wanted = inspector.part("lens"), logit_lens(subject.model, ids[start:end])
        assert part is not None and part.lens is not None and wanted is not None
        assert np.allclose(part.lens.probability, wanted.probability, atol=1e-5)
    asked = inspector._asked_part
    inspector.go(len(ids) - 2)
    inspector.look(False, (20,))
    assert inspector._asked_part is asked, "a step within what is known asks for nothing"


def test_a_model_that_attends_to_nothing_says_so_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.read()
    inspector = desk.inspector
    config = load_preset("bigram").model
    bigram = build_model(config, inspector.text.tokenizer.vocab_size, torch.Generator()) if inspector.text else None
    assert bigram is not None
    monkeypatch.setattr(Held, "shown", lambda *_: Subject(desk.run, 20, bigram.eval(), inspector.text.tokenizer))  # type: ignore[union-attr]
    inspector.view = "attention"
    desk.until(lambda: inspector.part_problem)
    assert "attends to nothing" in inspector.part_problem and "\n" not in inspector.part_problem
    asked = inspector._asked_part
    inspector.go(5)
    inspector.look(False, (20,))
    assert inspector._asked_part is asked


def test_weights_are_read_once_for_each_manifest(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    real = engine.inspect.subject.open_subject

    def count(run: RunDir, which: str | int, **more: object) -> Subject:
        opened.append(which)
        return real(run, which, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(engine.inspect.subject, "open_subject", count)
    inspector = desk.inspector
    desk.read(live=True)
    for view in ("attention", "lens", "tokens"):
        inspector.view = view
        desk.until(lambda view=view: inspector.token if view == "tokens" else inspector.part(view), live=True)  # type: ignore[misc]
    inspector.resize(-10)
    desk.read(live=True)
    inspector.turn(1)
    desk.read(live=True)
    assert opened == ["last"]
    before = inspector.text
    shutil.copytree(desk.run.checkpoint(20), desk.run.checkpoint(30))
    desk.until(lambda: len(opened) == 2 and not inspector.reading, live=True)
    assert opened == ["last", "last"] and inspector.text is not before
    assert inspector.source.number == 1, "another checkpoint is looked at on the same text"
    inspector.chosen = 20
    desk.until(lambda: len(opened) == 3 and not inspector.reading, live=True)
    assert opened[2] == 20
    shutil.rmtree(desk.run.checkpoint(20))
    desk.until(lambda: inspector.chosen is None, live=True)


def test_before_the_first_checkpoint_there_are_tokens(desk: Desk) -> None:
    shutil.rmtree(desk.run.checkpoints)
    desk.read()
    inspector, read = desk.inspector, desk.inspector.read
    assert read is not None and read.losses is None and read.step is None and "no checkpoint" in read.why
    inspector.view = "tokens"
    desk.until(lambda: inspector.token)
    assert inspector.token is not None and inspector.token.neighbours == () and inspector.token.step is None
    for view in ("attention", "lens"):
        inspector.view = view
        inspector.look(False, ())
        assert not desk.works.asked("inspect part")


def test_a_damaged_checkpoint_is_passed_over_and_told(desk: Desk) -> None:
    shutil.copytree(desk.run.checkpoint(20), desk.run.checkpoint(30))
    weights = desk.run.checkpoint(30) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-3])
    desk.read(live=True)
    assert desk.inspector.step == 20 and len(desk.said) == 1 and "step-00000030" in desk.said[0].text


def test_a_corpus_that_is_gone_is_one_line_and_a_typed_text_still_works(desk: Desk) -> None:
    info = json.loads(desk.run.run_json.read_text())
    info["corpus"] |= {"path": "/nowhere/kept.txt", "name": "nowhere"}
    desk.run.run_json.write_text(json.dumps(info))
    desk.read()
    inspector = desk.inspector
    assert "i looks at a text that you type" in inspector.problem and "\n" not in inspector.problem
    inspector.show_typed("the")
    desk.until(lambda: inspector.read is not None and inspector.read.whole)
    assert not inspector.problem


def test_a_longer_passage_keeps_its_token(desk: Desk) -> None:
    desk.read()
    inspector = desk.inspector
    inspector.resize(-10)
    desk.read()
    assert inspector.source.length == LENGTHS[0] and inspector.text is not None
    inspector.turn(1)
    desk.read()
    inspector.go(50)
    split = open_held_out(desk.run, inspector.text.tokenizer).ids
    for by in (1, 1, -1, -1):
        inspector.resize(by)
        desk.read()
        assert inspector.source.number * inspector.source.length + inspector.cursor == LENGTHS[0] + 50
        assert inspector.id == split[LENGTHS[0] + 50]
    passages = inspector.text.passages
    assert inspector.source.number == 1 and passages >= 2
    for _ in range(2):
        inspector.turn(-1)
        desk.read()
    assert inspector.source.number == passages - 1, "round the end"


def test_another_run_lets_go_what_was_computed_and_keeps_what_was_chosen(
    desk: Desk, kept: Callable[[str], RunDir]
) -> None:
    desk.read()
    first = desk.inspector
    first.view = "attention"
    first.resize(-10)
    desk.read()
    first.turn(1)
    desk.read()
    desk.until(lambda: first.part("attention"))
    first.go(7)
    assert first.attention is not None
    other = desk.inspectors.of(kept("muon-bpe"))
    assert other is not first and first.read is None and first.attention is None
    assert desk.inspectors.of(desk.run) is first and first.view == "attention" and first.source.number == 1
    desk.read()
    assert first.cursor == 7


def test_work_beside_a_training_takes_one_thread(desk: Desk) -> None:
    torch.set_num_threads(2)
    seen = []
    real = torch.nn.functional.embedding

    def look(*values: object, **more: object) -> torch.Tensor:
        seen.append((threading.current_thread().name, torch.get_num_threads()))
        return real(*values, **more)  # type: ignore[arg-type]

    desk.inspector.beside = lambda: True
    torch.nn.functional.embedding = look
    try:
        desk.read()
    finally:
        torch.nn.functional.embedding = real
    assert seen and {threads for _, threads in seen} == {1} and torch.get_num_threads() == 2


def test_parts_of_a_character_say_which_byte_they_are() -> None:
    tokenizer = ByteTokenizer()
    pieces = pieces_of(tokenizer, np.asarray(tokenizer.encode("a☃\n\x1b[2J")).astype(np.int64))
    assert pieces == ("a", "<0xE2>", "<0x98>", "☃", "⏎\n", "␛", "[", "2", "J")


def test_the_rungs_are_the_newest_runs_on_the_same_corpus(tmp_path: Path) -> None:
    def make(name: str, preset: str, corpus: str, loss: float) -> RunDir:
        run = create_run(
            tmp_path, name, load_preset(preset), corpus={"name": corpus, "path": None, "sha256": "0" * 64, "bytes": 9},
            preset=preset, tokenizer={"kind": "char", "vocab_size": 9, "fingerprint": "f" * 64}, environment={},
        )  # fmt: skip
        with RunWriter(run) as writer:
            writer.metric(step=5, tokens=9, time_s=1.0, loss=loss, lr=1.0, grad_norm=1.0, tokens_per_s=9.0)
            writer.metric(step=5, tokens=9, time_s=1.0, val_loss=loss, val_bpb=loss / math.log(2), eval_s=0.1)
            writer.sample(step=5, prompt="", text=f"\n{name} says\n", settings={}, seed=1)
            writer.status(state="stopped", step=5, steps=5, params=1000)
        return run

    make("elsewhere", "blocks", "other", 0.5)
    old = make("old", "bigram", "notes", 3.0)
    make("new", "bigram", "notes", 2.9)
    shown = make("shown", "multi-head", "notes", 2.0)
    reader = RungsReader(tmp_path, shown)
    found = reader.look(TICKET)
    assert found is not None and reader.look(TICKET) is None, "nothing has changed"
    assert [rung.preset for rung in found] == list(RUNGS)
    by = {rung.preset: rung for rung in found}
    assert by["multi-head"].here and by["multi-head"].val_loss == 2.0 and by["multi-head"].sample == "\nshown says\n"
    assert by["blocks"].run is None and by["nano"].run is None
    assert by["bigram"].others == 1 and by["bigram"].run in ("new", "old")
    with RunWriter(shown) as writer:
        writer.metric(step=6, tokens=9, time_s=1.0, val_loss=1.5, val_bpb=1.5, eval_s=0.1)
    again = reader.look(TICKET)
    assert again is not None and {rung.preset: rung for rung in again}["multi-head"].val_loss == 1.5
    (shown.path / "metrics.jsonl").unlink()
    shown.run_json.write_text("{")
    mine: Rung = (RungsReader(tmp_path, old).look(TICKET) or [])[0]
    assert mine.run == "old" and mine.here and mine.bits_per_byte == pytest.approx(3.0 / math.log(2), abs=1e-4)
