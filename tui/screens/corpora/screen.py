"""Screen 6: the corpora: what there is, a text of any size to page through, what is in it; add, fetch, remove."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.content import Content

from engine.errors import ConfigError
from tui.actions import Action, bindings
from tui.screens.corpora.counted import card_rows, statistics_rows, token_rows
from tui.screens.corpora.leaf import FactsLeaf, TextLeaf
from tui.screens.corpora.lines import columns_for, heading, line_of
from tui.screens.corpora.panes import FactsPane, ListPane, TextPane
from tui.screens.dialogs.ask import AskScreen
from tui.screens.dialogs.choose import Choice, ChooseScreen
from tui.screens.dialogs.confirm import ConfirmScreen, Way
from tui.screens.workscreen import WorkScreen
from tui.state.corpora import Addition, Shelf
from tui.state.corpuswork import Entry
from tui.state.session import Session
from tui.state.tokencounts import KINDS, kind_name
from tui.text import Part, Row, clean, lines_of
from tui.widgets.menu import Menu
from tui.widgets.pane import Pane
from tui.widgets.rows import Rows, cut
from tui.widgets.tabs import PaneTabs

REST = 1
"""Polls that the cursor must rest on a corpus before it is opened."""
PARTS = {"corpora": "#list-pane", "text": "#text-pane", "statistics": "#facts-pane"}


class CorporaScreen(WorkScreen):
    """The list over the chosen text and what was counted of it."""

    BINDINGS: ClassVar[list[BindingType]] = bindings("corpora")
    CSS_PATH = "corpora.tcss"
    AUTO_FOCUS = "#list"
    scope = "corpora"
    place = "corpora"
    help_title = "corpora"
    about: ClassVar[str] = (
        "Texts to train on. Lines of the list whose text was counted say how long it is and "
        "how many distinct characters it has."
    )

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.shelf: Shelf = session.shelf
        self._rested = 0
        self._text = TextLeaf(self.shelf, self._no_text)
        self._facts = FactsLeaf(self.shelf, self._fact_rows)
        self._made: tuple[object, list[Row]] = None, []
        self._part = "corpora"

    def body(self) -> ComposeResult:
        yield Rows(id="corpora-line")
        yield PaneTabs(list(PARTS))
        yield ListPane(id="list-pane")
        with Horizontal(id="below"):
            yield TextPane(self._text)
            yield FactsPane(self._facts)

    def on_mount(self) -> None:
        self.shelf.look()
        self._arrange()

    # -- layout --------------------------------------------------------------------------------------------------------

    def on_resize(self, event: events.Resize) -> None:
        self._arrange()

    def on_descendant_focus(self) -> None:
        self._arrange()
        self.show_keys()

    def _arrange(self) -> None:
        """One part at a time where there is no room for three."""
        width, height = self.size
        tiny, tabs = width < 40 or height < 10, width < 96 or height < 26
        for name, on in (("tiny", tiny), ("tabs", tabs), ("narrow", width < 130 or height < 36)):
            self.set_class(on, name)
        for part, selector in PARTS.items():
            pane = self.query_one(selector)
            if pane.has_focus_within:
                self._part = part
        for part, selector in PARTS.items():
            self.query_one(selector).display = not tabs or part == self._part
        self.query_one("#below").display = not tabs or self._part != "corpora"
        self.query_one(PaneTabs).show_tab(self._part)
        self.call_after_refresh(self.refresh_view)

    def show_part(self, part: str) -> None:
        """Give the focus to a part, which is shown when it was away; who looks at a text waits for no rest."""
        self._part = part
        if part != "corpora":
            self.shelf.open()
        self.query_one("#below").display = True
        pane = self.query_one(PARTS[part], Pane)
        pane.display = True
        pane.focus_target()

    def on_pane_tabs_picked(self, event: PaneTabs.Picked) -> None:
        self.show_part(event.name)

    def action_step_focus(self, by: int) -> None:
        parts = list(PARTS)
        self.show_part(parts[(parts.index(self._part) + by) % len(parts)])

    def action_back(self) -> None:
        """To the list; from there to the run."""
        if self._part != "corpora":
            self.show_part("corpora")
        elif not self.session.empty:
            self.app.show_train()

    # -- what is shown -------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Called at every poll of the app: the text under the cursor is opened once the cursor rests."""
        if not self.is_current:
            return
        self._rested += 1
        if self._rested > REST:
            self.shelf.open()

    def refresh_view(self) -> None:
        if not self.built:
            return
        shelf, menu = self.shelf, self.query_one("#list", Menu)
        entries = shelf.entries or []
        columns = columns_for(max(6, menu.size.width - 2))
        self.query_one("#head", Rows).show([[("  " + heading(columns), "dim")]] if entries else [])
        menu.empty = self._empty()
        menu.set_items([line_of(each, shelf.statistics_of(each), columns) for each in entries], shelf.index)
        if not self.has_class("tabs"):
            self.query_one("#list-pane").styles.height = min(max(3, len(entries)) + 3, max(6, self.size.height // 3))
        else:
            self.query_one("#list-pane").styles.height = "1fr"
        self._show_line()
        self._show_text()
        self._facts.repaint()
        self.show_keys()

    def _empty(self) -> str:
        if self.shelf.problem:
            return f"✖ {clean(self.shelf.problem, keep_newlines=False)}"
        return "reading the corpora …" if self.shelf.entries is None else "no corpora; a adds a file, f fetches one"

    def _show_line(self) -> None:
        """What is being brought in, or how many corpora there are."""
        shelf, entries = self.shelf, self.shelf.entries or []
        line = self.query_one("#corpora-line", Rows)
        if shelf.job is not None:
            far = f" {100 * shelf.job.fraction:.0f}%" if 0 < shelf.job.fraction < 1 else ""
            stage = f"  {shelf.job.stage}{far}" if shelf.job.stage and shelf.job.stage not in shelf.job.doing else far
            doing: list[Part] = [("○ ", "accent"), (clean(shelf.job.doing, keep_newlines=False), "bright")]
            line.show([[*doing, (stage, "foreground"), ("   c gives it up", "dim")]])
            return
        words = [f"{sum(each.where == name for each in entries)} {name}" for name in ("yours", "to fetch", "damaged")]
        count = "1 corpus" if len(entries) == 1 else f"{len(entries)} corpora"
        said = "".join(f"  {each}" for each in words if not each.startswith("0 "))
        line.show([[(count, "bright"), (said, "dim"), ("  a adds a file, f fetches one", "dim")]])

    def _show_text(self) -> None:
        if not self.built:
            return
        entry, reading = self.shelf.chosen, self.shelf.reading
        pane = self.query_one("#text-pane", Pane)
        title = Content.assemble(("text", ""), *([(f"  {entry.name}", "bold $bright")] if entry else []))
        if entry is not None and reading is not None and reading.found.text is not None:
            text, known = reading.found.text, reading.found.statistics
            page = self.shelf.page(reading.number)
            if page is not None:
                percent = 100 * page.start / max(1, text.n_bytes)
                split = "" if known is None else "  validation" if page.start >= known.cut else "  training"
                where = f"  page {reading.number + 1:,} of {reading.count:,}  {percent:.0f}%{split}"
                title = Content.assemble(title, (where, "$dim"))
        elif reading is not None and reading.beginning:
            title = Content.assemble(title, ("  its beginning", "$dim"))
        pane.say_title(title)
        self._text.settle()

    def _no_text(self) -> Row:
        entry, reading = self.shelf.chosen, self.shelf.reading
        if entry is None:
            return [("the text of the chosen corpus", "dim")]
        if entry.corpus.problem:
            return [(f"✖ {clean(entry.corpus.problem, keep_newlines=False)}", "alarm")]
        if entry.where == "to fetch":
            return [("not on this machine yet; f fetches it", "dim")]
        if reading is not None and reading.problem:
            return [(f"✖ {clean(reading.problem, keep_newlines=False)}", "alarm")]
        return [self._doing(reading.found.stage, reading.found.fraction) if reading else ("opening …", "dim")]

    @staticmethod
    def _doing(stage: str, fraction: float) -> Part:
        far = f" {100 * fraction:.0f}%" if 0 < fraction < 1 else " …"
        return (f"{stage or 'reading'}{far}", "dim")

    def _fact_rows(self, width: int) -> Sequence[Row]:
        entry, reading = self.shelf.chosen, self.shelf.reading
        if entry is None:
            return [[("what is in the chosen corpus", "dim")]]
        found = reading.found if reading is not None else None
        problem = reading.problem if reading is not None else ""
        stage = (found.stage, round(found.fraction, 2)) if found is not None else None
        told = self.shelf.statistics_of(entry)
        key = (
            (entry.key, width, stage, problem),
            (told is not None, found is not None and found.text is not None, self.shelf.tokens_of(entry)),
        )
        if self._made[0] != key:
            self._made = key, self._make_rows(entry, width)
        return self._made[1]

    def _make_rows(self, entry: Entry, width: int) -> list[Row]:
        reading, told = self.shelf.reading, self.shelf.statistics_of(entry)
        rows: list[Row] = []
        problem = entry.corpus.problem or (reading.problem if reading is not None else "")
        if problem:
            lines = lines_of(f"✖ {clean(problem, keep_newlines=False)}", width)
            rows = [[(line, "alarm")] for line in lines]
        elif told is not None:
            rows = statistics_rows(told, width)
        elif entry.where == "to fetch":
            rows = [[("f fetches it; then it is counted", "dim")]]
        elif reading is None:
            rows = [[("opening …", "dim")]]
        elif reading.found.stage:
            rows = [[self._doing(reading.found.stage, reading.found.fraction)]]
        else:
            rows = [cut([("not counted yet; ", "dim"), ("s", "accent bold"), (" counts it", "dim")], width)]
        tokens = self.shelf.tokens_of(entry)
        return [*(token_rows(tokens, width) if tokens is not None else []), *rows, [], *card_rows(entry.corpus, width)]

    # -- keys ----------------------------------------------------------------------------------------------------------

    def on_menu_moved(self, event: Menu.Moved) -> None:
        self.shelf.go(event.index)
        self._rested = 0
        self.refresh_view()

    def on_menu_chosen(self, event: Menu.Chosen) -> None:
        self.shelf.go(event.index)
        self.shelf.open()
        self.show_part("text")

    def on_key(self, event: events.Key) -> None:
        if self._part == "text":
            self.call_after_refresh(self._show_text)

    def relabel(self, action: Action) -> Action:
        if action.id == "list.choose":
            return replace(action, label="read")
        return action

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        chosen, reading = self.shelf.chosen, self.shelf.reading
        if action == "remove":
            return chosen is not None and chosen.where in ("yours", "damaged") and not chosen.corpus.shipped
        if action == "new_run_on":
            return chosen is not None and chosen.corpus.available
        if action == "cancel":
            return self.shelf.job is not None
        if action in ("fetch", "add"):
            return self.shelf.job is None
        if action == "count":
            return (
                chosen is not None
                and reading is not None
                and not (reading.found.stage or reading.problem or self.shelf.statistics_of(chosen))
            )
        if action == "tokens":
            return reading is not None and reading.found.text is not None
        if action == "percent":
            return reading is not None and reading.count > 1
        return True

    # -- actions -------------------------------------------------------------------------------------------------------

    def action_count(self) -> None:
        self.shelf.count()

    def action_tokens(self) -> None:
        """Choose a tokenizer, whose most frequent tokens are then first among the statistics."""

        def count(chosen: tuple[str, int] | None) -> None:
            if chosen is not None:
                self.shelf.count_tokens(*chosen)
                self.show_part("statistics")
                self.refresh_view()

        choices = [Choice(kind_name(*each), each) for each in KINDS]
        self.app.push_screen(ChooseScreen("most frequent tokens of which tokenizer?", choices, cursor=1), count)

    def action_cancel(self) -> None:
        self.shelf.cancel()
        self.refresh_view()

    def action_percent(self) -> None:
        """Ask for a place in the text, and go there."""

        def parse(typed: str) -> float:
            try:
                percent = float(typed.strip().rstrip("%"))
            except ValueError:
                percent = -1.0
            if not 0 <= percent <= 100:
                raise ConfigError("a number from 0 to 100")
            return percent

        def go(percent: float | None) -> None:
            reading = self.shelf.reading
            if percent is not None and reading is not None and reading.count:
                self._text.go_to(min(reading.count - 1, int(percent / 100 * reading.count)), percent == 100)
                self.show_part("text")

        self.app.push_screen(AskScreen("how far into the text", "in percent; 100 is its end", "50", parse), go)

    def action_fetch(self) -> None:
        chosen = self.shelf.chosen
        known = [each.name for each in self.shelf.entries or () if each.where == "to fetch"]
        first = chosen.name if chosen is not None and chosen.where == "to fetch" else known[0] if known else ""

        def parse(typed: str) -> str:
            what = typed.strip()
            if what in known or (what.startswith(("http://", "https://", "gutenberg:")) and len(what) > 10):
                return what
            choice = ", ".join([*known, "gutenberg:84, an http(s) address"])
            raise ConfigError(f"what to fetch: {choice}")

        def fetch(what: str | None) -> None:
            if what is not None:
                self.shelf.fetch(what)
                self.refresh_view()

        about = "a known corpus, a book as gutenberg:84, or the http(s) address of a text or table"
        self.app.push_screen(AskScreen("fetch a corpus", about, first, parse), fetch)

    def action_add(self) -> None:
        from tui.screens.corpora.add import AddScreen, PathScreen

        def chosen(path: str | None) -> None:
            if path is not None:
                self.app.push_screen(AddScreen(self.session, path), add)

        def add(what: Addition | None) -> None:
            if what is not None:
                self.shelf.add(what)
                self.refresh_view()

        self.app.push_screen(PathScreen(self.session), chosen)

    def action_new_run_on(self) -> None:
        chosen = self.shelf.chosen
        if chosen is not None and chosen.corpus.available:
            self.app.new_run_on(chosen.name)

    def action_remove(self) -> None:
        entry = self.shelf.chosen
        if entry is None or not self.check_action("remove", ()):
            return

        def ask(names: Sequence[str]) -> None:
            said: list[Row] = [
                [(clean(entry.name, keep_newlines=False), "bright bold"), (" and its file", "foreground")]
            ]
            if names:
                runs = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
                said.append([("cannot go on without it: ", "val"), (clean(runs, keep_newlines=False), "bright")])
            else:
                said.append([("no run here needs it", "foreground")])
            ways = (Way("y", "remove", "this cannot be undone", entry), Way("escape", "keep", "leave it", None))
            self.app.push_screen(ConfirmScreen("remove this corpus?", said, ways, first=1), remove)

        def remove(chosen: Entry | None) -> None:
            if chosen is not None:
                self.shelf.remove(chosen)

        self.shelf.ask_needs(entry, ask)
