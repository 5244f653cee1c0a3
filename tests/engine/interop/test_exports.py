"""What is exported computes the same in transformers, and what transformers saved computes the same here."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from models_for_tests import EXPORTS, LLAMA, NANOCHAT, TEXT, TOKENIZERS, VOCAB, disturbed, small, some_ids

from engine.errors import UserError
from engine.interop.exports import ENDS, export, export_adapter
from engine.model import build_model
from engine.model.lora import adapted_layers, apply_lora
from engine.preset_files import load_preset
from engine.tokenizers.table import load_tokenizer
from engine.tokenizers.word import WordTokenizer
from tests.later import Later

transformers = Later("transformers")


@pytest.fixture(autouse=True)
def code_is_copied_elsewhere(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not to the user's cache: loading a model with code of its own copies that code."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path_factory.mktemp("modules")))


def hf_logits(folder: Path, ids: torch.Tensor, adapter: Path | None = None) -> torch.Tensor:
    model, info = transformers.AutoModelForCausalLM.from_pretrained(
        folder, trust_remote_code=True, output_loading_info=True
    )
    assert not info["missing_keys"] and not info["unexpected_keys"]
    if adapter is not None:
        import peft

        model = peft.PeftModel.from_pretrained(model, adapter)
    with torch.inference_mode():
        logits: torch.Tensor = model.eval()(ids).logits
    return logits


@pytest.mark.parametrize("case", EXPORTS)
def test_exports_compute_the_same_in_transformers(case: str, tmp_path: Path) -> None:
    name, settings = EXPORTS[case]
    model = disturbed(build_model(small(**settings), VOCAB))
    assert export(model, None, tmp_path).name == name
    logits = hf_logits(tmp_path, some_ids())
    assert logits.shape == (2, 16, VOCAB)
    torch.testing.assert_close(logits, model(some_ids()), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("preset", "name"), [("titan", "NanoChatForCausalLM"), ("nano", "WindowedNanoChatForCausalLM")]
)
def test_presets_export(preset: str, name: str, tmp_path: Path) -> None:
    model = disturbed(build_model(load_preset(preset).model, 65))
    assert export(model, None, tmp_path).name == name
    torch.testing.assert_close(hf_logits(tmp_path, some_ids(65)), model(some_ids(65)), atol=1e-4, rtol=1e-4)


def test_a_windowed_model_writes_the_same_in_transformers(tmp_path: Path) -> None:
    model = disturbed(build_model(small(**{**NANOCHAT, "embd_window": 3, "tie_embeddings": False}), VOCAB))
    export(model, None, tmp_path)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, trust_remote_code=True).eval()
    ids = some_ids()[:1, :5]
    for use_cache in (False, True):
        written = theirs.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=8,
            do_sample=False,
            use_cache=use_cache,
            pad_token_id=0,
        )
        ours = ids
        with torch.inference_mode():
            for _ in range(8):
                ours = torch.cat((ours, model(ours, last=True)[:, -1].argmax(-1, keepdim=True)), 1)
        assert written.tolist() == ours.tolist()


def test_what_transformers_cannot_compute_is_named(tmp_path: Path) -> None:
    near_llama = build_model(small(**{**LLAMA, "mlp": "relu2", "softcap": 15.0}), VOCAB)
    with pytest.raises(UserError, match=r"LlamaForCausalLM, needs model.mlp swiglu, model.softcap 0"):
        export(near_llama, None, tmp_path / "out")
    windows = build_model(small(**LLAMA, embd_window=2), VOCAB)
    with pytest.raises(UserError, match=r"LlamaForCausalLM, needs model.embd_window 1$"):
        export(windows, None, tmp_path / "out")
    rung = build_model(small(kind="bigram", position="none"), VOCAB)
    with pytest.raises(UserError, match="kind bigram"):
        export(rung, None, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_tokenizers_come_along(kind: str, tmp_path: Path) -> None:
    ours = TOKENIZERS[kind]()
    export(build_model(small(**LLAMA), ours.vocab_size), ours, tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for text in (TEXT, "speak", "hear me\n\n", *(f"speak{mark}me" for mark in ours.special)):
        ids = ours.encode(text).tolist()
        assert theirs.encode(text, add_special_tokens=False) == ids
        assert theirs.decode(ids) == text
    if ours.kind == "char" and ours.special:
        assert theirs.encode("speak ☃", add_special_tokens=False) == ours.encode("speak ☃").tolist()
    assert transformers.AutoConfig.from_pretrained(tmp_path).eos_token_id == next(
        (ours.special[end] for end in ENDS if end in ours.special), None
    )


def test_tokenizers_without_an_equal_are_written_as_they_are(tmp_path: Path) -> None:
    ours = WordTokenizer.train([TEXT * 3], 300)
    export(build_model(small(**LLAMA), ours.vocab_size), ours, tmp_path)
    names = ["config.json", "model.safetensors", "tinytui_tokenizer.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert load_tokenizer(tmp_path / names[2]) == ours


@pytest.mark.parametrize("case", ["gpt2", "llama", "nanochat, grouped"])
def test_adapters_load_in_peft_on_the_exported_base(case: str, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    config = small(**EXPORTS[case][1])
    base = disturbed(build_model(config, VOCAB))
    export(base, None, tmp_path / "base")
    plain = base(some_ids())
    model = apply_lora(base, 3, 5.0)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(4)
        for _, layer in adapted_layers(model):
            for tensor in (layer.lora_a, layer.lora_b):
                tensor.copy_(0.3 * torch.randn(tensor.shape, generator=generator))
    logits = model(some_ids())
    assert not torch.allclose(logits, plain, atol=1e-2)
    export_adapter(model, 3, 5.0, tmp_path / "adapter")
    theirs = hf_logits(tmp_path / "base", some_ids(), adapter=tmp_path / "adapter")
    torch.testing.assert_close(theirs, logits, atol=1e-4, rtol=1e-4)

    export(model, None, tmp_path / "merged")
    torch.testing.assert_close(hf_logits(tmp_path / "merged", some_ids()), logits, atol=1e-4, rtol=1e-4)
