"""Models of others as runs, and runs for the tools of others."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from engine.errors import CheckpointError, RunError
from engine.interop.exports import export_tensorboard
from engine.runs.layout import RunDir
from engine.tokenizers.bpe import byte_alphabet
from engine.training.checkpoint import load_model
from engine.training.fork import fine_tuning_config, fork_run, import_run
from engine.training.start import resume_run, start_run

from .conftest import tiny_text, train

MERGES = "#version: 0.2\nt h\nth e\n"
END = "<|endoftext|>"
VOCAB = 256 + 2 + 1  # bytes, merges, END


@pytest.fixture
def gpt2(tmp_path: Path) -> Path:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=VOCAB, n_positions=16, n_embd=16, n_layer=2, n_head=2, bos_token_id=258, eos_token_id=258
    )
    folder = tmp_path / "small-gpt2"
    transformers.GPT2LMHeadModel(config).save_pretrained(folder)
    put_vocabulary(folder, [*byte_alphabet(), "th", "the", END])
    return folder


def put_vocabulary(folder: Path, names: list[str]) -> None:
    """vocab.json with these tokens by id, and merges.txt."""
    ids = {name: id for id, name in enumerate(names)}
    (folder / "vocab.json").write_text(json.dumps(ids), encoding="utf-8")
    (folder / "merges.txt").write_text(MERGES)


def test_a_gpt2_becomes_a_run_that_can_be_fine_tuned(gpt2: Path, tmp_path: Path) -> None:
    import transformers

    run = import_run(gpt2, tmp_path / "runs", name="theirs")
    model, tokenizer, step = load_model(run, "last")
    assert step == 0 and tokenizer.decode(tokenizer.encode("the cat")) == "the cat"
    ids = torch.tensor([[0, 5, 256, 257, 40]])
    reference = transformers.GPT2LMHeadModel.from_pretrained(gpt2).eval()
    with torch.no_grad():
        torch.testing.assert_close(model(ids), reference(ids).logits, rtol=1e-4, atol=1e-4)
    text = tmp_path / "own.txt"
    text.write_text(tiny_text())
    config = fine_tuning_config(run, "last").replace(
        {"train.max_steps": 4, "train.batch_size": 2, "train.grad_accum": 1, "train.eval_every": 4}
        | {"train.precision": "fp32", "train.compile": False, "train.sample_tokens": 4}
    )
    tuned = start_run(str(text), config, tmp_path / "runs", name="tuned", device="cpu", base=(run, "last"))
    assert train(tuned).state == "finished"


def test_an_imported_run_has_no_text_to_go_on_with(gpt2: Path, tmp_path: Path) -> None:
    run = import_run(gpt2, tmp_path / "runs", name="theirs")
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    for go_on in (
        lambda: resume_run(run),
        lambda: resume_run(run, max_steps=5),
        lambda: fork_run(run, "last", tmp_path / "runs", name="fork"),
    ):
        with pytest.raises(RunError, match="was imported; train it on text with tinytui train CORPUS --from theirs"):
            go_on()
    assert before == {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    assert not (tmp_path / "runs" / "fork").exists()


def test_every_token_has_the_number_the_folder_gives_it(gpt2: Path, tmp_path: Path) -> None:
    """Also where the special token comes first and shifts all others."""
    import transformers

    put_vocabulary(gpt2, [END, *byte_alphabet(), "th", "the"])
    _, tokenizer, _ = load_model(import_run(gpt2, tmp_path / "runs"), "last")
    theirs = transformers.GPT2Tokenizer.from_pretrained(gpt2)
    text = f"the thin man{END}\nthe end"
    assert tokenizer.encode(text).tolist() == theirs.encode(text)
    assert tokenizer.encode("the").tolist() == [258] and tokenizer.encode(END).tolist() == [0]


def test_a_vocabulary_that_does_not_belong_is_named(gpt2: Path, tmp_path: Path) -> None:
    put_vocabulary(gpt2, [*byte_alphabet(), "th", "the", "an", END])
    with pytest.raises(CheckpointError, match=r"weights for 259 tokens, its tokenizer 260"):
        import_run(gpt2, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_tensorboard_gets_every_step(start: Callable[..., RunDir], tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = start("board")
    train(run)
    assert export_tensorboard(run, tmp_path / "board") == 12
    found = EventAccumulator(str(tmp_path / "board"))
    found.Reload()
    losses = [event.value for event in found.Scalars("train/loss")]
    written = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert losses == pytest.approx([line["loss"] for line in written if "loss" in line], rel=1e-5)
    assert len(found.Scalars("val/loss")) == 2
