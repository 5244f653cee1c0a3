"""The first model a newcomer trains: within two minutes on two CPU cores it must write what it was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.config import Config
    from tui.state.training import Start

FIRST_CORPUS = "soap-notes"
# Word by word a note is some 110 tokens: with the context of one note, begun where it begins, its complaint is always
# in sight. Rarer words are spelled: the head would cost more.
CHANGES = {
    "data.tokenizer": "word",
    "data.vocab_size": 2560,
    "data.record_starts": True,
    "model.block_size": 144,
    "train.batch_size": 4,
    "train.max_steps": 2700,
}

FIRST_PROMPT = "Pt. complains of sore throat and fever."
GOOD_LOSS = 0.95  # nats a token of its validation split: after some 1,500 of its steps; it ends at 0.85


def first_config(steps: int | None = None) -> Config:
    """The default preset, reading words; `steps` instead of its own number."""
    from engine.config import DEFAULT_PRESET, load_preset

    return load_preset(DEFAULT_PRESET).replace(CHANGES | ({} if steps is None else {"train.max_steps": steps}))


def first_start(steps: int | None = None) -> Start:
    """The first run in the workbench: it fills in a prompt, and answers it as soon as it can."""
    from engine.config import DEFAULT_PRESET
    from tui.state.showing import Showing
    from tui.state.training import Start

    return Start(FIRST_CORPUS, first_config(steps), DEFAULT_PRESET, showing=Showing(FIRST_PROMPT, GOOD_LOSS))
