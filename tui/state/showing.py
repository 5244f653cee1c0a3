"""A first run shows itself off: an example stands in the prompt, and is asked by itself at the first good checkpoint.

Unless the person writes or asks something first: from then on nothing happens by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tui.state.conversation import DEFAULTS
from tui.state.prompting import LIVE, LoadedModels, Request

if TYPE_CHECKING:
    from engine.text.template import Template
    from tui.state.conversation import Conversation


@dataclass
class Showing:
    """`example` is asked once, as soon as a checkpoint's validation loss is `good_loss` or less.

    With it the sliders that nobody moved are set to `values`.
    """

    example: str
    good_loss: float
    values: Mapping[str, float] = field(default_factory=dict)
    over: bool = field(default=False, init=False)
    """Whether it was asked, or the person came first."""
    _written: bool = field(default=False, init=False)

    def look(
        self,
        talk: Conversation,
        template: Template | None,
        checkpoints: Iterable[Mapping[str, Any]],
        models: LoadedModels,
    ) -> bool:
        """Do what it is time for; True when the conversation has changed by that."""
        if self.over:
            return False
        if not self._written and not talk.sheet.prompt and not talk.jobs:
            self._written = True
            talk.write(self.example)
            unmoved = {name: value for name, value in self.values.items() if talk.sheet.value(name) == DEFAULTS[name]}
            talk.sheet = replace(talk.sheet, values={**talk.sheet.values, **unmoved})
            return True
        if talk.jobs or talk.sheet.prompt != self.example:
            self.over = True
            return False
        losses = (point.get("val_loss") for point in checkpoints)
        if not any(isinstance(loss, int | float) and loss <= self.good_loss for loss in losses):
            return False
        self.over = True
        sheet, run = talk.sheet, talk.run
        assert run is not None
        applied = template.apply(sheet.prompt) if template is not None else sheet.prompt
        settings = sheet.settings(template.stops if template is not None else ())
        talk.ask(Request(run, LIVE, sheet.prompt, applied, settings, template is not None), models)
        return True
