"""How long a run will take, in words; and for a form, the measurement behind it, begun when nobody types."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tui.text import fmt_duration

if TYPE_CHECKING:
    from engine.config import Config
    from engine.plan.forecast import Forecast
    from engine.plan.pace import Measuring, Pace
    from tui.state.session import Session

MEASURING = "measuring…"
BUSY = "not measured while a run trains"
TOO_LARGE = "not measured: it does not fit"
SEVERAL = "not measured for several processes"
STILL_SECONDS = 0.9
"""How long the settings must have rested before they are measured."""


def fmt_step(seconds: float) -> str:
    """Seconds of a step: 850 µs, 4.21 ms, 31.2 ms, 1.25 s."""
    if seconds < 0.9995e-3:
        return f"{1e6 * seconds:.0f} µs"
    if seconds < 0.9995:
        value = 1000 * seconds
        return f"{value:.2f} ms" if value < 9.995 else f"{value:.1f} ms" if value < 99.95 else f"{value:.0f} ms"
    return f"{seconds:.2f} s" if seconds < 99.5 else fmt_duration(seconds)


def time_words(told: Forecast, compiled: bool = False) -> list[str]:
    """`31.2 ms a step · 2,000 steps in 1m02s (measured …)`, then the run with all it does; nothing without a pace.

    `compiled` says that the run will be, which the measured steps were not.
    """
    if told.pace is None:
        return []
    step, steps = fmt_step(told.pace.step_seconds), f"{told.max_steps:,} steps in {fmt_duration(told.train_seconds)}"
    where = "measured on this machine" + (f" in {told.pace.precision}" if told.pace.precision else "")
    where += ", without torch.compile" if compiled else ""
    where += ", which a trial decides on" if compiled and told.pace.device == "cpu" else ""
    known = [
        f"{count:,} {what}{'s' * (count != 1)}"
        for count, what, seconds in (
            (told.evaluations, "evaluation", told.eval_seconds),
            (told.samples, "sample", told.sample_seconds),
        )
        if count and seconds is not None
    ]
    whole = [f"{fmt_duration(told.run_seconds)} with {' and '.join(known)}"] if known else []
    if told.enough is not None and told.evaluated is not None and told.enough < told.evaluated:
        whole.append(f"data.val_tokens={told.enough} would make evaluations a tenth of it")
    unknown = ["evaluations not counted"] if told.eval_seconds is None else []
    return [f"{step} a step · {steps} ({where})", *(["; ".join(whole + unknown)] if whole or unknown else [])]


class PaceWatch:
    """What is known of the pace of the settings a form shows. Never waits for anything.

    Settings that have rested for `STILL_SECONDS` are measured, unless a run trains here; other ones end that. Only
    another number of steps does not, before it has rested: a run may be too small for its arithmetic to be chosen by
    trial while its steps are being typed.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._wanted: tuple[str, Config, int] | None = None
        self._since = 0.0
        self._measuring: Measuring | None = None
        self._measured: Config | None = None
        self._failed: dict[str, str] = {}
        self.said = ""
        """Why there is no pace now; empty when there is one, or none is wanted."""

    def look_at(self, config: Config | None, vocab_size: int) -> None:
        """These are the settings now, or none that could be measured."""
        from engine.plan.pace import pace_key

        wanted = self._wanted
        if config is None:
            self._wanted = None
        elif wanted is None or (wanted[1], wanted[2]) != (config, vocab_size):
            self._wanted = pace_key(config, vocab_size), config, vocab_size
        if not self._akin():
            self.end()
        self._since = time.monotonic()
        self._look()

    def _akin(self) -> bool:
        """Whether the settings are those that are measured, but perhaps for the number of steps."""
        from engine.plan.pace import pace_key

        if self._wanted is None or self._measuring is None or self._measured is None:
            return False
        key, config, vocab_size = self._wanted
        same = config.replace({"train.max_steps": self._measured.train.max_steps})
        return self._measuring.key in (key, pace_key(same, vocab_size))

    @property
    def pace(self) -> Pace | None:
        """The pace of the settings, once measured."""
        from engine.plan.pace import known

        return known.get(self._wanted[0]) if self._wanted else None

    def tick(self) -> bool:
        """Begin what is due, take what has come; True when `pace` or `said` changed."""
        before = (self.pace is None, self.said)
        measuring, wanted = self._measuring, self._wanted
        if measuring is not None and measuring.found is not None:
            if isinstance(measuring.found, str):
                self._failed[measuring.key] = measuring.found
            self._measuring = None
        rested = time.monotonic() - self._since >= STILL_SECONDS
        other = measuring is not None and wanted is not None and measuring.key != wanted[0]
        if measuring is not None and (self._busy() or (other and rested)):
            self.end()
        if wanted is not None and self._look() == MEASURING and rested and self._measuring is None:
            from engine.plan.pace import Measuring

            self._measuring, self._measured = Measuring(wanted[1], wanted[2]), wanted[1]
        return (self.pace is None, self.said) != before

    def end(self) -> None:
        """Drop the measurement under way."""
        if self._measuring is not None:
            self._measuring.cancel()
            self._measuring = None

    def _look(self) -> str:
        if self._wanted is None or self.pace is not None:
            self.said = ""
        else:
            self.said = self._failed.get(self._wanted[0], BUSY if self._busy() else MEASURING)
        return self.said

    def _busy(self) -> bool:
        """Whether a run trains on this machine that this workbench knows of."""
        from engine.machine import hostname

        training, status = self._session.training, self._session.status
        own = training is not None and training.alive
        return own or (status.get("state") == "running" and status.get("host") == hostname())
