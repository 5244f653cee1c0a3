"""What was exported, and what transformers saved, computes the same here; what cannot is refused in one line."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from models_for_tests import ALL, EXPORTS, GPT2, LLAMA, NANOCHAT, TEXT, VOCAB, disturbed, small, some_ids
from safetensors.torch import load_file, save_file

from engine.errors import CheckpointError, TokenizerError, UserError
from engine.interop.exports import export
from engine.interop.imports import import_model
from engine.model import build_model
from engine.model.gpt import GPT
from engine.runs.layout import list_runs
from engine.sampling.generate import generate
from engine.sampling.settings import SamplingSettings
from engine.tokenizers.base import Tokenizer
from engine.training.checkpoint import load_model
from engine.training.fork import import_run

GREEDY = SamplingSettings(temperature=0, max_tokens=10)


def imported(folder: Path) -> GPT:
    config, state = import_model(folder)
    model = build_model(config, len(state["wte.weight"])).eval()
    model.load_state_dict(state)
    return model


def written(model: GPT, tokenizer: Tokenizer) -> str:
    return list(generate(model, tokenizer, "hear", GREEDY))[-1].text


ONE_OF_EACH = ("gpt2", "llama", "nanochat", "nanochat, windows")


@pytest.mark.parametrize("kind", ALL)
def test_an_export_comes_back_with_the_same_ids_logits_and_text(kind: str, tmp_path: Path) -> None:
    """Every family with every tokenizer, and everything that a model can have with one of them."""
    tokenizer = ALL[kind]()
    cases = EXPORTS if kind == "byte" else {case: EXPORTS[case] for case in ONE_OF_EACH}
    for case, (_, settings) in cases.items():
        folder = tmp_path / case
        model = disturbed(build_model(small(**settings), tokenizer.vocab_size))
        export(model, tokenizer, folder)
        ours, theirs, step = load_model(
            import_run(folder, tmp_path / "runs", name=case.replace(",", "").replace(" ", "-")), "last"
        )
        assert step == 0 and theirs.vocab_size == tokenizer.vocab_size and theirs.special == tokenizer.special
        for text in (TEXT, "speak", " hear  me\n\n", *(f"speak{mark}me" for mark in tokenizer.special)):
            assert theirs.encode(text).tolist() == tokenizer.encode(text).tolist(), case
        if tokenizer.kind == "char":
            assert theirs == tokenizer  # and does the same with what it does not know
        ids = some_ids(tokenizer.vocab_size)
        torch.testing.assert_close(ours(ids), model(ids), atol=1e-4, rtol=1e-4, msg=case)
        assert written(ours, theirs) == written(model, tokenizer), case
    assert len(list_runs(tmp_path / "runs")) == len(cases)


def test_an_imported_model_is_exported_again(tmp_path: Path) -> None:
    tokenizer = ALL["imported"]()
    model = disturbed(build_model(small(**GPT2), tokenizer.vocab_size))
    for number in range(2):
        export(model, tokenizer, tmp_path / str(number))
        run = import_run(tmp_path / str(number), tmp_path / "runs", name=f"run-{number}")
        again, theirs, _ = load_model(run, "last")
        assert theirs == tokenizer
        torch.testing.assert_close(again(some_ids()), model(some_ids()), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("tied", [True, False])
def test_a_gpt2_saved_by_transformers_is_imported(tied: bool, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    settings = transformers.GPT2Config(
        n_layer=2, n_head=2, n_embd=16, n_positions=16, vocab_size=VOCAB, tie_word_embeddings=tied
    )
    theirs = disturbed(transformers.GPT2LMHeadModel(settings))
    theirs.save_pretrained(tmp_path)
    ours = imported(tmp_path)
    assert ours.config.tie_embeddings is tied and ours.config.mlp == "gelu_tanh" and ours.config.block_size == 16
    torch.testing.assert_close(ours(some_ids()), theirs(some_ids()).logits, atol=1e-4, rtol=1e-4)
    theirs.transformer.save_pretrained(tmp_path / "headless")
    torch.testing.assert_close(imported(tmp_path / "headless").wte.weight, ours.wte.weight)


FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {}),
    "llama, grouped": ("Llama", {"num_key_value_heads": 2, "tie_word_embeddings": True}),
    "llama, biases": ("Llama", {"attention_bias": True, "mlp_bias": True}),
    "llama, slow turns": ("Llama", {"rope_parameters": {"rope_type": "default", "rope_theta": 500_000.0}}),
    "nanochat": ("NanoChat", {}),
    "nanochat, no cap": ("NanoChat", {"final_logit_softcapping": None, "num_key_value_heads": 1}),
}


@pytest.mark.parametrize("case", FAMILIES)
def test_other_families_saved_by_transformers_are_imported(case: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    name, changes = FAMILIES[case]
    shape = {"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 32, "intermediate_size": 48}
    settings = getattr(transformers, f"{name}Config")(
        **shape,
        max_position_embeddings=16,
        vocab_size=VOCAB,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
        **changes,
    )
    theirs = disturbed(getattr(transformers, f"{name}ForCausalLM")(settings))
    theirs.save_pretrained(tmp_path)
    torch.testing.assert_close(imported(tmp_path)(some_ids()), theirs(some_ids()).logits, atol=1e-4, rtol=1e-4)


def test_import_undoes_export_and_reads_shards(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    model = disturbed(build_model(small(**GPT2), VOCAB))
    export(model, None, tmp_path / "one")
    transformers.GPT2LMHeadModel.from_pretrained(tmp_path / "one").save_pretrained(
        tmp_path / "many", max_shard_size="30KB"
    )
    assert len(list((tmp_path / "many").glob("*.safetensors"))) > 1
    for folder in ("one", "many"):
        _, state = import_model(tmp_path / folder)
        assert state.keys() == model.state_dict().keys()
        assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())


def config(**changes: Any) -> Callable[[Path], None]:
    """Settings changed in config.json; None leaves one out."""

    def edit(folder: Path) -> None:
        path = folder / "config.json"
        tree = json.loads(path.read_text()) | changes
        path.write_text(json.dumps({name: value for name, value in tree.items() if value is not None}))

    return edit


def weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")

    return edit


def replaced(name: str, data: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(data) and None


def pipe(name: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)

    return make


WTE, QKV = "transformer.wte.weight", "transformer.h.0.attn.c_attn.weight"
NAN = torch.full((3 * 32,), float("nan"))
REFUSED: dict[str, tuple[Callable[[Path], None], str]] = {
    "no settings": (lambda folder: (folder / "config.json").unlink(), "config.json"),
    "settings cut short": (replaced("config.json", b"{"), "not valid JSON"),
    "settings too deep": (replaced("config.json", b'{"a":' * 50_000), "not valid JSON"),
    "settings too large": (replaced("config.json", b" " * (1 << 24) + b"{}"), "larger than 16 MiB"),
    "settings never written": (pipe("config.json"), "it is a pipe"),
    "another model": (config(model_type="bert"), "holds a bert; only gpt2, llama"),
    "no model": (config(model_type=None), "no known type"),
    "a model of another kind": (config(model_type=["gpt2"]), "only gpt2"),
    "an activation of others": (config(activation_function="gelu_fast"), "must be gelu or .*, not gelu_fast"),
    "an activation of another class": (config(activation_function="silu"), "must be gelu or .*, not silu"),
    "scaled attention": (config(scale_attn_by_inverse_layer_idx=True), "inverse_layer_idx must be false, not true"),
    "another epsilon": (config(layer_norm_epsilon=1e-6), "layer_norm_epsilon must be 1e-05"),
    "an epsilon that is a word": (config(layer_norm_epsilon="1e-5"), "layer_norm_epsilon must be 1e-05"),
    "no width": (config(n_embd=None), "it lacks n_embd"),
    "a width of another kind": (config(n_embd="32"), "n_embd must be 32"),
    "true layers": (config(n_layer=True), "n_layer must be"),
    "many layers": (config(n_layer=10**9), "model.n_layer must be"),
    "heads that do not fit": (config(n_head=5), "not a multiple"),
    "more layers than there are": (config(n_layer=3), "lacks h.2.ln_1|lacks h.2.attn"),
    "fewer layers than there are": (config(n_layer=1), "no model of ours has"),
    "another width": (config(n_embd=64), "wte.weight is 37x32, not 37x64"),
    "another context": (config(n_positions=64), "wpe.weight is 16x32, not 64x32"),
    "another hidden width": (config(n_inner=64), "c_fc.weight is 32x128, not 32x64"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), r"no model\.safetensors"),
    "weights never written": (pipe("model.safetensors"), "it is a pipe"),
    "nonsense for weights": (replaced("model.safetensors", b"\x08\0\0\0\0\0\0\0nonsense"), "damaged"),
    "no bytes": (replaced("model.safetensors", b""), "damaged"),
    "a header that claims too much": (replaced("model.safetensors", b"\xff" * 7 + b"\x7f{}"), "damaged"),
    "a tensor lacking": (weights(lambda t: t.pop(QKV)), "lacks h.0.attn.c_attn.weight and 0 more"),
    "a tensor too many": (weights(lambda t: t.update(x=t[WTE].clone())), "no model of ours has, 'x'"),
    "a tensor twice": (weights(lambda t: t.update({"wte.weight": t[WTE] + 1})), "twice"),
    "a shape turned": (weights(lambda t: t.update({QKV: t[QKV].t()})), "is 96x32, not 32x96"),
    "one number": (weights(lambda t: t.update({WTE: torch.tensor(1.0)})), "no token"),
    "an empty vocabulary": (weights(lambda t: t.update({WTE: t[WTE][:0]})), "no token"),
    "whole numbers": (weights(lambda t: t.update({QKV: t[QKV].to(torch.int8)})), "as I8"),
    "quantized": (weights(lambda t: t.update({QKV: t[QKV].to(torch.float8_e4m3fn)})), "as F8_E4M3"),
    "not a number": (weights(lambda t: t.update({QKV.replace("weight", "bias"): NAN})), "not finite"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_imported_says_why_and_makes_nothing(case: str, tmp_path: Path) -> None:
    edit, why = REFUSED[case]
    folder = tmp_path / "gpt2"
    export(disturbed(build_model(small(**GPT2), VOCAB)), None, folder)
    edit(folder)
    with pytest.raises(UserError, match=why) as caught:
        import_model(folder)
    assert str(caught.value).isprintable() and len(str(caught.value).replace(str(folder), "")) < 250
    with pytest.raises(UserError):
        import_run(folder, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


OF_OTHERS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "llama, other norms": (LLAMA, {"rms_norm_eps": 1e-5}, "rms_norm_eps must be 1e-06"),
    "llama, scaled": (LLAMA, {"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4}}, r"positions \(llama3\)"),
    "llama, scaled before": (LLAMA, {"rope_parameters": None, "rope_scaling": {"type": "linear"}}, r"\(linear\)"),
    "llama, in part": (LLAMA, {"rope_parameters": {"partial_rotary_factor": 0.5}}, "positions"),
    "llama, other turns": (LLAMA, {"rope_parameters": {"rope_theta": "fast"}}, "model.rope_base must be"),
    "llama, some biases": (LLAMA, {"mlp_bias": True}, "attention_bias must be true, not false"),
    "llama, another activation": (LLAMA, {"hidden_act": "relu2"}, "must be silu"),
    "llama, wide heads": (LLAMA, {"head_dim": 32}, "head_dim must be 8, not 32"),
    "llama, no heads": (LLAMA, {"num_attention_heads": 0}, "model.n_head must be"),
    "nanochat, biases": (NANOCHAT, {"attention_bias": True}, "must be false"),
    "nanochat, another activation": (NANOCHAT, {"hidden_act": "silu"}, "must be gelu or .*, not silu"),
    "nanochat, windows it has not": (NANOCHAT, {"embd_window": 2}, "embd_window must be 1, not 2"),
}


@pytest.mark.parametrize("case", OF_OTHERS)
def test_options_that_are_not_ours_are_refused(case: str, tmp_path: Path) -> None:
    settings, changes, why = OF_OTHERS[case]
    export(build_model(small(**settings), VOCAB), None, tmp_path)
    imported(tmp_path)
    config(**changes)(tmp_path)
    with pytest.raises(UserError, match=why):
        import_model(tmp_path)


def test_a_tokenizer_that_is_lacking_or_of_another_model_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "gpt2"
    export(build_model(small(**GPT2), VOCAB), None, folder)
    with pytest.raises(TokenizerError, match=r"has no tokenizer; put its tokenizer\.json"):
        import_run(folder, tmp_path / "runs")
    export(build_model(small(**GPT2), 256), ALL["byte"](), tmp_path / "bytes")
    (folder / "tokenizer.json").write_bytes((tmp_path / "bytes" / "tokenizer.json").read_bytes())
    with pytest.raises(CheckpointError, match="weights for 37 tokens, its tokenizer 256"):
        import_run(folder, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_weights_beyond_the_machine_are_not_read(tmp_path: Path) -> None:
    """A file with holes takes no room on the disk, whatever it says it holds."""
    folder, rows = tmp_path / "giant", 2**36
    export(build_model(small(**GPT2), VOCAB), None, folder)
    path = folder / "model.safetensors"
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header[WTE]["shape"] = [rows, 32]
    at = 0
    for name, entry in header.items():
        if name != "__metadata__":
            size = 4 * torch.Size(entry["shape"]).numel()
            entry["data_offsets"], at = [at, at + size], at + size
    told = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(told).to_bytes(8, "little") + told)
        try:
            file.truncate(8 + len(told) + at)
        except OSError:
            pytest.skip("the file system has no files of that size")
    with pytest.raises(UserError, match=r"does not fit: its weights take 8,192\.\d GiB"):
        import_model(folder)


def test_weights_that_grow_beyond_the_machine_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In float32 they are twice as large as in the file."""
    folder = tmp_path / "half"
    export(build_model(small(**GPT2), VOCAB), None, folder)
    weights(lambda tensors: tensors.update({name: tensor.half() for name, tensor in tensors.items()}))(folder)
    imported(folder)
    room = SimpleNamespace(total=(folder / "model.safetensors").stat().st_size + 10_000)
    monkeypatch.setattr("engine.interop.imports.psutil.virtual_memory", lambda: room)
    with pytest.raises(UserError, match="does not fit"):
        import_model(folder)


def test_a_run_that_cannot_be_written_is_not_half_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export(build_model(small(**GPT2), 256), ALL["byte"](), tmp_path / "bytes")

    def full(*_: object) -> None:
        raise CheckpointError("no space left on device")

    monkeypatch.setattr("engine.training.fork.write_checkpoint", full)
    with pytest.raises(CheckpointError, match="no space"):
        import_run(tmp_path / "bytes", tmp_path / "runs")
    assert not list((tmp_path / "runs").iterdir())
