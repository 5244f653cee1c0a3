"""NanoChat with embeddings made of several tokens: a model of transformers that transformers does not have.

tinytui writes this file beside a model it exports; nothing in tinytui imports it. To load such a model:

    AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)

A token's embedding is the sum of its own row and of one row for each of the `embd_window - 1` tokens before it, of a
table for every distance. As the tokens before are needed, there is no key/value cache: each token reads its whole text.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import NanoChatConfig, NanoChatForCausalLM


class WindowedNanoChatConfig(NanoChatConfig):  # type: ignore[misc, unused-ignore]
    """NanoChat's, and `embd_window`: tokens an embedding is made of."""

    model_type = "windowed_nanochat"
    embd_window: int = 2


class WindowedNanoChatForCausalLM(NanoChatForCausalLM):  # type: ignore[misc, unused-ignore]
    """Token ids (B, T) -> logits (B, T, vocab_size)."""

    config_class = WindowedNanoChatConfig

    def __init__(self, config: WindowedNanoChatConfig) -> None:
        super().__init__(config)
        self.before = nn.Embedding((config.embd_window - 1) * (config.vocab_size + 1), config.hidden_size)
        self.post_init()

    def forward(self, input_ids: Tensor | None = None, inputs_embeds: Tensor | None = None, **given: Any) -> Any:
        if inputs_embeds is None:
            assert input_ids is not None
            inputs_embeds = self.model.embed_tokens(input_ids) + self.before(self.earlier(input_ids)).sum(-2)
        given.update(past_key_values=None, use_cache=False)
        return super().forward(inputs_embeds=inputs_embeds, **given)

    def earlier(self, ids: Tensor) -> Tensor:
        """Rows (B, T, embd_window - 1) of the tokens before each of ids (B, T), oldest first; 0 stands for none."""
        reach = self.config.embd_window - 1
        tables = torch.arange(reach, device=ids.device) * (self.config.vocab_size + 1)
        rows: Tensor = F.pad(ids[:, :-1] + 1, (reach, 0)).unfold(1, reach, 1) + tables
        return rows

    def prepare_inputs_for_generation(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, **given: Any
    ) -> dict[str, Any]:
        return {"input_ids": input_ids, "attention_mask": attention_mask}
