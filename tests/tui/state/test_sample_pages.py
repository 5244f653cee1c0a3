"""Pages of one prompt along a run: which two are looked at, whatever comes or goes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.runs.lines import CopiedPart
from tui.state.samples import Page, SamplePages, bare_prompt, compared, copied_words, looks


def sample(step: int, prompt: str = "p", text: str = "", **more: Any) -> dict[str, Any]:
    return {"step": step, "prompt": prompt, "text": text or f"written at {step}", "seed": 1, **more}


def steps(pages: SamplePages) -> tuple[int, int]:
    assert pages.a is not None and pages.b is not None
    return pages.a.step, pages.b.step


@pytest.fixture
def pages() -> SamplePages:
    pages = SamplePages()
    pages.take([sample(at) for at in (100, 200, 300, 400)], [100, 200, 250], [3.0, 2.0, 1.5])
    return pages


def test_a_is_the_first_page_and_b_goes_along_with_the_newest(pages: SamplePages) -> None:
    assert steps(pages) == (100, 400) and pages.following
    pages.take([sample(at) for at in (100, 200, 300, 400, 500)], [], [])
    assert steps(pages) == (100, 500)


def test_a_page_that_was_turned_to_stays_whatever_comes(pages: SamplePages) -> None:
    pages.move("b", -1)
    pages.move("a", 1)
    assert steps(pages) == (200, 300) and not pages.following
    pages.take([sample(at) for at in (50, 100, 200, 300, 400, 500)], [], [])
    assert steps(pages) == (200, 300)
    pages.move("b", 2)
    assert steps(pages) == (200, 500) and pages.following


def test_pages_taken_back_by_a_resume_leave_the_nearest(pages: SamplePages) -> None:
    pages.move("b", -1)
    pages.take([sample(100), sample(200)], [], [])
    assert steps(pages) == (100, 200)


def test_a_page_knows_the_loss_of_its_weights(pages: SamplePages) -> None:
    assert [page.val_loss for page in pages.pages] == [3.0, 2.0, 1.5, 1.5]


def test_turning_ends_at_the_ends_and_a_step_finds_the_nearest_page(pages: SamplePages) -> None:
    pages.move("a", -5)
    pages.move("b", 99)
    assert steps(pages) == (100, 400)
    pages.go_to("b", 240)
    assert steps(pages) == (100, 200)


def test_each_prompt_has_its_own_pages_and_the_steps_stay() -> None:
    pages = SamplePages()
    pages.take([sample(at, prompt) for at in (1, 2, 3) for prompt in ("one", "two")], [], [])
    assert pages.prompts == ("one", "two") and len(pages.pages) == 3
    pages.move("b", -1)
    pages.choose(1)
    assert pages.prompt == "two" and steps(pages) == (1, 2)
    assert all(page.prompt == "two" for page in pages.pages)
    pages.choose(1)
    assert pages.number == 1


def test_the_prompt_shown_is_one_that_is_still_asked() -> None:
    pages = SamplePages()
    pages.take([sample(1, "before the fork"), sample(2, "one"), sample(2, "two")], [], [])
    assert pages.prompt == "one" and pages.number == 1
    pages.choose(-1)
    assert pages.prompt == "before the fork"


def test_of_two_samples_of_one_step_the_later_counts() -> None:
    pages = SamplePages()
    pages.take([sample(1, text="old"), sample(1, text="new")], [], [])
    assert [page.text for page in pages.pages] == ["new"]


def test_playing_goes_from_the_first_page_to_the_newest_and_then_follows_again(pages: SamplePages) -> None:
    pages.play()
    seen = [steps(pages)[1]]
    while pages.playing:
        pages.play_on()
        seen.append(steps(pages)[1])
    assert seen == [100, 200, 300, 400] and pages.following
    pages.move("b", -2)
    pages.play()
    assert steps(pages) == (100, 200), "from where it stands"
    pages.play()
    assert not pages.playing


def test_nothing_to_look_at_can_be_turned() -> None:
    pages = SamplePages()
    pages.move("a", 1)
    pages.choose(1)
    pages.play()
    pages.play_on()
    assert pages.a is None and pages.b is None and not pages.playing and pages.prompt == ""


texts = st.text(st.sampled_from("ab \n.é\r\x1b"), max_size=60)


@given(texts, texts, st.integers(0, 70), st.integers(0, 70))
def test_the_pieces_are_the_texts_and_same_words_are_on_both_sides(a: str, b: str, start: int, length: int) -> None:
    copied = CopiedPart(length, start, whole=True, too_much=False)
    pages = [Page(1, "", a, None, copied, 1), Page(2, "", b, None, None, 1)]
    found = compared(*pages)
    assert "".join(text for text, _ in found.a_words) == a and "".join(text for text, _ in found.b_words) == b
    same = ["".join(text for text, is_same in words if is_same).split() for words in (found.a_words, found.b_words)]
    assert "".join(same[0]) == "".join(same[1])
    pieces = looks(pages[0], found.a_words)
    assert "".join(text for text, _ in pieces) == a
    underlined = "".join(text for text, look in pieces if "underline" in look)
    assert underlined == (a[start : start + length] if start + length <= len(a) else "")


def test_words_that_differ_are_bright_and_bold_the_same_ones_dim() -> None:
    a, b = Page(1, "", "Denies fever today.", None, None, 1), Page(2, "", "Denies nausea today.", None, None, 1)
    assert looks(a, compared(a, b).a_words) == [("Denies ", "dim"), ("fever ", "bright bold"), ("today.", "dim")]
    assert looks(a, None) == [("Denies fever today.", "foreground")]


def test_what_is_copied_is_said_with_its_unit() -> None:
    page = Page(1, "", "x" * 512, None, CopiedPart(93, 0, whole=True, too_much=True), 1)
    assert copied_words(page) == ("copied 93 of 512 characters", True)
    part = Page(1, "", "x" * 512, None, CopiedPart(93, 0, whole=False, too_much=False), 1)
    assert copied_words(part) == ("copied 93 or more of 512 characters", False)
    assert copied_words(Page(1, "", "x", None, None, 1)) == ("", False)


def test_a_prompt_is_shown_without_the_format_around_it() -> None:
    from engine.text.template import Template

    template = Template(prefix="### Input:\n", infix="\n### Output:\n", suffix="\n\n")
    assert bare_prompt("### Input:\nPt. has a cough.\n### Output:\n", template) == "Pt. has a cough."
    assert bare_prompt("\nROMEO:", template) == "ROMEO:"
