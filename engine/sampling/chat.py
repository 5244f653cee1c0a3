"""A conversation in the form of the corpus' template."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from engine.model.gpt import GPT
from engine.sampling.generate import Done, Piece, encode_prompt, generate
from engine.sampling.settings import SamplingSettings
from engine.text.template import Template
from engine.tokenizers.base import Tokenizer

# for a model of plain text: what is said is a paragraph, and so is the answer
PARAGRAPHS = Template(infix="\n", suffix="\n\n")
ANSWER_SHARE = 4  # at least one in so many tokens of the context is kept free for the answer


def fit_turns(
    template: Template,
    history: Sequence[tuple[str, str]],
    prompt: str,
    encode: Callable[[str], list[int]],
    block_size: int,
    max_tokens: int,
) -> tuple[list[int], int]:
    """The tokens given to a model for `prompt` after the turns of `history`, and how many of the newest they hold.

    Whole turns are left out as in `Chat.fit`; `encode` gives the tokens of a text, `block_size` is the model's context.
    """
    room = max(1, block_size - min(max_tokens, block_size // ANSWER_SHARE))
    fitting = encode(template.turns((), prompt))[-room:]
    for turns in range(1, len(history) + 1):
        ids = encode(template.turns(history[len(history) - turns :], prompt))
        if len(ids) > room:
            return fitting, turns - 1
        fitting = ids
    return fitting, len(history)


class Chat:
    """Remembers the turns and gives the model as many of the newest, whole, as its context holds."""

    def __init__(
        self,
        model: GPT,
        tokenizer: Tokenizer,
        template: Template | None = None,
        settings: SamplingSettings | None = None,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.template = template or PARAGRAPHS
        self.settings = settings or SamplingSettings()
        self.history: list[tuple[str, str]] = []

    def say(self, prompt: str) -> Iterator[Piece | Done]:
        """The answer, piece by piece, and Done last; then the turn is part of the history, also when it was cut short.

        Raises before the first piece, with the history as it was, what `generate` raises.
        """
        settings = self.settings.replace(stop=[*self.settings.stop, *self.template.stops])
        ids, _ = self.fit(prompt)
        return self._answer(prompt, generate(self.model, self.tokenizer, ids, settings))

    def _answer(self, prompt: str, pieces: Iterator[Piece | Done]) -> Iterator[Piece | Done]:
        answer, over = "", False
        try:
            for piece in pieces:
                answer += piece.text if isinstance(piece, Piece) else ""
                if isinstance(piece, Done):
                    self.history.append((prompt, answer))
                    over = True
                yield piece
        except GeneratorExit:
            if answer and not over:
                self.history.append((prompt, answer))
            raise

    def fit(self, prompt: str) -> tuple[list[int], int]:
        """The tokens given to the model, and how many of the newest turns they hold.

        Whole turns are left out, the oldest first, until room for an answer is left. The new prompt always stays; alone
        too long, it loses its beginning.
        """
        return fit_turns(
            self.template,
            self.history,
            prompt,
            lambda text: encode_prompt(self.model, self.tokenizer, text),
            self.model.config.block_size,
            self.settings.max_tokens,
        )

    def clear(self) -> None:
        """Begin anew."""
        self.history.clear()
