"""What a person chooses before the model writes. Knows no torch, so that forms stay quick."""

from __future__ import annotations

import reprlib
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    InstanceOf,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)

from engine.errors import UserError, what_is_wrong


def _some(text: str) -> str:
    if not text:
        raise ValueError("must be text of at least one character")
    return text


class SamplingSettings(BaseModel):
    """How the next token is drawn, and when writing ends.

    The rules act in this order: repetition penalty, temperature, top-k, top-p, min-p. Raises UserError for an unknown
    name, and for a value that is none, with what is wrong with it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    temperature: float = Field(0.8, ge=0, le=100)
    """Divides the logits; 0 always takes the likeliest token."""
    top_k: int = Field(0, ge=0, le=10_000_000)
    """Only the k likeliest tokens; 0, or the vocabulary's size and above, is off."""
    top_p: float = Field(1.0, ge=0, le=1)
    """Only the likeliest tokens that together reach p; 1 is off, 0 leaves the likeliest alone."""
    min_p: float = Field(0.0, ge=0, le=1)
    """Only tokens at least this likely, relative to the likeliest; 0 is off."""
    repetition_penalty: float = Field(1.0, ge=0.01, le=100)
    """Above 1 makes tokens of the prompt and the output less likely; 1 is off."""
    max_tokens: int = Field(400, ge=0, le=10_000_000)
    seed: int | None = Field(None, ge=0, le=2**63 - 1)
    """Unset: a fresh one, told with the result."""
    stop: tuple[Annotated[InstanceOf[str], AfterValidator(_some)], ...] = Field((), strict=False)
    """Strings that end the text and are cut from it."""
    stop_ids: tuple[Annotated[int, Field(ge=0)], ...] = Field((), strict=False)
    """Tokens that end the text and are cut from it."""

    @model_validator(mode="wrap")
    @classmethod
    def _in_one_line(cls, tree: Any, handler: ModelWrapValidatorHandler[SamplingSettings]) -> SamplingSettings:
        try:
            return handler(tree)
        except ValidationError as error:
            first = error.errors()[0]
            if first["type"] == "extra_forbidden":
                known = ", ".join(cls.model_fields)
                raise UserError(f"no sampling setting {reprlib.repr(first['loc'][0])}; there are {known}") from None
            raise UserError(what_is_wrong(first)) from None

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is always taken."""
        return self.temperature == 0

    def replace(self, **changes: Any) -> SamplingSettings:
        """A copy with some settings changed."""
        return SamplingSettings(**{**self.model_dump(), **changes})

    def to_dict(self) -> dict[str, Any]:
        """For JSON: lists instead of tuples."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in self}

    def describe(self) -> str:
        """Short text such as `t 0.80  k 40  p 0.95`; rules that are off are left out."""
        if self.greedy:
            parts = ["greedy"]
        else:
            parts = [f"t {self.temperature:.2f}"]
            parts += [f"k {self.top_k}"] if self.top_k else []
            parts += [f"p {self.top_p:.2f}"] if self.top_p < 1 else []
            parts += [f"min-p {self.min_p:.2f}"] if self.min_p else []
        parts += [f"rep {self.repetition_penalty:.2f}"] if self.repetition_penalty != 1 else []
        return "  ".join(parts)


WHOLE = tuple(name for name, field in SamplingSettings.model_fields.items() if field.annotation in (int, int | None))
"""Those that are whole numbers."""
