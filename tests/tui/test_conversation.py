"""What was typed is never lost, whichever way one walks; what was asked is in the history, however it ended."""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.runs.layout import RunDir
from engine.sampling.settings import SamplingSettings
from engine.text.template import Template
from tui.state import conversation as conversation_state
from tui.state import history
from tui.state.conversation import Conversation, Turns, turn_of
from tui.state.conversations import MAX_RUNS, Conversations
from tui.state.history import KEEP, Prompted, PromptHistory
from tui.state.prompting import LIVE, ChatSoFar, LoadedModels, PromptJob, Request

BOUNDS = Path(__file__).parents[2] / "docs" / "bounds.md"


def conversation(folder: Path) -> Conversation:
    """With a run that has no trainer: what is asked of it is refused at once, and kept all the same."""
    return Conversations().of(RunDir(folder / "run"))


def kept(path: Path) -> PromptHistory:
    """The history as it was read."""
    history = PromptHistory(path)
    history.take(history.read())
    return history


def type_into(talk: Conversation, text: str) -> None:
    talk.sheet = replace(talk.sheet, prompt=text)


def send(talk: Conversation) -> None:
    assert talk.run is not None
    job = talk.ask(Request(talk.run, LIVE, talk.sheet.prompt, "", SamplingSettings()), LoadedModels())
    job.join(60)


def walk(talk: Conversation) -> set[str]:
    """All that is found by walking up to the oldest and down below the newest."""
    found = {talk.sheet.prompt}
    for by in (1, -1, 1):
        while talk.turn(by):
            found.add(talk.sheet.prompt)
    return found


def test_what_was_being_typed_comes_back_below_the_newest(tmp_path: Path) -> None:
    talk = conversation(tmp_path)
    for text in ("one", "two"):
        type_into(talk, text)
        send(talk)
    type_into(talk, "half a prom")
    assert talk.turn(-1) and talk.sheet.prompt == "two"
    assert talk.turn(-1) and talk.sheet.prompt == "one"
    assert not talk.turn(-1) and talk.sheet.prompt == "one"
    type_into(talk, "one, changed")
    assert talk.turn(1) and talk.sheet.prompt == "two"
    assert talk.turn(1) and talk.sheet.prompt == "half a prom"
    assert not talk.turn(1) and talk.sheet.prompt == "half a prom"
    talk.turn(-1)
    talk.turn(-1)
    assert talk.sheet.prompt == "one, changed"
    send(talk)
    assert talk.turn(1) and talk.sheet.prompt == "half a prom", "below the prompt that was sent instead of it"


def test_settings_and_answer_come_back_with_the_draft(tmp_path: Path) -> None:
    talk = conversation(tmp_path)
    assert talk.history is not None
    talk.history.append(Prompted("old", "answer", settings={"temperature": 0.1, "top_k": "x", "seed": 7}))
    talk.sheet = replace(talk.sheet, prompt="new", values={"temperature": 1.5, "top_k": 9.0}, seed="123")
    talk.turn(-1)
    assert talk.sheet.values == {"temperature": 0.1, "top_k": 9.0} and talk.sheet.seed == "7"
    assert isinstance(talk.shown, Prompted) and talk.shown.text == "answer"
    talk.turn(1)
    assert talk.sheet.values == {"temperature": 1.5, "top_k": 9.0} and talk.sheet.seed == "123" and talk.shown is None


def test_settings_that_are_none_are_left_out(tmp_path: Path) -> None:
    talk = conversation(tmp_path)
    line = '{"prompt": "x", "settings": {"temperature": 1e999, "top_k": %s, "top_p": [1], "max_tokens": "9"}}'
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "prompts.jsonl").write_text(line % ("9" * 400) + "\n")
    talk.history = kept(tmp_path / "run" / "prompts.jsonl")
    talk.sheet = replace(talk.sheet, values={"temperature": 0.5})
    assert talk.turn(-1) and talk.sheet.prompt == "x"
    assert talk.sheet.values == {"temperature": 0.5}


def test_an_example_that_is_chosen_takes_no_draft_away(tmp_path: Path) -> None:
    talk = conversation(tmp_path)
    type_into(talk, "a draft")
    talk.write("an example")
    assert talk.sheet.prompt == "an example"
    assert talk.turn(-1) and talk.sheet.prompt == "a draft"
    assert talk.turn(1) and talk.sheet.prompt == "an example"


