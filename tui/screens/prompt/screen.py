"""Screen 2: a prompt, its answer token by token, and the rules that every token was drawn by."""

from __future__ import annotations

from dataclasses import replace

from textual import events
from textual.widgets import Input, TextArea

from tui.actions import Action
from tui.screens.prompt.answer import AnswerPane
from tui.screens.prompt.comparing import Comparing
from tui.screens.prompt.editor import Editor
from tui.state.counting import Counted, count
from tui.state.news import Notice
from tui.text import clean
from tui.widgets.slider import top_k_scale


class PromptScreen(Comparing):
    """A view of the conversation with the session's run, and of the one beside it where two are compared."""

    def refresh_view(self) -> None:
        """Bring the screen up to date with the session."""
        session = self.session
        if session.run is not self._run:
            self._run = session.run
            self._other_run()
        self._place_editor()  # a chat may have been read by now
        self.agree()
        self._ask.editor.placeholder = self.example()
        self.show_answer()
        self.show_source()
        self._count_tokens()
        self._look()

    def _other_run(self) -> None:
        self.write_back()
        self.main = self.conversation_with(self.main)
        self.side = "a"
        self.sliders["top_k"].scale = top_k_scale(self.vocab_size())
        self.show_sheet()

    def sheet_changed(self) -> None:
        self._count_tokens()
        self.show_source()
        self._look()

    def write_back(self) -> None:
        super().write_back()
        if self.talk is not self.main:
            sheet = self.talk.sheet
            self.main.sheet = replace(self.main.sheet, prompt=sheet.prompt, templated=sheet.templated, seed=sheet.seed)

    def action_run(self) -> None:
        """Send the prompt, to both where two are compared."""
        if not self.ready_to_ask():
            return
        self.new_seed()
        self.write_back()
        self._ask.editor.untouched = True
        if self.main.chatting:
            self._say()
        elif self.main.other is None:
            self.ask(self.main.sheet)
        else:
            self._ask_both(self.main.other)

    def new_seed(self) -> None:
        if not self.main.locked:
            super().new_seed()

    def on_answer_pane_wanted(self, event: AnswerPane.Wanted) -> None:
        pane = event.pane
        if event.what != "ended":  # that comes by itself, whatever is looked at
            self.side = pane.side if self.main.other is not None else "a"
        if event.what == "bars":
            self.show_part("next")
        elif event.what == "again":
            self._again(pane)
        elif event.what == "more":
            self._go_on(tuple(pane.tokens), None, "on")
        elif event.what == "edited":
            self._go_on(tuple(pane.tokens), event.text, "edited")
        elif event.what == "copy":
            self.action_copy()
        elif event.what == "ended":
            if (job := pane.talk.job) is not None:
                self.tell_passed_over(job)
            self._compare_words()
        else:
            self._look()
        self.show_keys()

    def on_editor_sent(self, event: Editor.Sent) -> None:
        event.stop()
        self.action_run()

    def on_text_area_changed(self, event: TextArea.Changed) -> None:
        event.stop()
        editor = self._ask.editor
        if event.text_area is editor and editor.text != clean(self.main.sheet.prompt):
            self.write_back()
            editor.untouched = self.main.untouched
            self._count_tokens()

    def on_editor_turned(self, event: Editor.Turned) -> None:
        event.stop()
        side, self.side = self.side, "a"
        self.turn_history(event.by)
        self.side = side

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self.seed_typed(event.value)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.action_run()

    def seed_typed(self, value: str) -> None:
        if value != self.main.sheet.seed and self.seed.has_focus:
            self.main.locked = True
            self.write_back()
            self.say_lock()

    def action_lock(self) -> None:
        self.main.locked = not self.main.locked
        self.say_lock()

    def _count_tokens(self) -> None:
        """Have the tokens of what is written counted; of several questions the newest is answered."""
        run, view, sheet = self.session.run, self.session.view, self.main.sheet
        template = self.template() if sheet.templated else None
        text = template.apply(sheet.prompt) if template is not None else sheet.prompt
        asked = (run, text, len(view.checkpoints) > 0 if view is not None else False)
        if run is None or asked == self._count_asked:
            return
        self._count_asked = asked
        vocabularies = self.session.talks.models.vocabularies

        def show(found: Counted) -> None:
            self._counted = found
            self._ask.say_below(self._counted_words())

        self.session.works.ask("count", lambda _: count(vocabularies, run, text), show)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Whether the action means something now."""
        if action == "step":
            return self._focused_pane() is self._sampling
        if action == "template":
            return self.template() is not None
        if action == "back":
            return True
        if action == "copy":
            return bool(self.pane.text.answer)
        if action == "save":
            return bool(self.output)
        if action == "chat":
            return self.main.run is not None and self.template() is not None
        if action == "new_chat":
            return self.main.chatting and bool(self.main.chat)
        if action in ("grid", "compare"):
            return self.main.run is not None and not self.main.chatting
        return super().check_action(action, parameters)

    def relabel(self, action: Action) -> Action:
        """The footer's word for an action as things stand."""
        words = {
            "chat": "single prompts" if self.main.chatting else "",
            "compare": "one" if self.main.other else "",
            "back": "out" if self._ask.editor.has_focus else "",  # numbers and letters are text there
        }
        return replace(action, label=words.get(action.do) or action.label)

    def action_step(self, by: int) -> None:
        self._sampling.step(by)

    def action_copy(self) -> None:
        """The answer, by the escape sequence that most terminals know (OSC 52); none of them says that it took it."""
        text = self.pane.text.answer or self.pane.text.text
        if text:
            self.app.copy_to_clipboard(text)
            said = f"{len(text):,} characters sent to the clipboard (OSC 52); not every terminal takes them"
            self.session.notices.append(Notice(said))

    def action_back(self) -> None:
        """Stop the answer; else one level out: from the bars and sliders to the output, from there to the editor."""
        pane = self._focused_pane()
        if isinstance(pane, AnswerPane) and pane.editing:
            pane.stop_editing()
        elif self.busy:
            self.stop()
        elif isinstance(pane, AnswerPane) and pane.text.cursor is not None:
            pane.text.go_to(None)
        elif isinstance(pane, AnswerPane):
            self.show_part("ask-pane")
        else:
            self.show_part(self.pane.id or "answer-a")

    def on_click(self, event: events.Click) -> None:
        widget = event.widget
        if self._ask.on_title(event):
            self.action_source()
        elif self._sampling.on_title(event):
            self.action_preset()
        elif widget is not None and widget.id == "lock":
            self.action_lock()

    def on_descendant_focus(self) -> None:
        pane = self._focused_pane()
        if isinstance(pane, AnswerPane) and self.main.other is not None and pane.side != self.side:
            self.write_back()
            self.side = pane.side
            self.show_sheet()
            self._look()
        self._arrange()
        self.show_keys()
