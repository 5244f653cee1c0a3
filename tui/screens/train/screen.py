"""Screen 1: a run in training, or one that ended: loss, device, samples and prompt at one look."""

from __future__ import annotations

from dataclasses import replace
from time import monotonic as clock
from typing import TYPE_CHECKING, Any, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container
from textual.widget import Widget
from textual.widgets import Input

from tui.actions import Action, bindings
from tui.screens.dialogs.asking import (
    ask_learning_rate,
    ask_to_detach,
    ask_to_fork,
    ask_to_give_up,
    ask_to_resume,
    ask_to_stop,
)
from tui.screens.train.device import Device, DevicePane
from tui.screens.train.loss import LossPane
from tui.screens.train.prompt import PromptPane
from tui.screens.train.samples import SamplesPane
from tui.screens.train.tiny import Tiny
from tui.screens.workscreen import WorkScreen, waiting_words
from tui.state.machine import Machine, MachineWatch
from tui.state.news import Notice
from tui.state.session import Session
from tui.state.summary import Latest, name_in, setting
from tui.widgets.pane import Pane
from tui.widgets.plot import LossPlot
from tui.widgets.tabs import PaneTabs

if TYPE_CHECKING:
    from engine.runs.layout import RunDir

PANES = ("loss", "device", "samples", "prompt")
GRID, TABS, TINY = "grid", "tabs", "tiny"
LIVE_ONLY = ("pause", "checkpoint", "sample", "learning_rate")
AFTER_ESCAPE = 1.0
"""Seconds after escape in which `d` is taken for a letter of what was being typed."""


def layout_for(width: int, height: int) -> str:
    """Everything at once, one pane at a time, or the two numbers that remain."""
    if width < 40 or height < 12:
        return TINY
    return GRID if width >= 96 and height >= 26 else TABS


