"""The screens, in the order of their numbers. Each is a folder with its screen, its panes and its style sheet."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    """One screen: `name` in the first line, and the class that shows it, imported when it is first gone to; `of_run`
    where it shows the run that is open."""

    number: str
    name: str
    module: str
    kind: str
    of_run: bool = True


PLACES = (
    Place("1", "train", "tui.screens.train.screen", "TrainScreen"),
    Place("2", "prompt", "tui.screens.prompt.screen", "PromptScreen"),
    Place("3", "samples", "tui.screens.samples.screen", "SamplesScreen"),
    Place("4", "runs", "tui.screens.runs.screen", "RunsScreen", of_run=False),
    Place("5", "inspect", "tui.screens.inspect.screen", "InspectScreen"),
    Place("6", "corpora", "tui.screens.corpora.screen", "CorporaScreen", of_run=False),
)
