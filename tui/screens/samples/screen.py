"""Screen 3: samples of one fixed prompt at two checkpoints beside each other, under the curve they lie on."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.timer import Timer

from tui.actions import Action, bindings
from tui.screens.samples.column import Column
from tui.screens.samples.where import WhereScreen
from tui.screens.workscreen import WorkScreen, waiting_words
from tui.state.samples import Compared, Page, SamplePages, Side, bare_prompt, compared
from tui.state.session import Session
from tui.text import Part, clean, fmt_loss
from tui.widgets.pane import Pane
from tui.widgets.passage import Passage
from tui.widgets.plot import LossPlot, PlotData
from tui.widgets.rows import Rows, cut, spread

PAGE_TIME = 1.0
"""Seconds a page stays while they are played."""
CURVE = "the curve of the run, with A and B on it"


class SamplesScreen(WorkScreen):
    """The session's `pages`, and the keys that turn them."""

    BINDINGS: ClassVar[list[BindingType]] = bindings("pages")
    AUTO_FOCUS = "#side-b"
    CSS_PATH = "samples.tcss"
    scope = "pages"
    place = "samples"
    help_title = "samples"

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._player: Timer | None = None
        self._narrow = self._tiny = False

    def body(self) -> ComposeResult:
        yield Curve()
        yield Rows(id="prompt-line")
        with Horizontal(id="columns"):
            yield Column("a")
            yield Column("b")

    def on_mount(self) -> None:
        self._player = self.set_interval(PAGE_TIME, self._play_on, pause=True)

    # -- what is shown -------------------------------------------------------------------------------------------------

    @property
    def pages(self) -> SamplePages:
        return self.session.pages

    def refresh_view(self) -> None:
        """Both pages, their words compared as soon as that is known, and where they lie on the curve."""
        view, pages = self.session.view, self.pages
        if view is not None:
            pages.take(view.samples, view.series.val_step, view.series.val_loss)
        a, b = (pages.a, pages.b) if view is not None else (None, None)
        known = self._compared(a, b)
        empty = self._empty()
        self.query_one("#side-a", Column).show(a, known, empty)
        self.query_one("#side-b", Column).show(b, known, empty if self._narrow else "")
        self._show_prompt()
        self.query_one(Curve).show(self.session, pages)

    def _compared(self, a: Page | None, b: Page | None) -> Compared | None:
        """How the two differ; asked for where it is not known yet."""
        if a is None or b is None:
            return None
        known = self.session.pages.compared
        if known is not None and (known.a.text, known.b.text) == (a.text, b.text):
            return known
        pages = self.pages

        def take(found: Compared) -> None:
            pages.compared = found

        self.session.works.ask("samples compared", lambda _: compared(a, b), take)
        return None

    def _empty(self) -> str:
        session = self.session
        if session.view is None:
            return session.problem or "".join(text for text, _ in waiting_words(session))
        if session.live:
            return "the first page comes with the first checkpoint; s on screen 1 writes one now"
        return "this run wrote no samples"

    def _show_prompt(self) -> None:
        line, pages = self.query_one("#prompt-line", Rows), self.pages
        width = max(10, line.size.width)
        if self.session.view is None or not pages.prompts:
            line.show([])
            return
        left: list[Part] = [("prompt ", "dim")]
        if len(pages.prompts) > 1:
            left += [(f"{pages.number + 1} of {len(pages.prompts)} ", "bright"), ("↑↓ ", "accent")]
        right: list[Part] = [(" ‣ playing", "accent bold")] if pages.playing else []
        shown = clean(bare_prompt(pages.prompt, self.session.template()), keep_newlines=False)
        left.append((shown, "foreground") if shown else ("none: it begins a text by itself", "dim"))
        line.show([spread(cut(left, width - (11 if right else 0)), right, width)])

    # -- layout --------------------------------------------------------------------------------------------------------

    def on_resize(self, event: events.Resize) -> None:
        self._arrange()

    def on_descendant_focus(self) -> None:
        self._arrange()
        self.show_keys()

    def _arrange(self) -> None:
        width, height = self.size.width, self.size.height
        self._tiny = width < 40 or height < 12
        self._narrow = width < 96
        self.set_class(self._tiny, "tiny")
        self.set_class(self._narrow, "narrow")
        self.set_class(height < 18, "low")
        self.query_one(Curve).styles.height = 11 if height >= 36 else 9 if height >= 28 else 7
        for column in self.query(Column):
            column.display = not self._narrow or column is self.column
        self.call_after_refresh(self.update)

    @property
    def column(self) -> Column:
        """The one with the focus; B where none has it."""
        side = "a" if isinstance(self.focused, Column) and self.focused.side == "a" else "b"
        return self.query_one(f"#side-{side}", Column)

    # -- actions -------------------------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Whether the action means something now."""
        pages = self.pages
        if action in ("turn", "play", "edge"):
            return len(pages.pages) > 1
        if action == "choose":
            return len(pages.prompts) > 1
        if action == "where":
            page = pages.page(self.column.side) if self.built else None
            return page is not None and page.passage is not None
        if action == "back":
            return pages.playing
        return True

    def relabel(self, action: Action) -> Action:
        from dataclasses import replace

        return replace(action, label="stop") if action.do == "play" and self.pages.playing else action

    def action_turn(self, side: Side, by: int) -> None:
        """Turn a page of A or B; what was playing stops."""
        self._stop()
        self.pages.move(side, by)
        self.update()

    def action_edge(self, side: Side, last: bool) -> None:
        self._stop()
        self.pages.move(side, len(self.pages.pages) if last else -len(self.pages.pages))
        self.update()

    def action_choose(self, by: int) -> None:
        self.pages.choose(by)
        for passage in self.query(Passage):
            passage.top = 0
        self.update()

    def action_page(self, by: int) -> None:
        """Both columns a page on, so that they are read side by side."""
        self._scroll(by * max(1, self.column.passage.size.height - 2))

    def _scroll(self, lines: int) -> None:
        top = self.column.passage.top + lines
        for passage in self.query(Passage):
            passage.scroll_to_line(top)

    def action_play(self) -> None:
        """Turn B through the checkpoints, a page a second, or stop that."""
        self.pages.play()
        assert self._player is not None
        if self.pages.playing:
            self._player.reset()
            self._player.resume()
        else:
            self._player.pause()
        self.update()

    def _play_on(self) -> None:
        self.pages.play_on()
        if not self.pages.playing and self._player is not None:
            self._player.pause()
        self.update()

    def _stop(self) -> None:
        if self.pages.playing:
            self.action_play()

    def action_back(self) -> None:
        self._stop()

    def on_screen_suspend(self) -> None:
        self._stop()

    def action_next_part(self) -> None:
        other = "b" if self.column.side == "a" else "a"
        column = self.query_one(f"#side-{other}", Column)
        column.display = True
        column.focus()

    def action_where(self) -> None:
        """Where in the corpus the copied passage stands."""
        page = self.pages.page(self.column.side)
        if page is not None and page.passage is not None:
            self.app.push_screen(WhereScreen(self.session, page))

    def on_column_wanted(self, event: Column.Wanted) -> None:
        self.action_turn(event.side, event.by)

    def on_passage_wheeled(self, event: Passage.Wheeled) -> None:
        self._scroll(event.by)

    def on_loss_plot_cursor_moved(self, event: LossPlot.CursorMoved) -> None:
        if event.step is not None:
            self._stop()
            self.pages.go_to("b", event.step)
            self.update()