class TrainScreen(WorkScreen):
    """Shows the session's run."""

    BINDINGS: ClassVar[list[BindingType]] = bindings("train")
    scope = "train"
    place = "train"

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._session = session
        self._watch: MachineWatch | None = None
        self._shown: RunDir | None = None
        self._zoomed: str | None = None
        self._seen: Machine | None = None
        self._layout = ""
        self._escaped = float("-inf")
        self.now = Latest()

    def body(self) -> ComposeResult:
        yield PaneTabs(PANES)
        with Container(id="panes"):
            yield LossPane()
            yield DevicePane(id="device")
            yield SamplesPane()
            yield PromptPane(self._session)
        yield Tiny()

    def on_mount(self) -> None:
        self.query_one("#loss", Pane).focus_target()

    # -- what is shown -------------------------------------------------------------------------------------------------

    def refresh_view(self) -> None:
        """Bring every visible pane up to date with the session."""
        session, view = self._session, self._session.view
        if session.run is not self._shown:
            self._shown = session.run
            self._other_run()
        if view is None:
            self.query_one(LossPane).say_problem(session.problem)
            self.query_one(Tiny).show_words(waiting_words(session), session.problem)
            return
        self.now = now = session.now
        name = session.run.name if session.run is not None else ""
        if self._layout == TINY:
            self.query_one(Tiny).show_run(name, now)
            return
        if self._sees("loss"):
            self.query_one(LossPane).show(view, now, session.chart, session.problem)
        if self._sees("device"):
            self._show_device()
        pages = session.pages
        pages.take(view.samples, view.series.val_step, view.series.val_loss)
        which = f"prompt {pages.number + 1} of {len(pages.prompts)}" if len(pages.prompts) > 1 else ""
        self.query_one(SamplesPane).show(pages.records, self._samples_empty(), which)
        self.query_one(PromptPane).sync()

    def _other_run(self) -> None:
        """Another run than before is shown, or none: nothing of the one before stays on the screen."""
        self.now = Latest()
        self._watch_machine()
        self.query_one(LossPane).clear()
        self.query_one(DevicePane).show(Device())
        self.query_one(SamplesPane).clear()
        self.query_one(PromptPane).run_changed()

    def _show_device(self) -> None:
        if self._session.view is not None:
            self.query_one(DevicePane).show(self._device())

    def _device(self) -> Device:
        reader, now = self._session.view, self.now
        assert reader is not None
        status, info, series = reader.status, reader.info, reader.series
        self._watch_machine()
        watch = self._watch
        corpus = info.get("corpus")
        return Device(
            now=now,
            gpu=watch.gpu if watch is not None else None,
            load=watch.load if watch is not None else None,
            memory=status.get("memory") or {},
            peak=status.get("peak_memory_bytes"),
            lr=series.lr,
            grad_norm=series.grad_norm,
            tokens_per_s=series.tokens_per_s,
            params=status.get("params"),
            train_tokens=corpus.get("train_tokens") if isinstance(corpus, dict) else None,
            eval_s=status.get("eval_seconds"),
            elsewhere=_where(now.state, str(status.get("host") or "")),
            named=(
                ("corpus", name_in(info, "corpus")),
                ("preset", name_in(info, "preset") or "custom"),
                ("seed", str(setting(info, "train", "seed"))),
            ),
            watch=watch if self._zoomed == "device" else None,
        )

    def _watch_machine(self) -> None:
        """Look at this machine from when it is wanted on, and at the trainer's process while the run is live here."""
        status, wanted = self._session.status, self._zoomed == "device"
        pid, device = status.get("pid"), str(status.get("device") or "")
        here = self._session.live and isinstance(pid, int) and status.get("host") == _host()
        if self._watch is None and (here or wanted):
            self._watch = MachineWatch(self._session.runs_dir)
        if self._watch is not None:
            self._watch.follow(pid if here else None, device if here else "")

    def tick(self) -> None:
        """The machine alone moves on also where the run does not."""
        if self._zoomed == "device" and self._watch is not None and self._watch.machine is not self._seen:
            self._seen = self._watch.machine
            self._show_device()

    def on_unmount(self) -> None:
        if self._watch is not None:
            self._watch.end()

    def on_loss_plot_cursor_moved(self, event: LossPlot.CursorMoved) -> None:
        """The crosshair goes there, and the samples turn to the page nearest to it."""
        self._session.chart.cursor = event.step
        samples = self.query_one(SamplesPane)
        if event.step is None:
            samples.follow()
        else:
            samples.go_to(event.step)
        self.update()

    def on_samples_pane_turned(self) -> None:
        """The crosshair goes along with the pages."""
        samples = self.query_one(SamplesPane)
        self._session.pages.choose(0)
        self._session.chart.cursor = None if samples.following else samples.step
        self.update()

    def on_loss_pane_changed(self) -> None:
        self.update()

    def _samples_empty(self) -> str:
        if self._session.live:
            return "samples appear here at each checkpoint; s writes one now"
        return "this run wrote no samples"

    # -- layout --------------------------------------------------------------------------------------------------------

    def on_resize(self, event: events.Resize) -> None:
        self._arrange()

    def on_descendant_focus(self) -> None:
        self._arrange()
        self.show_keys()

    def _arrange(self, pane: Pane | None = None) -> None:
        """Show the panes that the size, the zoom and the focus leave; `pane` is about to get the focus."""
        layout = layout_for(self.size.width, self.size.height)
        pane = pane or self.focused_pane()
        alone = pane.id if pane is not None and (layout == TABS or self._zoomed is not None) else None
        if alone is None and layout == TABS:
            alone = self._zoomed or "loss"
        if self._zoomed is not None:
            self._zoomed = alone
        self._layout = layout
        self.set_class(layout == TINY, "tiny")
        self.set_class(layout == TABS, "tabs")
        self.set_class(alone is not None, "alone")
        for each in self.query(Pane):
            each.display = alone in (None, each.id)
        self.query_one(PaneTabs).show_tab(alone or "")
        self.call_after_refresh(self.update)

    def _sees(self, pane: str) -> bool:
        return self.query_one(f"#{pane}").display

    @property
    def alone(self) -> str:
        """The pane that is zoomed."""
        return self._zoomed or ""

    def focused_pane(self) -> Pane | None:
        """The pane that has the focus, or holds what has it."""
        node: Any = self.focused
        while node is not None and not isinstance(node, Pane):
            node = node.parent
        return node

    def show_pane(self, pane: str, *, alone: bool) -> None:
        """Focus `pane`, where it is one of `PANES`; with `alone` zoomed, else among the others."""
        if pane not in PANES:
            return
        self._zoomed = pane if alone else None
        target = self.query_one(f"#{pane}", Pane)
        target.display = True
        target.focus_target()
        self._arrange(target)  # by the focus it has still, the pane would be hidden, and never get it

    def on_pane_tabs_picked(self, event: PaneTabs.Picked) -> None:
        self.show_pane(event.name, alone=self._zoomed is not None)

    def relabel(self, action: Action) -> Action:
        """The footer's word for an action as things stand: `resume` while paused."""
        if action.do == "pause" and self._session.state == "paused":
            return replace(action, label="resume")
        if action.do == "zoom" and self._zoomed is not None:
            return replace(action, label="back")
        if action.do == "back" and isinstance(self.focused, Input):
            return replace(action, label="out")  # numbers and letters are text there
        return action

    # -- actions -------------------------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Whether the action means something now; Textual asks, and so do the footer and the palette."""
        if action in LIVE_ONLY:
            return self._session.live
        if action == "fork":
            return self._checkpoint() is not None
        if action == "stop":
            return self._session.live or self._session.starting is not None
        if action == "detach":
            return self._session.own and not self.query_one(PromptPane).busy
        if action == "resume":
            return self._session.run is not None and not self._session.live and not self._training_here()
        return True

    def _training_here(self) -> bool:
        return self._session.training is not None and self._session.training.alive

    def _send(self, do: str, said: str) -> None:
        if self._session.run is not None:
            self._session.send(self._session.run, do, said)

    def action_pause(self) -> None:
        if self._session.state == "paused":
            self._send("resume", "training goes on")
        else:
            self._send("pause", "")

    def action_checkpoint(self) -> None:
        self._send("checkpoint", "a checkpoint is written at the next step")

    def action_sample(self) -> None:
        self._send("sample", "a sample is written at the next step")

    def action_learning_rate(self) -> None:
        run, reader = self._session.run, self._session.view
        if run is None or reader is None:
            return
        logged = None if self.now.lr is None else float(f"{self.now.lr:.6g}")  # of which six digits are held
        rate, scale = reader.status.get("learning_rate", logged), reader.status.get("lr_scale", 1.0)
        ask_learning_rate(self.app, reader, rate, scale, self.now.step)

    def _checkpoint(self) -> int | None:
        """The checkpoint at the crosshair, or the last before it; without a crosshair the newest."""
        view, cursor = self._session.view, self._session.chart.cursor
        steps = [int(point["step"]) for point in view.checkpoints] if view is not None else []
        return max((step for step in steps if cursor is None or step <= cursor), default=min(steps, default=None))

    def action_fork(self) -> None:
        view, step = self._session.view, self._checkpoint()
        if view is not None and step is not None:
            ask_to_fork(self.app, view, step)

    def action_stop(self) -> None:
        if self._session.run is not None:
            ask_to_stop(self.app, self._session.run)
        elif self._session.starting is not None:
            ask_to_give_up(self.app, self._session.starting)

    def action_resume(self) -> None:
        run, now = self._session.run, self.now
        if run is not None:
            ask_to_resume(self.app, run, state=now.state, step=now.step, steps=now.steps)

    def action_detach(self) -> None:
        if clock() - self._escaped < AFTER_ESCAPE:
            self._session.notices.append(Notice("d right after esc is taken for a letter; once more detaches"))
        else:
            ask_to_detach(self.app)

    def action_zoom(self) -> None:
        pane = self.focused_pane()
        if pane is not None and pane.id is not None:
            self.show_pane(pane.id, alone=self._zoomed is None)

    def action_focus_pane(self, pane: str) -> None:
        self.show_pane(pane, alone=self._zoomed is not None)

    def action_step_focus(self, by: int) -> None:
        """The next part that takes the focus, in all panes; one that is away is shown."""
        stops = [widget for pane in self.query(Pane) for widget in pane.walk_children(Widget, with_self=True)]
        stops = [widget for widget in stops if widget.can_focus]
        here = stops.index(self.focused) if self.focused in stops else -1
        target = stops[(here + by) % len(stops)]
        pane = next(node for node in target.ancestors_with_self if isinstance(node, Pane))
        pane.display = True
        target.focus()

    def action_back(self) -> None:
        prompt, pane = self.query_one(PromptPane), self.focused_pane()
        focused: Widget | None = self.focused
        self._escaped = clock()
        if prompt.busy:
            prompt.stop()
        elif isinstance(focused, Input) and pane is not None:
            self.query_one("#answer" if pane.id == "prompt" else "#loss").focus()
        elif self._zoomed is not None and pane is not None and pane.id is not None:
            self.show_pane(pane.id, alone=False)


def _where(state: str, host: str) -> str:
    """Why no load of this machine is shown."""
    if state not in ("running", "paused"):
        return "no longer training"
    return f"on {host}" if host and host != _host() else "this machine"


def _host() -> str:
    import socket

    return socket.gethostname()
