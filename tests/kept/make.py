"""Makes the kept runs: `python tests/kept/make.py FOLDER`, with the program whose format is to be kept.

They are not made anew when the program changes: each folder holds runs as the program of its day wrote them, and
`test_kept_runs.py` opens, samples and resumes them for good.
"""

from __future__ import annotations

import random
import re
import sys
from pathlib import Path

from engine.preset_files import load_config
from engine.training.host import TrainingHost
from engine.training.start import start_run

SMALL = (
    "model.n_layer=1",
    "model.n_head=2",
    "model.n_embd=16",
    "model.block_size=16",
    "train.batch_size=4",
    "train.max_steps=20",
    "train.eval_every=10",
    "train.checkpoint_every=10",
    "train.keep_last=1",
    "train.sample_tokens=8",
    "train.warmup_steps=2",
)
KINDS = {
    "muon-bpe": ("nano", ("data.tokenizer=bpe", "data.vocab_size=300")),
    "adamw-average": (
        "nanogpt-char-cpu",
        ("data.tokenizer=word", "data.vocab_size=300", "train.ema=0.9", "model.dropout=0.1", "train.early_stop=5"),
    ),
    "grouped-heads": ("nano", ("data.tokenizer=char", "model.n_kv_head=1", "model.mlp_width=16", "model.mlp=swiglu")),
}


def text() -> str:
    rng = random.Random(5)
    who, does, what = ("a cat", "the dog", "one bird"), ("sees", "wants", "finds"), ("a fish", "the tree", "some rain")
    return "".join(f"{rng.choice(who)} {rng.choice(does)} {rng.choice(what)}.\n" for _ in range(150))


def main(folder: Path) -> None:
    corpus = folder / "corpora" / "kept.txt"
    corpus.parent.mkdir(parents=True)
    corpus.write_text(text(), encoding="utf-8")
    for name, (preset, sets) in KINDS.items():
        config = load_config(preset, sets=(*SMALL, *sets))
        run = start_run(str(corpus), config, folder / "runs", name=name, preset=preset, device="cpu")
        host = TrainingHost(run, device="cpu")
        host.start()
        host.join()
        assert host.state == "finished", host.error
        run.lock.unlink(missing_ok=True)
        for path in (run.run_json, run.status_json):  # nothing of the machine they were made on
            path.write_text(re.sub(r'("(?:path|socket|host|platform)": )"[^"]*"', r'\1""', path.read_text()))


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
