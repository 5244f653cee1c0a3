"""What a training would take on 1 to 64 GPUs, reckoned from its settings: the tables of docs/scale.md.

    python -m bench.scale

Nothing here was measured on a GPU. What is published of the devices is in GPUS and ADAPTER, what is assumed in RATE,
LINK, FULL and GATHERED; the rest follows from the program's own functions. `bench.scale_count` compares those with what
processes of a small model really hold and send.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from engine.config import Config
from engine.model.sizes import count_parameters, flops_per_token, parameter_table
from engine.preset_files import load_preset
from engine.training.memory import ROOM, activation_estimate, memory_estimate


@dataclass(frozen=True)
class Gpu:
    """As published: bytes of memory, dense bf16 operations a second, bytes a second to its neighbours, one way."""

    memory: float
    rate: float
    link: float


GPUS = {"H100": Gpu(80e9, 989e12, 450e9), "A100": Gpu(80e9, 312e12, 300e9)}
BOX = 8
"""GPUs of one machine."""
ADAPTER = 50e9
"""Bytes a second of a network adapter of 400 Gb/s, one way."""

RATE, LINK = 0.4, 0.8
"""Assumed: what of a GPU's rate a step makes use of, and of a link's."""
FULL = 0.9
"""Of a GPU's memory that a step may take by this reckoning."""
GATHERED = (8, 10)
"""Assumed bytes that fsdp holds whole for a moment, a parameter of those in fp32 (embedding, head, gains) and of one
block's matrices, in bf16: the first with their gradient; two blocks, the gradient of one and, in fp32, what is sent."""
UPDATE = {"one": 13, "ddp": 12, "fsdp": 24}
"""Bytes for each number of a matrix that Muon's update asks for, read off `optim.py` and `shares.py`: momenta and
directions; with one rank the largest stack of matrices; else what is sent, with fsdp there and back. fsdp parts all."""

VOCABULARY = 50257
SEQUENCES = 512
MODELS: Mapping[str, Mapping[str, Any]] = {
    "124M": {},
    "350M": {"n_layer": 24, "n_embd": 1024, "n_head": 16},
    "1.3B": {"n_layer": 24, "n_embd": 2048, "n_head": 16, "block_size": 2048},
    "7B": {
        "n_layer": 32,
        "n_embd": 4096,
        "n_head": 32,
        "block_size": 4096,
        "position": "rope",
        "norm": "rmsnorm",
        "mlp": "swiglu",
        "mlp_width": 11008,
        "bias": False,
        "tie_embeddings": False,
    },
}
"""Settings `model.` over those of preset gpt2."""
SIZES = (1, 2, 4, 8, 16, 32, 64)


def settings(model: str, **train: Any) -> Config:
    """Of that model: SEQUENCES a step, precision bf16."""
    shape = {f"model.{name}": value for name, value in ({"vocab_multiple": 64} | dict(MODELS[model])).items()}
    how = {f"train.{name}": value for name, value in ({"batch_size": 1, "grad_accum": SEQUENCES} | train).items()}
    return load_preset("gpt2").replace(shape | how)