acts = st.lists(
    st.tuples(st.just("type"), st.text("ab", min_size=1, max_size=3))
    | st.tuples(st.sampled_from(["up", "down", "send"]), st.just(""))
    | st.tuples(st.just("choose"), st.text("xy", min_size=1, max_size=2)),
    max_size=25,
)


@example([("type", "a"), ("send", ""), ("up", ""), ("type", "b")])
@given(acts)
def test_nothing_typed_is_lost_by_any_walk(done: list[tuple[str, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        talk = conversation(Path(folder))
        left, sent = set[str](), set[str]()
        for act, text in done:
            before = talk.sheet.prompt
            if act == "type":
                left.discard(before)  # typed over by the person, and theirs to lose
                type_into(talk, text)
            elif act == "send":
                send(talk)
                sent.add(before)
            elif act == "choose":
                talk.write(text)
                left.add(before)
            elif talk.turn(-1 if act == "up" else 1):
                left.add(before)
        assert left - {""} <= walk(talk)
        assert sent - {""} <= {entry.prompt for entry in talk.history.entries}  # also where one is being edited


def test_conversations_are_bounded_and_a_run_made_anew_begins_anew(tmp_path: Path) -> None:
    talks = Conversations()
    first = talks.of(RunDir(tmp_path / "a"), 1.0)
    type_into(first, "draft")
    assert talks.of(RunDir(tmp_path / "a"), 1.0) is first
    assert talks.of(RunDir(tmp_path / "a"), 2.0).sheet.prompt == ""
    for number in range(MAX_RUNS):
        talks.of(RunDir(tmp_path / f"b{number}"), 1.0)
    assert talks.of(RunDir(tmp_path / "a"), 1.0) is not first


# -- the file


DAMAGED = (
    b"", b"{", b"[]", b"3", b'{"prompt": 5}', b'{"prompt": "x", "text": []}', b'{"prompt": "x", "settings": [1]}',
    b'{"prompt": "x", "step": "7"}', b'{"prompt": "x", "templated": "yes"}', b'{"prompt": "x", "seed": NaN}',
    b'{"prompt": "x", "tokens_per_second": "fast"}', b'\xff\xfe', b"[" * 5000, b'{"text": "no prompt"}',
)  # fmt: skip


def test_damaged_lines_are_skipped_and_the_others_read(tmp_path: Path) -> None:
    good = b'{"prompt": "good \\ud800", "step": null, "new": [1]}'
    (tmp_path / "prompts.jsonl").write_bytes(b"\n".join([*DAMAGED, good, *DAMAGED]))
    assert [entry.prompt for entry in kept(tmp_path / "prompts.jsonl").entries] == ["good \ud800"]


def test_a_torn_line_takes_no_other_with_it(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_bytes(b'{"prompt": "whole"}\n{"prompt": "to')
    PromptHistory(path).append(Prompted("next"))
    assert [entry.prompt for entry in kept(path).entries] == ["whole", "next"]


def test_only_the_newest_are_kept_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"{number}"}) + "\n" for number in range(KEEP + 20)))
    entries = kept(path).entries
    assert len(entries) == KEEP and entries[-1].prompt == f"{KEEP + 19}"


def test_an_entry_keeps_its_number_whatever_comes_before_or_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tui.state.history.KEEP", 3)
    history = PromptHistory(tmp_path / "prompts.jsonl")
    for text in "cd":
        history.append(Prompted(text))
    history.take([Prompted(text) for text in "abc"])
    assert history.numbered() == (-1, [Prompted(text) for text in "bcd"]), "c is no other c, and a is one too many"
    for text in "ef":
        history.append(Prompted(text))
    assert history.numbered() == (1, [Prompted(text) for text in "def"]) and history.prompts() == ["d", "e", "f"]
    assert [entry.prompt for entry in history.read()] == ["d", "e", "f"]


