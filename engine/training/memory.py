"""The memory of training: estimated from the settings before a run, without torch, and measured on its model."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from engine.config import Config
from engine.errors import ConfigError
from engine.model.sizes import count_parameters, logits_at_once, multiplied_weights, padded_vocab, parameter_table
from engine.telemetry import whole_memory

if TYPE_CHECKING:
    from torch import Tensor

    from engine.model.gpt import GPT
    from engine.training.optim import Optimizer

ROOM = 0.7
"""Of a device's memory that weights, gradients and optimizer's state may take whole on each of several."""
BEYOND = 2.0
"""Times the whole memory of a machine that no run can be squeezed into, however rough the estimate."""


def memory_estimate(config: Config, vocab_size: int, gpu: bool = False, parted: int = 1) -> dict[str, int]:
    """Bytes by what they are for; together what training holds at the end of the forward pass.

    Where the model is parted over so many ranks (`fsdp`), those of each.
    """
    params, train = count_parameters(config.model, vocab_size), config.train
    parts = dict(parameter_table(config.model, vocab_size))
    matrices = parts.get("attention", 0) + parts.get("mlp", 0) if train.optimizer == "muon" else 0
    lasting = {
        "weights": 4 * params * (2 if train.ema else 1),
        "gradients": 4 * params,
        "optimizer": 4 * matrices + 8 * (params - matrices),
    }
    activations = activation_estimate(config, vocab_size, gpu, parted > 1)
    return {part: -(-held // parted) for part, held in lasting.items()} | {"activations": activations}


def activation_estimate(config: Config, vocab_size: int, gpu: bool = False, parted: bool = False) -> int:
    """Bytes kept for the backward pass of one micro-batch: what each operation of a block saves, added up.

    The residual stream and the rotary parts are fp32; what feeds a matrix product has the precision of the forward
    pass, weights in a copy that is kept, but for those of the blocks of a model that is `parted`: they are sent again.
    """
    model, train = config.model, config.train
    half = 2 if train.precision in ("bf16", "fp16") else 4
    tokens = train.batch_size * model.block_size
    if model.kind == "bigram":
        return tokens * vocab_size * 8
    C, T = model.n_embd, model.block_size
    rotated = (model.n_head + model.kv_heads) * model.head_dim
    norm = 4 * C * (2 if model.norm == "rmsnorm" and model.norm_weight else 1)  # what it reads, and what a gain does
    norms = 2 * norm
    products = half * 3 * C  # what qkv, proj and fc read
    if model.dropout and not gpu:  # PyTorch's CPU attention has no dropout: it builds the matrix, three times
        attention = 4 * (rotated + model.kv_heads * model.head_dim) + 3 * 4 * model.n_head * T
    else:
        keys = half * rotated if model.position == "rope" or model.qk_norm else 0
        turned = 4 * (rotated + model.n_head + model.kv_heads) if model.qk_norm else 0
        attention = half * (rotated + model.kv_heads * model.head_dim) + keys + turned
    widths = {"gelu": 2, "gelu_tanh": 2, "relu": 1, "relu2": 2, "swiglu": 4}[model.mlp]
    masks = 2 * C * (1 if gpu else 4) if model.dropout else 0
    block = norms + products + attention + half * widths * model.mlp_hidden + masks
    blocks = 4 * C * model.n_layer + block if train.recompute else model.n_layer * block
    logits = (2 if model.softcap else 1) * 4 * vocab_size
    at_once = min(tokens, logits_at_once(vocab_size))  # more are made piece by piece
    copied = multiplied_weights(model, vocab_size)
    if parted:
        copied = padded_vocab(model, vocab_size) * C
    casts = half * copied if half == 2 else 0
    return tokens * (blocks + 4 * C + 2 * norm) + at_once * logits + casts


def check_shares(config: Config, ranks: int) -> None:
    """Raises ConfigError where a step's sequences cannot be parted evenly among so many ranks."""
    size, micros = config.train.batch_size, config.train.grad_accum
    if (size * micros) % ranks:
        near = max(1, round(size * micros / ranks)) * ranks
        raise ConfigError(
            f"{size * micros} sequences a step (train.batch_size {size} x train.grad_accum {micros}) cannot be parted "
            f"evenly among {ranks} processes; try --set train.batch_size={near // ranks} --set train.grad_accum={ranks}"
        )