class Curve(Pane):
    """The run's loss, with A and B on it; a click turns B to the nearest page."""

    title = "loss"

    def __init__(self) -> None:
        super().__init__(id="curve")

    def compose(self) -> ComposeResult:
        plot = LossPlot(PlotData(empty=CURVE))
        plot.can_focus = False
        yield plot

    def show(self, session: Session, pages: SamplePages) -> None:
        """The run as it stands, and where A and B lie on it."""
        plot, view = self.query_one(LossPlot), session.view
        if view is None:
            plot.clear(CURVE)
            self.say_title(Content("loss"))
            return
        a, b, series = pages.a, pages.b, view.series
        plot.show(
            PlotData.run(
                series.step,
                series.loss,
                series.val_step,
                series.val_loss,
                checkpoints=tuple(page.step for page in pages.pages),
                pointers=tuple((name, page.step) for name, page in (("A", a), ("B", b)) if page is not None),
                total_steps=session.now.steps or None,
                empty=CURVE,
            )
        )
        title: list[tuple[str, str]] = [("loss", "")]
        if b is not None and b.val_loss is not None:
            title += [("  B at step ", "$dim"), (f"{b.step:,}", "bold $bright"), ("  val ", "$dim")]
            title.append((fmt_loss(b.val_loss), "$val"))
        self.say_title(Content.assemble(*title))
