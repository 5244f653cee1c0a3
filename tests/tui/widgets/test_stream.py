"""Growing text: clean, wrapped, at the end only while the reader is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from textual.app import App, ComposeResult
from textual.geometry import Offset
from textual.selection import Selection

from tui.text import wrap
from tui.theme import Themed
from tui.widgets.stream import OutputText


class Harness(Themed, App[None]):
    CSS = "OutputText { border: round $rule; }"

    def __init__(self) -> None:
        super().__init__()
        self.out = OutputText(empty="the answer comes here")

    def compose(self) -> ComposeResult:
        yield self.out

    def rows(self) -> list[str]:
        return [strip.text[1:-2].rstrip() for strip in self.screen._compositor.render_strips()][1:-1]


words = st.text("ab 漢\né", max_size=80)


@given(words, st.integers(-1, 20))
def test_lines_fit_and_hold_all_but_the_spaces_between_them(text: str, width: int) -> None:
    """A part that is displayed, and not laid out yet, has no width."""
    lines = wrap(text, width)
    assert all(cell_len(text[start:end]) <= max(2, width) for start, end in lines)
    shown = "".join(text[start:end] for start, end in lines)
    assert shown.replace(" ", "") == text.replace(" ", "").replace("\n", "")


@given(st.lists(words, max_size=6), st.integers(2, 20))
def test_wrapping_from_the_last_line_on_is_wrapping_everything(pieces: list[str], width: int) -> None:
    text, lines = "", wrap("", width)
    for piece in pieces:
        text += piece
        lines[-1:] = wrap(text, width, lines[-1][0])
    assert lines == wrap(text, width)


async def test_pieces_are_cleaned_and_shown_as_they_come() -> None:
    app = Harness()
    async with app.run_test(size=(40, 8)) as pilot:
        assert app.rows()[0] == "the answer comes here"
        app.out.start("Q: [b]x[/b]")
        for piece in ["\nA", ": \x1b[31mred", "\r", "\nnext"]:
            app.out.append(piece)
        await pilot.pause()
        assert app.rows()[:3] == ["Q: [b]x[/b]", "A: ␛[31mred", "next"]
        assert app.out.answer == "\nA: ␛[31mred\nnext"
        app.out.append("\r")
        app.out.finish()
        assert app.out.answer.endswith("next␍")
        app.out.clear()
        await pilot.pause()
        assert app.rows()[0] == "the answer comes here"


async def test_the_prompt_is_dimmer_than_the_answer() -> None:
    app = Harness()
    async with app.run_test(size=(40, 8)) as pilot:
        app.out.start("Q")
        app.out.append("A")
        await pilot.pause()
        question, answer = list(app.out.render_line(0))[:2]
        assert (question.text, answer.text) == ("Q", "A")
        assert question.style is not None and answer.style is not None and question.style.color != answer.style.color


async def test_the_view_follows_only_a_reader_at_the_end() -> None:
    app = Harness()
    async with app.run_test(size=(40, 8)) as pilot:
        app.out.start()
        for number in range(30):
            app.out.append(f"line {number}\n")
            await pilot.pause()
        assert app.rows()[-2] == "line 29" and app.out.following
        assert app.out.vertical_scrollbar.position == app.out.max_scroll_y
        app.out.focus()
        await pilot.press("home")
        await pilot.pause()
        app.out.append("line 30\n")
        await pilot.pause()
        assert app.rows()[0] == "line 0" and not app.out.following
        assert "more" in str(app.out.border_subtitle)
        await pilot.press("end")
        await pilot.pause()
        app.out.append("line 31\n")
        await pilot.pause()
        assert app.rows()[-2] == "line 31" and not app.out.border_subtitle


async def test_a_long_prompt_is_followed_by_its_answer_and_a_text_is_read_from_its_beginning() -> None:
    app = Harness()
    async with app.run_test(size=(40, 8)) as pilot:
        app.out.start("prompt\n" * 20)
        app.out.append("answer")
        await pilot.pause()
        assert app.rows()[-1] == "answer"
        await pilot.resize_terminal(30, 7)
        await pilot.pause()
        assert app.rows()[-1] == "answer"
        app.out.set_text("first\n" + "line\n" * 20)
        await pilot.pause()
        assert app.rows()[0] == "first" and not app.out.following


async def test_it_wraps_anew_when_the_width_changes() -> None:
    app = Harness()
    async with app.run_test(size=(40, 8)) as pilot:
        app.out.set_text("one two three four five six seven eight")
        await pilot.pause()
        assert app.rows()[1] != ""
        await pilot.resize_terminal(80, 8)
        await pilot.pause()
        assert app.rows()[0] == "one two three four five six seven eight"


async def test_a_selection_is_the_text_as_it_was_not_as_it_is_wrapped() -> None:
    app = Harness()
    async with app.run_test(size=(20, 8)) as pilot:
        app.out.set_text("alpha beta gamma delta epsilon")
        await pilot.pause()
        selected = app.out.get_selection(Selection(Offset(6, 0), Offset(5, 1)))
        assert selected == ("beta gamma delta", "\n") or selected == ("beta gamma", "\n")
        assert app.out.get_selection(Selection(None, None)) == ("alpha beta gamma delta epsilon", "\n")


async def test_the_answer_is_copied_by_key() -> None:
    app = Harness()
    async with app.run_test(size=(40, 8)) as pilot:
        app.out.start("Q")
        app.out.append("the answer")
        app.out.focus()
        await pilot.press("y")
        assert app.clipboard == "the answer"
