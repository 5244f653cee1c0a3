"""Each rule is of the last dimension, whatever stands before it: one row, rows, rows of rows."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from engine.sampling import rules
from engine.sampling.rules import pick_top, probabilities

LOGITS = torch.randn(2, 3, 40, generator=torch.Generator().manual_seed(4)).mul(3).round(decimals=1)
SEEN = torch.randint(40, (2, 3, 5), generator=torch.Generator().manual_seed(5))
RULES: dict[str, Callable[[Tensor], Tensor]] = {
    "temperature": lambda x: rules.apply_temperature(x, 0.7),
    "cold": lambda x: rules.apply_temperature(x, 1e-9),
    "greedy": rules.keep_top,
    "top-k": lambda x: rules.keep_top_k(x, 7),
    "top-p": lambda x: rules.keep_top_p(x, 0.6),
    "min-p": lambda x: rules.keep_min_p(x, 0.1),
    "probabilities": probabilities,
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("sort_all", [1024, 8])
def test_of_the_last_dimension(rule: str, sort_all: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "SORT_ALL", sort_all)
    alone = [RULES[rule](row) for row in LOGITS.reshape(6, 40)]
    assert torch.equal(RULES[rule](LOGITS.reshape(6, 40)), torch.stack(alone))
    assert torch.equal(RULES[rule](LOGITS), torch.stack(alone).view(2, 3, 40))


def test_the_repetition_penalty_and_the_likeliest() -> None:
    rows, seen = LOGITS.reshape(6, 40), SEEN.reshape(6, 5)
    alone = torch.stack([rules.apply_repetition_penalty(row, ids, 1.3) for row, ids in zip(rows, seen, strict=True)])
    assert torch.equal(rules.apply_repetition_penalty(rows, seen, 1.3), alone)
    assert torch.equal(rules.apply_repetition_penalty(LOGITS, SEEN, 1.3), alone.view(2, 3, 40))
    assert torch.equal(pick_top(rows), torch.stack([pick_top(row) for row in rows]))
