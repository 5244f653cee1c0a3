from __future__ import annotations

import numpy as np
import pytest
import torch

from engine.errors import UserError
from engine.inspect import layers
from engine.inspect.layers import attention_maps, logit_lens

from .conftest import KINDS, VOCAB, MakeModel

IDS = [int(id) for id in np.random.default_rng(0).integers(0, VOCAB, 20)]
ATTENDING = [kind for kind in KINDS if kind != "bigram"]


@pytest.mark.parametrize("kind", ATTENDING)
def test_maps_of_the_last_tokens_that_fit(make: MakeModel, kind: str) -> None:
    model = make(kind)
    found = attention_maps(model, IDS)
    assert found.ids == tuple(IDS[-8:]) and found.start == 12
    layers = 1 if kind in ("single-head", "multi-head") else 2
    assert found.weights.shape == (layers, 1 if kind == "single-head" else 2, 8, 8)
    assert found.weights.dtype == np.float32
    with torch.inference_mode():
        expected = model.attention_maps(torch.tensor([IDS[-8:]]))
    for layer, each in enumerate(expected):
        assert np.array_equal(found.weights[layer], each[0].numpy())
    np.testing.assert_allclose(found.weights.sum(-1), 1, atol=1e-6)


def test_the_wall_is_the_maps_made_small(make: MakeModel) -> None:
    found = attention_maps(make(), IDS)
    for size in (1, 2, 3, 5, 8, 100):
        wall = found.wall(size)
        assert wall.shape == (2, 2, min(size, 8), min(size, 8))
        np.testing.assert_allclose(wall.sum(-1), 1, atol=1e-5)
        assert np.triu(wall, 1).max() <= 1e-6
    np.testing.assert_array_equal(found.wall(8), found.weights)
    np.testing.assert_allclose(found.wall(4)[1, 0, 2, 1], found.weights[1, 0, 4:6, 2:4].sum() / 2, rtol=1e-5)


def test_maps_are_bounded_by_the_memory_that_all_take(make: MakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "LARGEST", 4 * 2 * 2 * 5 * 5 + 3)
    assert attention_maps(make(), IDS).weights.shape[-1] == 5
    monkeypatch.setattr(layers, "MOST", 3)
    assert attention_maps(make(), IDS).ids == logit_lens(make(), IDS).ids == tuple(IDS[-3:])


def test_where_nothing_attends_or_nothing_is_to_be_seen_is_said(make: MakeModel) -> None:
    with pytest.raises(UserError, match="a bigram looks at the last token alone"):
        attention_maps(make("bigram"), IDS)
    for look in (attention_maps, logit_lens):
        with pytest.raises(UserError, match="there is no text to look at; type some"):
            look(make(), [])


@pytest.mark.parametrize("kind", KINDS)
def test_the_lens_ends_in_what_the_model_says(make: MakeModel, kind: str) -> None:
    model = make(kind)
    found = logit_lens(model, IDS)
    assert found is not None and found.ids == tuple(IDS[-8:]) and found.start == 12
    n = {"bigram": 0, "single-head": 1, "multi-head": 1}.get(kind, 2)
    assert found.token.shape == found.probability.shape == (n + 1, 8) and found.of_next.shape == (n + 1, 7)
    with torch.inference_mode():
        logits = model(torch.tensor([IDS[-8:]]))[0].float()
    shares = logits.softmax(-1)
    assert np.array_equal(found.token[-1], logits.argmax(-1).numpy())
    assert np.array_equal(found.probability[-1], shares.amax(-1).numpy())
    assert np.array_equal(found.of_next[-1], shares[:-1].gather(1, torch.tensor(IDS[-7:])[:, None])[:, 0].numpy())


def test_each_layer_of_the_lens_goes_through_the_models_own_norm_and_head(make: MakeModel) -> None:
    model = make("grouped")
    found = logit_lens(model, IDS[:6])
    assert found is not None
    with torch.inference_mode():
        x, rope = model.embed(torch.tensor([IDS[:6]]))
        for layer in range(3):
            shares = model.logits(model.norm_f(x))[0].float().softmax(-1)
            assert found.token[layer].tolist() == shares.argmax(-1).tolist()
            np.testing.assert_array_equal(found.probability[layer], shares.amax(-1))
            x = model.blocks[layer](x, rope) if layer < 2 else x
    assert len({tuple(row) for row in found.token.tolist()}) > 1


def test_the_lens_can_be_left_and_is_computed_in_portions(make: MakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make()
    whole = logit_lens(model, IDS)
    asked: list[int] = []
    assert logit_lens(model, IDS, cancelled=lambda: asked.append(1) or len(asked) > 1) is None
    monkeypatch.setattr("engine.inspect.layers.portion_for", lambda model: type("Few", (), {"tokens": 3}))
    parts = logit_lens(model, IDS)
    assert whole is not None and parts is not None
    assert np.array_equal(parts.token, whole.token)
    np.testing.assert_allclose(parts.of_next, whole.of_next, atol=1e-6)
    one = logit_lens(model, IDS[:1])
    assert one is not None and one.of_next.shape == (3, 0)