def test_places_in_the_history_are_those_of_before_when_the_oldest_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is shown stays shown, what stood at an entry that has gone can be recalled, and is kept."""
    monkeypatch.setattr("tui.state.history.KEEP", 3)
    talk = conversation(tmp_path)
    assert talk.history is not None
    for text in "abc":
        talk.history.append(Prompted(text, f"answer to {text}"))
    for text in ("c", "b", "a"):
        assert talk.turn(-1) and talk.sheet.prompt == text
    type_into(talk, "a, changed")
    assert talk.turn(1) and talk.sheet.prompt == "b" and talk.version == (1, 1)
    shown = talk.shown
    talk.history.append(Prompted("d"))
    assert not talk.turn(-1) and talk.sheet.prompt == "b", "of a there is only what was made of it"
    talk.history.append(Prompted("e"))
    assert talk.shown is shown and talk.version == (1, 1), "though it has gone"
    assert not talk.turn(-1) and talk.sheet.prompt == "b"
    assert talk.turn(1) and talk.sheet.prompt == "d"
    assert walk(talk) >= {"a, changed", "d", "e"}
    assert len(talk.history.entries) == 3


def test_the_file_keeps_the_newest_and_loses_none_that_another_process_adds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "KEEP_BYTES", 1000)
    path, others, sizes = tmp_path / "prompts.jsonl", list[threading.Thread](), list[int]()
    path.touch(0o600)
    real, flock = history.open_atomic, fcntl.flock

    @contextmanager
    def while_another_appends(path: Path) -> Iterator[BinaryIO]:
        with real(path) as file:  # a lock is of whoever has opened the file, not of a process
            others.append(threading.Thread(target=PromptHistory(path).append, args=[Prompted(f"other {len(others)}")]))
            others[-1].start()
            others[-1].join(0.01)  # it waits; if it did not, it would be done by then
            yield file

    monkeypatch.setattr(history, "open_atomic", while_another_appends)
    for number in range(60):
        PromptHistory(path).append(Prompted(f"{number}"))
        for other in others:
            other.join()
        sizes.append(path.stat().st_size)
    found = [json.loads(line)["prompt"] for line in path.read_bytes().splitlines()]
    mine = [name for name in found if name.isdecimal()]
    assert mine == [f"{number}" for number in range(60)][-len(mine) :] and max(sizes) < 3 * 1000
    assert len(others) > 3 and found[found.index(mine[0]) :].count(f"other {len(others) - 1}") == 1
    assert [each.name for each in tmp_path.iterdir()] == ["prompts.jsonl"] and path.stat().st_mode & 0o777 == 0o600

    def too_late(fd: int, how: int) -> None:
        """The file is another one by the time that it is locked."""
        if not others:
            others.append(threading.current_thread())
            copy = path.with_name("copy")
            copy.write_bytes(path.read_bytes())
            copy.replace(path)
        flock(fd, how)

    others.clear()
    monkeypatch.setattr(fcntl, "flock", too_late)
    PromptHistory(path).append(Prompted("last"))
    assert others and json.loads(path.read_bytes().splitlines()[-1])["prompt"] == "last"


def test_a_history_that_another_holds_for_ever_is_appended_to_and_not_shortened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "KEEP_BYTES", 100)
    monkeypatch.setattr(history, "PATIENCE", 0.0)
    path = tmp_path / "prompts.jsonl"
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        for number in range(4):
            PromptHistory(path).append(Prompted(f"{number}"))
    assert [json.loads(line)["prompt"] for line in path.read_bytes().splitlines()] == ["0", "1", "2", "3"]
    monkeypatch.setattr(history, "KEEP_BYTES", 1)  # less than a line: it is let be
    PromptHistory(path).append(Prompted("4"))
    assert len(path.read_bytes().splitlines()) == 5


@pytest.mark.parametrize("kind", ["fifo", "folder", "device", "no folder"])
def test_what_is_no_file_is_neither_waited_for_nor_written(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "prompts.jsonl"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path = tmp_path / "gone" / "prompts.jsonl"
    history = kept(path)
    history.append(Prompted("kept in memory"))
    assert history.prompts() == ["kept in memory"]
    assert kind != "no folder" or not path.parent.exists()


def test_a_chat_keeps_its_newest_turns_and_each_where_it_was_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation_state, "MAX_TURNS", 3)
    talk, models = conversation(tmp_path), LoadedModels()

    def say(text: str, turns: Turns) -> PromptJob:
        chat = ChatSoFar(Template(), turns, 64)
        assert talk.run is not None
        job = talk.ask(Request(talk.run, LIVE, text, "", SamplingSettings(), chat=chat), models)
        job.join(60)
        return job

    def said() -> list[str]:
        return [turn_of(each)[0] for each in talk.chat]

    jobs = [say(each, tuple(map(turn_of, talk.chat))) for each in "abcde"]
    assert said() == ["c", "d", "e"]
    for job, left in ((jobs[4], ["c", "d"]), (jobs[3], ["c"])):
        assert job.request.chat is not None
        say("another", job.request.chat.turns)
        assert said() == [*left, "another"]
    assert "| turns of a chat, on the screen | 256, the newest |" in BOUNDS.read_text()