# -- memory ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Parts:
    """Parameters of a model, by what is done with them."""

    all: int
    matrices: int
    """Hidden ones, Muon's."""
    block: int
    """Matrices of one block, with their biases."""
    root: int
    """All that is no matrix of a block: embedding, head, gains."""

    @classmethod
    def of(cls, config: Config, vocab_size: int = VOCABULARY) -> Parts:
        table = dict(parameter_table(config.model, vocab_size))
        matrices, layers = table["attention"] + table["mlp"], config.model.n_layer
        every = count_parameters(config.model, vocab_size)
        return cls(every, matrices, matrices // layers, every - matrices)

    @property
    def sent(self) -> float:
        """Bytes of the tensors that fsdp exchanges for a micro-batch: weights twice, matrices in bf16; gradients."""
        return 2 * (2 * self.matrices + 4 * self.root) + 4 * self.all


@dataclass(frozen=True)
class Plan:
    """A training on so many GPUs, a rank each."""

    config: Config
    ranks: int
    how: str
    """ddp, fsdp, or one."""
    gpu: Gpu

    @property
    def parted(self) -> int:
        """Ranks that weights, gradients and optimizer are parted over."""
        return self.ranks if self.how == "fsdp" else 1

    @property
    def micros(self) -> int:
        """Micro-batches of a rank in a step."""
        return SEQUENCES // self.ranks // self.config.train.batch_size

    @property
    def state(self) -> float:
        """Bytes of weights, gradients and optimizer that lie on a rank all the time."""
        need = memory_estimate(self.config, VOCABULARY, gpu=True, parted=self.parted)
        lasting = sum(need.values()) - need["activations"]
        again = need["gradients"] if self.how == "ddp" and self.micros > 1 else 0  # beside PyTorch's buckets
        return lasting + again

    @property
    def gathered(self) -> float:
        """Bytes of what is put together for a moment."""
        parts = Parts.of(self.config)
        return GATHERED[0] * parts.root + GATHERED[1] * parts.block if self.how == "fsdp" else 0

    @property
    def activations(self) -> float:
        return activation_estimate(self.config, VOCABULARY, gpu=True, parted=self.parted > 1)

    @property
    def update(self) -> float:
        """Bytes that Muon's update asks for when the activations are gone."""
        if self.config.train.optimizer != "muon":
            return 0
        return UPDATE[self.how] / self.parted * Parts.of(self.config).matrices

    @property
    def memory(self) -> float:
        return self.state + max(self.gathered + self.activations, self.update)

    @property
    def fits(self) -> bool:
        return self.memory <= FULL * self.gpu.memory

    # -- time ----------------------------------------------------------------------------------------------------------

    @property
    def tokens(self) -> int:
        return SEQUENCES * self.config.model.block_size

    @property
    def computing(self) -> float:
        """Seconds of a step's products."""
        model, each = self.config.model, flops_per_token(self.config.model, VOCABULARY)
        if self.config.train.recompute:
            each += 2 * Parts.of(self.config).matrices + 4 * model.n_layer * model.n_embd * model.block_size
        return each * self.tokens / self.ranks / (RATE * self.gpu.rate)

    @property
    def volume(self) -> float:
        """Bytes that pass through each rank's links in a step, as a ring sends them."""
        parts = Parts.of(self.config)
        sent = {"one": 0, "ddp": 2 * 4 * parts.all, "fsdp": self.micros * parts.sent}[self.how]
        return (self.ranks - 1) / self.ranks * sent

    def exchanging(self, adapters: int) -> float:
        """Seconds of it, with so many network adapters a machine; a ring uses all of them."""
        return self.volume / (LINK * self.link(adapters))

    def link(self, adapters: int) -> float:
        """Bytes a second, of the slowest part of the way."""
        return self.gpu.link if self.ranks <= BOX else min(self.gpu.link, adapters * ADAPTER)

    def seconds(self, adapters: int = BOX) -> tuple[float, float]:
        """Of a step: where all is sent while something is computed, and where nothing is."""
        return max(self.computing, self.exchanging(adapters)), self.computing + self.exchanging(adapters)


def choose(model: str, ranks: int, gpu: Gpu, **train: Any) -> Plan | None:
    """As `train.parallel = auto` would have it, with the micro-batch that is quickest by this reckoning; None: no room.

    It prefers larger micro-batches where the time is the same.
    """
    need = memory_estimate(settings(model, **train), VOCABULARY, gpu=True)
    how = "fsdp" if sum(need.values()) - need["activations"] > ROOM * gpu.memory else "ddp"
    plans = [
        Plan(
            settings(model, batch_size=size, grad_accum=SEQUENCES // size, recompute=again, **train),
            ranks,
            "one" if ranks == 1 else how,
            gpu,
        )
        for size, again in product((1 << power for power in range(10)), (False, True))
        if size * ranks <= SEQUENCES
    ]
    return min(
        (plan for plan in plans if plan.fits),
        key=lambda plan: (plan.seconds()[1], -plan.config.train.batch_size),
        default=None,
    )


def muon_operations(config: Config, ranks: int) -> tuple[float, float]:
    """Floating-point operations of a step's Newton-Schulz iterations: of all ranks, and of the one with the most."""
    from engine.training.optim import NEWTON_SCHULZ_STEPS
    from engine.training.shares import deal

    model = config.model
    C, H = model.n_embd, model.mlp_hidden
    block = [[(rows, C) for rows in model.qkv_rows], [(C, C)], [(rows, C) for rows in model.fc_rows], [(C, H)]]
    parameters = block * model.n_layer
    costs = [float(sum(rows * width * min(rows, width) for rows, width in each)) for each in parameters]
    each = [
        NEWTON_SCHULZ_STEPS * sum(4 * min(shape) ** 2 * max(shape) + 2 * min(shape) ** 3 for shape in shapes)
        for shapes in parameters
    ]
    loads = [0.0] * ranks
    for operations, owner in zip(each, deal(costs, ranks), strict=True):
        loads[owner] += operations
    return sum(each), max(loads)


# -- tables ----------------------------------------------------------------------------------------------------------


def table(heads: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    lines = [heads, ("---",) * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def gb(size: float) -> str:
    return f"{size / 1e9:,.1f}"


def between(low: float, high: float, text: Callable[[float], str]) -> str:
    return text(low) if text(low) == text(high) else f"{text(low)} to {text(high)}"


def figure(number: float) -> str:
    """Two digits: the assumptions bear no more."""
    return f"{float(f'{number:.2g}'):,.10g}"


def per_second(tokens: float) -> str:
    return f"{figure(tokens / 1e6)}M" if tokens >= 1e6 else f"{figure(tokens / 1e3)}k"


def memory_rows() -> Iterator[tuple[str, ...]]:
    for model, ranks in product(MODELS, SIZES):
        plan = choose(model, ranks, GPUS["H100"])
        if plan is None:
            yield model, str(ranks), "no room", *("",) * 5
            continue
        again = ", recompute" if plan.config.train.recompute else ""
        cut = f"{plan.config.train.batch_size} x {plan.micros}{again}"
        parts = (plan.state, plan.gathered, plan.activations, plan.memory)
        yield model, str(ranks), plan.how, cut, *map(gb, parts)


def time_rows() -> Iterator[tuple[str, ...]]:
    for model, ranks in product(MODELS, SIZES):
        plan, other = (choose(model, ranks, GPUS[name]) for name in ("H100", "A100"))
        if plan is None or other is None:
            yield model, str(ranks), *("",) * 5
            continue
        sent = between(plan.exchanging(BOX), plan.exchanging(1), figure)
        (quick, slow), (early, late) = plan.seconds(), other.seconds()
        hours = 20 * Parts.of(plan.config).all / plan.tokens / 3600
        yield (
            *(model, str(ranks), figure(plan.computing), sent),
            between(plan.tokens / slow, plan.tokens / quick, per_second),
            between(hours * quick, hours * slow, figure),
            between(other.tokens / late, other.tokens / early, per_second),
        )


def muon_rows() -> Iterator[tuple[str, ...]]:
    for model, ranks in product(MODELS, (1, 8, 64)):
        plan = choose(model, ranks, GPUS["H100"], optimizer="muon")
        if plan is None:
            yield model, str(ranks), *("",) * 5
            continue
        every, most = muon_operations(plan.config, ranks)
        sent = 4 * Parts.of(plan.config).matrices * (ranks - 1) / ranks / (LINK * plan.link(BOX))
        if plan.how == "fsdp":  # a part of it to the owners and back, each rank over an adapter of its own
            sent *= 2 / ranks * (1 if ranks <= BOX else plan.link(BOX) / ADAPTER)
        per = RATE * plan.gpu.rate
        each = map(figure, (1e3 * every / per, 1e3 * most / per, 1e3 * sent))
        yield model, str(ranks), plan.how, *each, gb(plan.update)


def tables() -> list[str]:
    """All of them, in the order of the page."""
    memory = ("model", "GPUs", "how", "micro-batch", "state", "put together", "activations", "a rank, GB")
    time = (
        "model",
        "GPUs",
        "computing, s",
        "sending, s",
        "tokens/s",
        "hours for 20 tokens a parameter",
        "A100 tokens/s",
    )
    muon = (
        "model",
        "GPUs",
        "how",
        "all of it on one, ms",
        "the largest share, ms",
        "sending, ms",
        "for the update, GB",
    )
    return [table(memory, memory_rows()), table(time, time_rows()), table(muon, muon_rows())]


if __name__ == "__main__":
    print("\n\n".join(tables()))
