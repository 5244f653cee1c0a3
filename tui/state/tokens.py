"""An answer as its tokens: what each one wrote, how likely it was, and where its logits are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from engine.sampling.kept import TopLogits
    from engine.tokenizers.base import StreamDecoder, Tokenizer


@dataclass(frozen=True, slots=True)
class Token:
    """One token. `text` is what it wrote, "" for a part of a character; `kept` is the number of its raw logits, where
    there were any; `loss` is its negative log-likelihood in nats as the model gives it, before the rules."""

    id: int
    text: str
    kept: int | None = None
    loss: float | None = None


class Written:
    """What a model wrote so far: one thread adds to it, others read it.

    A token's text is what it stands for; what is certain of the whole text (`certain` characters) may end before the
    newest token's end, since a stop string that may have begun is held back, and is cut when it is complete.
    """

    def __init__(self, tokens: Sequence[Token] = ()) -> None:
        self.tokens = list(tokens)
        self.pieces = ["".join(token.text for token in tokens)] if tokens else []
        self.certain = sum(map(len, self.pieces))
        self._decoder: StreamDecoder | None = None
        self._again: list[Token] = []

    def begin(self, tokenizer: Tokenizer | None, again: Sequence[Token]) -> None:
        """Tokens have their texts from `tokenizer`; those that are as in `again`, from the first on, their logits."""
        from engine.tokenizers.base import StreamDecoder

        self._decoder = StreamDecoder(tokenizer) if tokenizer is not None else None
        self._again = list(again)

    def add(self, id: int, text: str, kept: int | None, loss: float | None) -> None:
        """A token, and the text that became certain with it."""
        own = self._decoder.push(id) if self._decoder is not None else text
        at = len(self.tokens)
        if kept is None and at < len(self._again) and self._again[at].id == id:
            kept, loss = self._again[at].kept, self._again[at].loss
        else:
            self._again = []  # what comes after another token stands after another text
        self.tokens.append(Token(id, own, kept, loss))
        self.pieces.append(text)
        self.certain += len(text)

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def loss(self) -> float | None:
        """The mean over the tokens that were drawn, in nats."""
        known = [token.loss for token in self.tokens if token.loss is not None]
        return sum(known) / len(known) if known else None


def loss_of(logits: Tensor | TopLogits, id: int) -> float | None:
    """The negative log-likelihood of the token `id`, in nats; None where its logit is not there, or is no number."""
    import math

    import torch

    from engine.sampling.kept import TopLogits

    if isinstance(logits, TopLogits):
        found = (logits.ids == id).nonzero()[0]
        if not len(found):
            return None
        total = torch.logaddexp(torch.from_numpy(logits.logits).logsumexp(0), torch.tensor(logits.log_sum))
        loss = float(total) - float(logits.logits[found[0]])
    else:
        if not 0 <= id < len(logits):
            return None
        loss = float(logits.logsumexp(0) - logits[id])
    return loss if math.isfinite(loss) else None


def tokens_of(tokenizer: Tokenizer, ids: Sequence[int], text: str) -> list[Token]:
    """The tokens of an answer of long ago: those that were kept, or those that its text would be read as."""
    from engine.errors import TokenizerError
    from engine.tokenizers.base import StreamDecoder

    try:
        ids = ids or [int(id) for id in tokenizer.encode(text)] if text else ids
        decoder = StreamDecoder(tokenizer)
        return [Token(id, decoder.push(id)) for id in ids]
    except TokenizerError:
        return []
