"""An answer is walked token by token, whatever its tokens are."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from textual.app import App, ComposeResult

from tui.text import clean
from tui.theme import Themed
from tui.widgets.tokentext import SURPRISED, TokenText, surprise_look

pieces = st.lists(st.text("ab \n漢\té\x1b\u0301", max_size=4), max_size=20)


class Harness(Themed, App[None]):
    def __init__(self) -> None:
        super().__init__()
        self.out = TokenText(empty="the answer comes here")
        self.moved: list[int | None] = []

    def compose(self) -> ComposeResult:
        yield self.out

    def on_token_text_moved(self, event: TokenText.Moved) -> None:
        self.moved.append(event.cursor)

    def drawn(self, attribute: str) -> str:
        """What is drawn with an attribute."""
        strips = [self.out.render_line(y) for y in range(self.out.size.height)]
        return "".join(part.text for strip in strips for part in strip if part.style and getattr(part.style, attribute))


async def test_tokens_are_walked_and_each_is_marked_where_it_stands() -> None:
    app = Harness()
    async with app.run_test(size=(12, 4)) as pilot:
        out = app.out
        out.start("ask")
        out.append_tokens([" the", " cat", "\n", "sat", " down", " and", " slept", " long"])
        out.focus()
        await pilot.press("right")
        assert out.cursor is None, "the newest is looked at as it comes"
        seen = []
        for _ in range(9):
            await pilot.press("left")
            await pilot.pause()
            seen.append(app.drawn("reverse"))
        assert [each.strip() for each in seen] == ["long", "slept", "and", "down", "sat", "⏎", "cat", "the", "the"]
        await pilot.press("down")
        assert out.cursor == 4 and app.drawn("reverse") == " down"
        await pilot.press("up", "end")
        assert out.cursor is None and out.following
        assert app.moved[-1] is None and app.moved[:3] == [7, 6, 5]
        await pilot.press("home")
        assert not out.following, "and the reader stays there while more is written"
        out.append_tokens([" on"] * 20)
        await pilot.pause()
        assert out.cursor == 0 and out.scroll_offset.y == 0 and app.drawn("reverse").strip() == "the"
        await pilot.click(out, offset=(1, 1))
        assert out.cursor == 3


@settings(max_examples=8)
@given(pieces, st.integers(2, 20))
async def test_spans_are_the_clean_texts_and_every_line_is_drawn(texts: list[str], width: int) -> None:
    app = Harness()
    async with app.run_test(size=(width, 6)):
        out = app.out
        out.start("?")
        out.append_tokens(texts)
        joined = [out.text[slice(*out.span(index))] for index in range(out.count)]
        assert "".join(joined) == out.answer
        if not any("\r" in text for text in texts):
            assert joined == [clean(text) for text in texts]
        for bits in (None, [None, *(float(index) for index in range(len(texts)))]):
            out.tint(bits)
            for index in range(len(texts)):
                out.go_to(index)
                assert all(out.render_line(y).cell_length == width for y in range(6))
        out.differ({0, 2})
        assert all(out.render_line(y).cell_length == width for y in range(6))


def test_more_surprise_is_never_less_of_a_look() -> None:
    looks = [surprise_look(bits) for bits in (0.0, 1.0, 3.0, 6.0, 9.0, 50.0)]
    assert len(set(looks)) == 5 and looks[-1] == looks[-2] == SURPRISED and surprise_look(None) == "dim"
