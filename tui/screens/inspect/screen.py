"""Screen 5: looking into the weights: loss, attention, the lens, tokens, and the ladder, on one text."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from textual.binding import BindingType
from textual.content import Content

from tui.actions import Action, bindings
from tui.screens.inspect.attention import HeadMap, Wall
from tui.screens.inspect.facts import count_rows, legend, looked_at, loss_rows, percent, vocabulary_rows
from tui.screens.inspect.lens import LensTable
from tui.screens.inspect.looks import SEEN, below, look, title
from tui.screens.inspect.panes import (
    HeadPane,
    LensPane,
    TextPane,
)
from tui.screens.inspect.parts import InspectParts
from tui.screens.inspect.rungs import LadderView
from tui.screens.inspect.said import Said
from tui.screens.inspect.tokenmap import TokenMap
from tui.screens.inspect.views import Views
from tui.screens.workscreen import waiting_words
from tui.state.inspected import Part
from tui.state.inspector import Inspector, View
from tui.text import Part as Run
from tui.text import clean, fmt_loss, width_of
from tui.theme import only_marks
from tui.widgets.rows import Rows, cut, spread

if TYPE_CHECKING:
    from engine.inspect.losses import Passage


class InspectScreen(InspectParts):
    """The session's `inspector`, and the keys that turn it."""

    BINDINGS: ClassVar[list[BindingType]] = bindings("inspect")
    CSS_PATH = "inspect.tcss"
    AUTO_FOCUS = "#map"
    scope = "inspect"
    place = "inspect"
    help_title = "inspect"
    about: ClassVar[str] = (
        "Five looks into the weights on one text: the loss of each token, attention, the "
        "logit lens, the tokens themselves, and the ladder of models on this corpus. "
        "While a run trains its newest good checkpoint is looked at, else the best; c chooses "
        "another. The text is held-out text unless you type one."
    )

    _counted: tuple[object, int] | None = None
    """The text whose counts stand there, and in which width."""

    # -- what is shown -------------------------------------------------------------------------------------------------

    def refresh_view(self) -> None:
        """Ask for what is not known yet, and show what is."""
        inspector = self.inspector
        if inspector is not None:
            inspector.look(self.session.live, self.steps)
        self._arrange()
        self._show_head(inspector)
        if self.view == "ladder":
            self.query_one(LadderView).show("" if inspector is not None else self._empty(None))
            return
        self._show_text(inspector)
        if inspector is None:
            self._clear()
        elif self.view in ("loss", "tokens"):
            self._show_facts(inspector)
        elif self.view == "attention":
            self._show_attention(inspector)
        elif self.view == "lens":
            self._show_lens(inspector)

    def _clear(self) -> None:
        for said in self.query(Said):
            said.say([])
        self._counted = None
        self.query_one(TextPane).say_title(Content("text"))
        self.query_one(TextPane).say_below(Content(""))
        self.query_one(Wall).show(None, 0, 0, 0, "")
        self.query_one(HeadMap).show(None, 0, 0, 0, "")
        self.query_one(LensTable).show(None, 0, 0, "")

    def _show_head(self, inspector: Inspector | None) -> None:
        weights: list[Run] = []
        if inspector is not None and inspector.step is not None:
            chosen = inspector.chosen is not None
            how = "chosen" if chosen else "newest" if self.session.live else "best"
            weights = [("weights ", "dim"), (f"step {inspector.step:,}", "bright"), (f"  {how}", "dim")]
        self.query_one(Views).show(self.view, weights)
        line = self.query_one("#seen", Rows)
        width = max(10, line.size.width)
        said: list[Run] = [(SEEN[self.view], "dim")]
        if inspector is not None and inspector.step is None and inspector.read is not None and self.view != "ladder":
            said = [(self._no_weights(inspector), "val")]
        shown = legend() if self.view == "loss" else []
        line.show([spread(cut(said, width), shown, width)])

    def _no_weights(self, inspector: Inspector) -> str:
        if self.steps and inspector.read is not None and inspector.read.why:
            return f"✖ {clean(inspector.read.why, keep_newlines=False)}"
        return "no weights yet: they come with the first checkpoint; c on screen 1 writes one"

    def _empty(self, inspector: Inspector | None) -> str:
        if inspector is None:
            return self.session.problem or "".join(text for text, _ in waiting_words(self.session))
        if inspector.problem:
            return f"✖ {clean(inspector.problem, keep_newlines=False)}"
        return "reading the weights and the held-out text …"

    def _show_text(self, inspector: Inspector | None) -> None:
        pane, text = self.query_one(TextPane), inspector.text if inspector is not None else None
        if inspector is None or text is None:
            pane.map.show(None, 0, lambda _: ("", None), None, empty=self._empty(inspector))
            pane.say_title(Content("text"))
            pane.say_below(Content(""))
            return
        bars, marks = self.view != "tokens" and inspector.step is not None, only_marks(self.app)
        part = inspector.part(self.view) if self.view in ("attention", "lens") else None
        looking = inspector.cursor if self.view == "attention" else None  # from there its tints are
        key = self.view, inspector.read, part, looking, inspector.layer, inspector.head, inspector.lens_layer, marks
        pane.map.show(text, inspector.cursor, look(inspector, marks=marks), key, bars=bars)
        pane.say_title(Content(title(inspector)))
        pane.say_below(Content.assemble(*below(inspector, pane.size.width - 6)))

    def _show_facts(self, inspector: Inspector) -> None:
        said, counts = self.query_one("#facts-said", Said), self.query_one("#counts-said", Said)
        width = max(20, said.size.width)
        if self.view == "loss":
            said.say(loss_rows(inspector, width))
            return
        said.say(vocabulary_rows(inspector, width))
        if inspector.text is not None and self._counted != (told := (inspector.text, counts.size.width)):
            self._counted = told
            counts.say(count_rows(inspector.text, max(20, counts.size.width), 40))

    def _waiting(self, inspector: Inspector) -> str:
        """Why there are no maps."""
        if inspector.part_problem:
            return clean(inspector.part_problem, keep_newlines=False)
        return "" if inspector.step is None or inspector.problem else "still to come …"

    def _show_attention(self, inspector: Inspector) -> None:
        part, (layer, head) = inspector.part("attention"), (inspector.layer, inspector.head)
        empty = self._waiting(inspector)
        self.query_one(Wall).show(part, layer, head, inspector.cursor, empty)
        self.query_one(HeadMap).show(part, layer, head, inspector.cursor, "" if inspector.part_problem else empty)
        pane = self.query_one(HeadPane)
        if part is None or part.maps is None:
            pane.say_title(Content("head"))
            pane.say_below(Content(""))
            return
        first = part.start - part.text.first + 1
        among = f"tokens {first:,} to {part.end - part.text.first:,}" if first > 0 else ""
        pane.say_title(Content(f"layer {layer + 1}, head {head + 1}   {among}".rstrip()))
        said: list[Run] = [("looks at", "$dim")]
        for place, share in looked_at(part, inspector.cursor, layer, head):
            name: list[Run] = [(f"  {_short(part, place)}", "$bright"), (f" {percent(share).strip()}", "$dim")]
            if width_of([*said, *name]) > pane.size.width - 6:
                break
            said += name
        pane.say_below(Content.assemble(*said))

    def _show_lens(self, inspector: Inspector) -> None:
        part, pane = inspector.part("lens"), self.query_one(LensPane)
        if part is not None and part.lens is not None:
            inspector.lens_layer = min(inspector.lens_layer, len(part.lens.token) - 1)
        self.query_one(LensTable).show(part, inspector.lens_layer, inspector.cursor, self._waiting(inspector))
        if part is None or part.lens is None:
            pane.say_below(Content(""))
            return
        pane.styles.max_height = len(part.lens.token) + 4
        layer, at, text = inspector.lens_layer, inspector.cursor - part.start, part.text
        layers = len(part.lens.token)
        name = "the embedding" if layer == 0 else "the output" if layer == layers - 1 else f"layer {layer}"
        said: list[Run] = [
            (f"{name}: ", "$dim"),
            (text.label(int(part.lens.token[layer, at])), "$bright"),
            (f" {percent(float(part.lens.probability[layer, at])).strip()}", "$bright"),
        ]
        if at < part.lens.of_next.shape[1]:
            coming = text.label(int(text.ids[inspector.cursor + 1]))
            share = percent(float(part.lens.of_next[layer, at])).strip()
            said += [("   comes: ", "$dim"), (coming, "$bright"), (f" {share}", "$bright")]
        pane.say_below(Content.assemble(*said))

    def on_screen_suspend(self) -> None:
        self.query_one(LadderView).leave()

    # -- actions -------------------------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Whether the action means something now."""
        inspector = self.inspector
        if action in ("turn", "resize", "worst", "type", "weights", "back"):
            if inspector is None or inspector.view == "ladder":
                return False
            held_out = inspector.source.kind == "held-out"
            if action == "resize":
                return held_out and inspector.text is not None
            if action == "worst":
                return inspector.step is not None and not inspector.problem
            if action == "weights":
                return bool(self.steps)
            if action == "back":
                return not held_out
        if action == "view":
            return inspector is not None
        return True

    def action_view(self, view: View) -> None:
        """Another look at the same text."""
        if self.inspector is not None:
            if self.inspector.view == "ladder" and view != "ladder":
                self.query_one(LadderView).leave()
            self.inspector.view = view
            self.update()

    def on_views_picked(self, event: Views.Picked) -> None:
        self.action_view(event.name)

    def action_turn(self, by: int) -> None:
        if self.inspector is not None:
            self.inspector.turn(by)
            self.update()

    def action_back(self) -> None:
        self.action_turn(0)

    def action_resize(self, by: int) -> None:
        if self.inspector is not None:
            self.inspector.resize(by)
            self.update()

    def action_type(self) -> None:
        """Look at a text of the person's own."""
        from tui.screens.inspect.dialogues import TypeScreen

        inspector = self.inspector

        def typed(text: str | None) -> None:
            if text and inspector is not None:
                inspector.show_typed(text)
                self.update()

        if inspector is not None:
            self.app.push_screen(TypeScreen(inspector.typed), typed)

    def action_worst(self) -> None:
        """Choose one of the worst passages."""
        from tui.screens.inspect.dialogues import WorstScreen

        inspector = self.inspector

        def chosen(passage: Passage | None) -> None:
            if passage is not None and inspector is not None:
                inspector.show_worst(passage)
                self.update()

        if inspector is not None:
            self.app.push_screen(WorstScreen(inspector), chosen)

    def action_weights(self) -> None:
        """Choose a checkpoint."""
        from tui.screens.dialogs.choose import Choice, ChooseScreen

        inspector, view = self.inspector, self.session.view
        if inspector is None or view is None:
            return
        aside = "the newest, as it trains" if self.session.live else "the lowest validation loss"
        choices = [Choice("newest" if self.session.live else "best", 0, aside)]
        for each in reversed(view.checkpoints):
            loss = each.get("val_loss")
            choices.append(Choice(f"step {each['step']:,}", int(each["step"]), f"val {fmt_loss(loss)}" if loss else ""))

        def choose(step: int | None) -> None:
            if step is not None:
                inspector.chosen = step or None
                self.update()

        here = next((i for i, choice in enumerate(choices) if choice.value == (inspector.chosen or 0)), 0)
        self.app.push_screen(ChooseScreen("weights", choices, cursor=here), choose)

    def relabel(self, action: Action) -> Action:
        if action.id == "list.choose":
            return replace(action, label="look into it")
        elsewhere = self.inspector is not None and self.inspector.source.kind != "held-out"
        return replace(action, label="held-out") if action.do == "turn(1)" and elsewhere else action

    # -- moving --------------------------------------------------------------------------------------------------------

    def _go(self, place: int) -> None:
        if self.inspector is not None:
            self.inspector.go(place)
            self.update()

    def on_token_map_moved(self, event: TokenMap.Moved) -> None:
        self._go(event.place)

    def on_head_map_stepped(self, event: HeadMap.Stepped) -> None:
        if self.inspector is not None:
            self._go(self.inspector.cursor + event.by)

    def on_wall_chosen(self, event: Wall.Chosen) -> None:
        if self.inspector is not None:
            self.inspector.layer, self.inspector.head = event.layer, event.head
            self.update()

    def on_lens_table_moved(self, event: LensTable.Moved) -> None:
        if self.inspector is not None:
            self.inspector.lens_layer = max(0, self.inspector.lens_layer + event.up)
            self._go(self.inspector.cursor + event.by)


def _short(part: Part, place: int) -> str:
    label = part.text.label(int(part.text.ids[place]))
    return label if len(label) <= 12 else label[:11] + "…"