def micro_batch(size: int, share: int) -> int:
    """Sequences at once of the `share` of a step's that a process has: at most `size`, and the share parts evenly."""
    return next(n for n in range(min(size, share), 0, -1) if share % n == 0)


def choose_parallel(
    config: Config, vocab_size: int, device: str, ranks: int, whole: tuple[int | None, bool] | None = None
) -> str:
    """How so many ranks train: `ddp` where each device has room for the whole model, `fsdp` where not; "" for one.

    As `train.parallel` says, where it says one of the two. `whole` is what `whole_memory` says of the device, where
    that is known already.
    """
    if ranks == 1:
        return ""
    if config.train.parallel != "auto":
        return str(config.train.parallel)
    total, gpu = whole or whole_memory(device)
    if total is None:
        return "ddp"
    need = memory_estimate(config, vocab_size, gpu)
    return "fsdp" if sum(need.values()) - need["activations"] > ROOM * (total if gpu else total / ranks) else "ddp"


def check_memory(config: Config, vocab_size: int, device: str = "auto", ranks: int = 1) -> None:
    """Raises ConfigError, before anything is allocated, for a run far larger than the whole memory of `device`.

    On a GPU a micro-batch that does not fit is parted down to single sequences, so there one of them counts. Over
    several ranks a model that one device does not hold is parted.
    """
    total, gpu = whole_memory(device)
    parted = ranks if gpu and choose_parallel(config, vocab_size, device, ranks) == "fsdp" else 1
    need = memory_estimate(config.replace({"train.batch_size": 1}) if gpu else config, vocab_size, gpu, parted)
    activations = need["activations"]
    model = sum(need.values()) - activations
    if total is None or model + activations <= BEYOND * total:
        return
    advice = "train.batch_size (and raise train.grad_accum) or model.block_size"
    if model > BEYOND * total:
        advice = "model.n_embd, model.n_layer or the vocabulary"
    raise ConfigError(
        f"this does not fit: a step needs about {_gib(model + activations)} of memory ({_gib(model)} for the model, "
        f"{_gib(activations)} for a micro-batch), {'the GPU' if gpu else 'this machine'} has {_gib(total)}; "
        f"lower {advice}"
    )


def _gib(size: int) -> str:
    return f"{size / 2**30:,.1f} GiB"


def part_of(name: str) -> str:
    """The part a parameter or module belongs to, whatever its block: attention, mlp, norms, embedding or head."""
    words = name.split(".")
    if "attn" in words:
        return "attention"
    if "mlp" in words:
        return "mlp"
    if any(word.startswith("norm") for word in words):
        return "norms"
    if words[0] in ("wte", "wpe", "before"):
        return "embedding"
    return "head" if words[0] == "head" else "other"


def activations_by_part(model: GPT, x: Tensor, y: Tensor, precision: str) -> dict[str, int]:
    """Bytes kept for the backward pass by a forward pass over the batch x, y, by the part that kept them first.

    Parameters are not counted. Measured by PyTorch's saved-tensor hooks, so it is the same on every device.
    """
    import torch

    from engine.training.device import autocast

    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    seen: dict[int, int] = {}
    by_part: dict[str, int] = defaultdict(int)
    inside: list[str] = []

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own and storage.data_ptr() not in seen:
            seen[storage.data_ptr()] = storage.nbytes()
            by_part[inside[-1] if inside else "head"] += storage.nbytes()
        return tensor

    hooks = []  # the graph keeps what is noted alive until its end: no address is counted twice
    for name, module in model.named_modules():
        part = part_of(name)
        if name and part != "other" and not isinstance(module, torch.nn.ModuleList):
            hooks.append(module.register_forward_pre_hook(lambda *_, part=part: inside.append(part)))
            hooks.append(module.register_forward_hook(lambda *_: inside.pop() and None))
    try:
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor), autocast(precision, x.device):
            loss = model.loss(x, y)
        del loss
    finally:
        for hook in hooks:
            hook.remove()
    return dict(by_part)


def memory_split(optimizer: Optimizer, activations: int) -> dict[str, int]:
    """Bytes by what they are for, of those that lie here."""
    from engine.training.sharded import local

    return {
        "weights": sum(local(parameter).nbytes for parameter in optimizer.model.parameters()),
        "gradients": sum(local(parameter).nbytes for parameter in optimizer.named.values()),
        "optimizer": sum(local(tensor).nbytes for tensor in optimizer.tensors().values()),
        "activations": activations,
    }
