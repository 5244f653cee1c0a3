"""Add a corpus: a path, with what lies there to choose from; then its name, and of a table the columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.widgets import Input

from engine.errors import UserError
from tui.actions import bindings
from tui.screens.dialogs.dialogue import Box, Dialogue
from tui.state.corpora import Addition
from tui.state.paths import Listing, list_paths
from tui.state.session import Session
from tui.text import Part, Row, clean, fit, fmt_bytes, lines_of, wrap
from tui.widgets.form import Field, SettingsForm
from tui.widgets.menu import Menu
from tui.widgets.oneline import OneLine
from tui.widgets.rows import Rows, cut

if TYPE_CHECKING:
    from engine.text.pages import TablePreview

NONE = "none"
"""What stands for no response column."""


class PathScreen(Dialogue[str]):
    """Returns the path of a file or folder. What lies there is read beside the screen."""

    CSS_PATH = "corpora.tcss"
    AUTO_FOCUS = "#path"
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("choose"), *bindings("path")]

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._found = Listing("", (), False)

    def compose(self) -> ComposeResult:
        with Box("add a corpus: which file or folder?", "tab complete   ↑↓ move   ⏎ take it   esc close"):
            yield OneLine(placeholder="a text, a table, an archive, or a folder/", id="path")
            yield Menu(empty="reading …", id="found")
            yield Rows(id="said")

    def on_mount(self) -> None:
        self.query_one(Menu).can_focus = False
        self._look("")

    def on_unmount(self) -> None:
        self._session.reads.drop("paths")

    def on_input_changed(self, event: Input.Changed) -> None:
        self._look(event.value)

    def _look(self, typed: str) -> None:
        self._session.reads.ask("paths", lambda _: list_paths(typed), self._take, self._cannot)

    def _take(self, found: Listing) -> None:
        if not self.built:
            return
        self._found = found
        menu = self.query_one(Menu)
        width = max(10, menu.size.width - 4)
        menu.empty = "nothing here begins so" if found.typed else "nothing here"
        menu.set_items([_entry(each.shown, each.size, width) for each in found.entries], 0)
        more = [(f"and {found.more:,} more; type on", "dim")] if found.more else []
        self.query_one("#said", Rows).show([[("✔ ⏎ takes it", "good")] if found.exact else more])

    def _cannot(self, problem: str) -> None:
        if self.built:
            self.query_one("#said", Rows).show([cut([(f"✖ {clean(problem, keep_newlines=False)}", "alarm")], 86)])

    def action_move(self, by: int) -> None:
        self.query_one(Menu).action_move(by)

    def action_take(self) -> None:
        """The entry under the cursor becomes what is typed; a folder is gone into."""
        menu, field = self.query_one(Menu), self.query_one(Input)
        if self._found.entries and self._found.typed == field.value:
            field.value = self._found.entries[menu.cursor].path
            field.cursor_position = len(field.value)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        typed, found = event.value.strip(), self._found
        current = found.typed == event.value
        if current and not found.exact and found.entries:
            entry = found.entries[self.query_one(Menu).cursor]
            self.action_take()
            if not entry.folder:
                self.dismiss(entry.path)
        elif typed and (found.exact or not current):
            self.dismiss(typed)

    def on_menu_chosen(self, event: Menu.Chosen) -> None:
        self.action_take()


def _entry(shown: str, size: int | None, width: int) -> Row:
    aside = fmt_bytes(size) if size is not None else ""
    return [(fit(shown, max(4, width - 10)), "bright"), (f"{aside:>10}", "dim")]


@dataclass(frozen=True)
class Kind:
    """What lies at a path: a table with its first rows, or text that begins so."""

    table: TablePreview | None
    beginning: str = ""
    name: str = ""


def kind_of(path: str) -> Kind:
    """What lies there, read only so far as to know. Raises CorpusError for what is missing or damaged."""
    from engine.text.catalog import slug
    from engine.text.corpus import Corpus
    from engine.text.pages import beginning, preview_table
    from engine.text.source import stem

    place = Path(path).expanduser()
    name = slug(stem(place))
    table = preview_table(place)
    if table is not None:
        return Kind(table, name=name)
    return Kind(None, beginning(Corpus("", path=place), 4000), name)


class AddScreen(Dialogue[Addition]):
    """Returns what to add: the path with a name, and of a table the columns, chosen beside its first rows."""

    CSS_PATH = "corpora.tcss"
    AUTO_FOCUS = "SettingsForm"
    BINDINGS: ClassVar[list[BindingType]] = bindings("add")

    def __init__(self, session: Session, path: str) -> None:
        super().__init__()
        self._session, self._path = session, path
        self._kind: Kind | None = None
        self._problem = ""

    def compose(self) -> ComposeResult:
        with Box(f"add {self._path}", "⏎ next   ^s add   ←→ choose   esc close"):
            yield SettingsForm()
            yield Rows(id="rows")
            yield Rows(id="said")

    def on_mount(self) -> None:
        self._session.reads.ask("kind", lambda _: kind_of(self._path), self._take, self._cannot)
        self.query_one("#said", Rows).show([[("reading …", "dim")]])

    def on_unmount(self) -> None:
        self._session.reads.drop("kind")

    def _take(self, kind: Kind) -> None:
        if not self.built:
            return
        self._kind = kind
        fields = [Field("name", "name", kind.name, "its name from now on", prose=True)]
        table = kind.table
        if table is not None and not table.chat:
            chosen = (*table.chosen, "", "")
            first = chosen[0] or (table.columns[0] if table.columns else "")
            fields += [
                Field("prompt", "prompt or text", first, "the column of prompts, or of all text", "", table.columns),
                Field("response", "response", chosen[1] or NONE, "the column of answers", "", (NONE, *table.columns)),
            ]
        form = self.query_one(SettingsForm)
        form.styles.height = len(fields)
        form.set_fields(fields, {})
        self._show()

    def _cannot(self, problem: str) -> None:
        self._problem = problem
        if self.built:
            said = self.query_one("#said", Rows)
            lines = lines_of(f"✖ {clean(problem, keep_newlines=False)}", max(20, said.size.width))
            said.styles.height = len(lines)
            said.show([[(line, "alarm")] for line in lines])

    def on_settings_form_changed(self) -> None:
        self._show()

    def on_resize(self) -> None:
        if self._kind is not None:
            self.call_after_refresh(self._show)

    def _show(self) -> None:
        """The first rows, the chosen columns bright, and what would be trained on."""
        if self._kind is None or not self.built:
            return
        box, table = self.query_one("#rows", Rows), self._kind.table
        width, height = max(20, box.size.width), box.size.height or 12
        if table is None:
            shown = clean(self._kind.beginning)
            rows: list[Row] = [[(shown[a:b], "foreground")] for a, b in wrap(shown, width)[: height - 1]]
            self._tell([("text", "bright"), ("  as it begins; ^s adds it", "dim")])
            box.show(rows)
            return
        form = self.query_one(SettingsForm)
        wanted = list(table.chosen) if table.chat else [form.value("prompt"), form.value("response")]
        box.show(table_rows(table, wanted, width)[:height])
        what = f"{table.format.upper()}, {len(table.columns) + table.more_columns} columns"
        if table.chat:
            self._tell([(what, "bright"), (f"  conversations in {', '.join(wanted)}; ^s adds it", "dim")])
        elif self._wrong():
            self._tell([(f"✖ {self._wrong()}", "alarm")])
        else:
            pairs = "pairs of prompt and response" if wanted[1] != NONE else "one text a row"
            self._tell([(what, "bright"), (f"  {pairs}; ^s adds it", "dim")])

    def _wrong(self) -> str:
        form = self.query_one(SettingsForm)
        table = self._kind.table if self._kind is not None else None
        if table is not None and not table.chat and form.value("prompt") == form.value("response"):
            return "prompt and response are the same column"
        from engine.text.catalog import check_name

        try:
            check_name(form.value("name").strip())
        except UserError as error:
            return str(error)
        return ""

    def _tell(self, row: Row) -> None:
        said = self.query_one("#said", Rows)
        said.show([cut([(clean(text, keep_newlines=False), look) for text, look in row], max(20, said.size.width))])

    def on_settings_form_submitted(self) -> None:
        self.action_add()

    def action_add(self) -> None:
        """Add it as it stands."""
        if self._kind is None or self._wrong():
            return
        form, table = self.query_one(SettingsForm), self._kind.table
        name = form.value("name").strip()
        if table is None or table.chat:
            self.dismiss(Addition(self._path, name))
            return
        response = form.value("response")
        self.dismiss(Addition(self._path, name, form.value("prompt"), None if response == NONE else response))


def table_rows(table: TablePreview, wanted: Sequence[str], width: int) -> list[Row]:
    """The head of a table and its first rows, the chosen columns first and bright."""
    order = [each for each in dict.fromkeys(wanted) if each in table.columns]
    order += [each for each in table.columns if each not in order]
    size = max(10, min(40, (width - 2 * (min(len(order), 4) - 1)) // max(1, min(len(order), 4))))
    shown = order[: max(1, (width + 2) // (size + 2))]

    def line(values: Sequence[str], looks: tuple[str, str]) -> list[Part]:
        row: list[Part] = []
        for name, value in zip(shown, values, strict=True):
            row += [("  ", "")] if row else []
            row.append((fit(value, size), looks[0] if name in wanted else looks[1]))
        return row

    rows: list[Row] = [line(shown, ("accent bold", "dim"))]
    for each in table.rows:
        by_name = dict(zip(table.columns, each, strict=True))
        rows.append(line([by_name[name] for name in shown], ("bright", "dim")))
    if table.problem:
        rows.append([(f"✖ {clean(table.problem, keep_newlines=False)}", "alarm")])
    return [cut(row, width) for row in rows]
