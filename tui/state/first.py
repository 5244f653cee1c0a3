"""The first model a newcomer trains: within minutes on two CPU cores it must write what it was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.config import Config
    from tui.state.training import Start

FIRST_CORPUS = "soap-notes"
# Word by word a note is some 80 tokens: with the context of one note, begun where it begins, its complaint is always in
# sight. Narrower than the preset: four steps in the time of three, and more notes follow their complaints for it.
CHANGES = {
    "model.n_embd": 96,
    "model.block_size": 104,
    "model.embd_window": 2,
    "data.tokenizer": "word",
    "data.vocab_size": 2048,
    "data.record_starts": True,
    "data.loss": "answers",  # nothing is spent on complaints, which nobody asks it to write
    "train.batch_size": 6,
    "train.max_steps": 2000,
    "model.dropout": 0.1,  # with the average it gets no worse for more steps: --steps 5000
    "train.ema": 0.995,
}

FIRST_PROMPT = "Pt. complains of sore throat and fever."
FIRST_VALUES = {"temperature": 0.5}  # more notes follow their complaints than at 0.8
GOOD_LOSS = 0.6  # nats a token of the notes of its validation split: after some 1,000 of its steps


def first_config(steps: int | None = None) -> Config:
    """The default preset, reading words; `steps` instead of its own number."""
    from engine.preset_files import DEFAULT_PRESET, load_preset

    return load_preset(DEFAULT_PRESET).replace(CHANGES | ({} if steps is None else {"train.max_steps": steps}))


def first_start(steps: int | None = None) -> Start:
    """The first run in the workbench: it fills in a prompt, and answers it as soon as it can."""
    from engine.preset_files import DEFAULT_PRESET
    from tui.state.showing import Showing
    from tui.state.training import Start

    showing = Showing(FIRST_PROMPT, GOOD_LOSS, FIRST_VALUES)
    return Start(FIRST_CORPUS, first_config(steps), DEFAULT_PRESET, showing=showing)
