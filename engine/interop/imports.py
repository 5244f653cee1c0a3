"""Models that transformers saved as ours: the classes of `architectures.py` read back. transformers is not needed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from engine.config import ModelConfig, make_config
from engine.errors import ConfigError, UserError
from engine.files import cannot, open_regular
from engine.interop.architectures import ACTIVATIONS, GPT2, LLAMA, NANOCHAT, WINDOWED_NANOCHAT, Architecture, Part
from engine.interop.files import Told, plain, read_json, said
from engine.model import build_model
from engine.model.gpt import LAYER_EPS, RMS_EPS, roles

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
FLOATS = ("F64", "F32", "F16", "BF16")
TABLES = (".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq")
"""Ends of the names of what older versions of transformers saved though it is no weight."""


class _Gpt2(Told):
    n_layer: int
    n_head: int
    n_embd: int
    n_positions: int | None = None
    n_ctx: int | None = None
    n_inner: int | None = None
    activation_function: str = "gelu_new"
    layer_norm_epsilon: float = LAYER_EPS
    scale_attn_weights: bool = True
    scale_attn_by_inverse_layer_idx: bool = False
    tie_word_embeddings: bool = True


class _Rotary(Told):
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int | None = None
    head_dim: int | None = None
    hidden_act: str
    max_position_embeddings: int
    rms_norm_eps: float = RMS_EPS
    rope_theta: float | None = None
    rope_parameters: dict[str, Any] | None = None
    rope_scaling: dict[str, Any] | None = None
    attention_bias: bool = False
    mlp_bias: bool = False
    tie_word_embeddings: bool = False


class _NanoChat(_Rotary):
    final_logit_softcapping: float | None = 15.0
    embd_window: int = 1


Changes = dict[str, Any]
Problem = tuple[bool, str]


def _gpt2(s: _Gpt2) -> tuple[Changes, list[Problem]]:
    mlp = "gelu_tanh" if s.activation_function == "gelu_new" else _activation(s.activation_function)
    settings = {
        "n_layer": s.n_layer,
        "n_head": s.n_head,
        "n_embd": s.n_embd,
        "block_size": s.n_ctx if s.n_positions is None else s.n_positions,
        "mlp_width": s.n_inner,
        "mlp": mlp,
        "bias": True,
        "position": "learned",
        "norm": "layernorm",
    }
    return settings, [
        (mlp in (None, "swiglu"), f"activation_function {plain(s.activation_function, 40)} is not one of ours"),
        (
            s.scale_attn_by_inverse_layer_idx or not s.scale_attn_weights,
            "it scales its attention in a way that is not ours",
        ),
        (s.layer_norm_epsilon != LAYER_EPS, f"layer_norm_epsilon must be {LAYER_EPS:g}, not {s.layer_norm_epsilon:g}"),
    ]


def _rotary(s: _Rotary) -> tuple[Changes, list[Problem]]:
    rope = s.rope_parameters or s.rope_scaling or {}
    turns = rope.get("rope_type", rope.get("type", "default"))
    whole = rope.get("partial_rotary_factor", 1.0)
    mlp = _activation(s.hidden_act)
    settings = {
        "n_layer": s.num_hidden_layers,
        "n_head": s.num_attention_heads,
        "n_kv_head": None if s.num_key_value_heads == s.num_attention_heads else s.num_key_value_heads,
        "n_embd": s.hidden_size,
        "block_size": s.max_position_embeddings,
        "mlp_width": s.intermediate_size,
        "mlp": mlp,
        "bias": s.attention_bias,
        "position": "rope",
        "rope_base": rope.get("rope_theta", 10_000.0 if s.rope_theta is None else s.rope_theta),
        "norm": "rmsnorm",
    }
    heads = s.num_attention_heads
    return settings, [
        (mlp is None, f"hidden_act {plain(s.hidden_act, 40)} is not one of ours"),
        (turns != "default" or whole != 1.0, f"its rotary positions ({plain(turns, 40)}) are not ours"),
        (s.rms_norm_eps != RMS_EPS, f"rms_norm_eps must be {RMS_EPS:g}, not {s.rms_norm_eps:g}"),
        (s.head_dim not in (None, s.hidden_size // max(1, heads)), "its heads are not as wide as n_embd / n_head"),
    ]


def _llama(s: _Rotary) -> tuple[Changes, list[Problem]]:
    settings, problems = _rotary(s)
    return settings, [
        *problems,
        (settings["mlp"] not in (None, "swiglu"), f"hidden_act must be silu, not {plain(s.hidden_act, 40)}"),
        (s.attention_bias != s.mlp_bias, "attention and MLP must both have biases, or neither"),
    ]


def _nanochat(s: _NanoChat) -> tuple[Changes, list[Problem]]:
    settings, problems = _rotary(s)
    own = {
        "norm_weight": False,
        "qk_norm": True,
        "embd_norm": True,
        "softcap": s.final_logit_softcapping or 0.0,
        "embd_window": s.embd_window,
    }
    return settings | own, [
        *problems,
        (settings["mlp"] == "swiglu", f"hidden_act {plain(s.hidden_act, 40)} is not one of ours"),
        (s.attention_bias, "attention_bias must be false"),
    ]


def _activation(theirs: str) -> str | None:
    return {there: ours for ours, there in ACTIVATIONS.items()}.get(theirs)


@dataclass(frozen=True)
class _Family:
    architecture: Architecture
    settings: type[Told]
    read: Callable[[Any], tuple[Changes, list[Problem]]]


FAMILIES = {
    "gpt2": _Family(GPT2, _Gpt2, _gpt2),
    "llama": _Family(LLAMA, _Rotary, _llama),
    "nanochat": _Family(NANOCHAT, _NanoChat, _nanochat),
    "windowed_nanochat": _Family(WINDOWED_NANOCHAT, _NanoChat, _nanochat),
}


def import_model(folder: Path) -> tuple[ModelConfig, dict[str, Tensor]]:
    """A model saved by transformers, as our settings and weights: load them into `build_model(config, rows of wte)`.

    Tensors are float32. Raises UserError when a file is missing or damaged, the model is of none of the `FAMILIES`, or
    it uses an option that is not ours; then nothing large was read.
    """
    config, to = _config(read_json(folder / "config.json"), folder)
    with ExitStack() as opened:
        stored = _stored(folder, to, opened)
        if not config.tie_embeddings and "lm_head.weight" not in stored:
            config = config.model_copy(update={"tie_embeddings": True})
        places = _places(config, to)
        wanted = [name for parts in places.values() for name, _ in parts]
        if missing := [name for name in wanted if name not in stored]:
            raise UserError(
                f"{folder} is not a whole {to.name}: it lacks {missing[0]} and {len(missing) - 1} more weights"
            )
        unknown = stored.keys() - {*wanted} - ({"lm_head.weight"} if config.tie_embeddings else set())
        if unknown := {name for name in unknown if not name.endswith(TABLES)}:
            raise UserError(f"{folder} has weights that no model of ours has, {min(unknown)[:80]!r} and others")
        vocab = stored[places["wte.weight"][0][0]].shape[:1]
        shapes, turned = _shapes(config, vocab[0] if vocab else 0, to, folder)
        found = {ours: [(stored[name], part) for name, part in parts] for ours, parts in places.items()}
        for ours, parts in found.items():
            for theirs, part in parts:
                _check_shape(theirs, part, shapes[ours], turned[ours])
        _check_memory(4 * sum(shape.numel() for shape in shapes.values()), folder)
        return config, {ours: _joined(shapes[ours], parts, turned[ours]) for ours, parts in found.items()}


def _config(tree: dict[str, Any], folder: Path) -> tuple[ModelConfig, Architecture]:
    kind = tree.get("model_type")
    family = FAMILIES.get(kind) if isinstance(kind, str) else None
    if family is None:
        known = plain(kind, 40) if kind else "model of no known type"
        raise UserError(f"{folder} holds a {known}; only {', '.join(FAMILIES)} can be imported")
    path = folder / "config.json"
    try:
        settings = family.settings.model_validate(tree)
    except ValidationError as error:
        raise UserError(f"{path} does not describe a {kind}: {said(error)}") from None
    changes, problems = family.read(settings)
    if problem := next((words for wrong, words in problems if wrong), None):
        raise UserError(f"{path} cannot be imported: {problem}")
    tied = {"tie_embeddings": getattr(settings, "tie_word_embeddings", True)}
    try:
        return make_config({"model": {**changes, **tied, "init": "gpt2"}}).model, family.architecture
    except ConfigError as error:
        raise UserError(f"{path} cannot be imported: {error}") from None


@dataclass(frozen=True)
class _Stored:
    """A tensor in a file, not read yet."""

    file: Any
    path: Path
    name: str
    shape: tuple[int, ...]

    def read(self) -> Tensor:
        """Float32. Raises UserError when it holds what is no number."""
        try:
            tensor: Tensor = self.file.get_tensor(self.name).float()
        except (OSError, SafetensorError, ValueError, RuntimeError) as error:
            raise UserError(f"{self.path} is damaged: {plain(error)}") from None
        if not bool(tensor.isfinite().all()):
            raise UserError(f"{self.path} is damaged: {self.name} holds numbers that are not finite")
        return tensor


def _stored(folder: Path, to: Architecture, opened: ExitStack) -> dict[str, _Stored]:
    """The tensors of the folder's safetensors, in one file or several, by name without the class' own prefix."""
    files = [WEIGHTS]
    if not (folder / WEIGHTS).exists() and (folder / INDEX).exists():
        shards = read_json(folder / INDEX).get("weight_map")
        if not isinstance(shards, dict):
            raise UserError(f"{folder / INDEX} has no weight_map; copy the folder again")
        files = sorted({Path(str(name)).name for name in shards.values()})
    stored: dict[str, _Stored] = {}
    for name in files:
        path = folder / name
        try:
            open_regular(path).close()
            _check_memory(path.stat().st_size, folder)
            file = opened.enter_context(safe_open(path, framework="pt"))
            for key in file.keys():  # noqa: SIM118 - no mapping
                there = file.get_slice(key)
                if there.get_dtype() not in FLOATS:
                    raise UserError(
                        f"{path} has {key[:80]!r} as {plain(there.get_dtype(), 20)}; only numbers with a point can be"
                    )
                short = _short(key, to)
                if short in stored:
                    raise UserError(f"{folder} has {key[:80]!r} twice; copy the folder again")
                stored[short] = _Stored(file, path, key, tuple(there.get_shape()))
        except FileNotFoundError:
            raise UserError(f"{folder} has no {name}; save the model with safe_serialization, the default") from None
        except OSError as error:
            raise cannot("read", path, error) from None
        except (SafetensorError, ValueError, RuntimeError) as error:
            raise UserError(f"{path} is damaged: {plain(error)}") from None
    return stored


Places = dict[str, list[tuple[str, Part]]]


def _places(config: ModelConfig, to: Architecture) -> Places:
    """Of each of our parameters, the tensors that make it, without the class' own prefix."""
    whole = Part("")
    layer, end = _short(to.layer, to), None if to.norms is None else _short(to.norms[2], to)
    places: Places = {"wte.weight": [(_short(to.embedding, to), whole)]}
    if not config.tie_embeddings:
        places["head.weight"] = [("lm_head.weight", whole)]
    if config.embd_window > 1:
        places["before.weight"] = [("before.weight", whole)]
    if to.positions is not None:
        places["wpe.weight"] = [(_short(to.positions, to), whole)]
    norms = {} if end is None else {"norm_f": end}
    for i in range(config.n_layer):
        for source, parts in to.linears(config).items():
            for leaf in ("weight", "bias") if config.bias else ("weight",):
                places[f"blocks.{i}.{source}.{leaf}"] = [(f"{layer}{i}.{part.name}.{leaf}", part) for part in parts]
        if to.norms is not None:
            norms |= {f"blocks.{i}.norm{n + 1}": f"{layer}{i}.{to.norms[n]}" for n in (0, 1)}
    for ours, theirs in norms.items():
        for leaf in ("weight", "bias") if config.norm == "layernorm" else ("weight",):
            places[f"{ours}.{leaf}"] = [(f"{theirs}.{leaf}", whole)]
    return places


def _short(name: str, to: Architecture) -> str:
    """The name without the class' own prefix, which a model saved without its head does not have."""
    return name.removeprefix(to.embedding.partition(".")[0] + ".")


def _shapes(
    config: ModelConfig, vocab_size: int, to: Architecture, folder: Path
) -> tuple[dict[str, torch.Size], dict[str, bool]]:
    """The shapes of our parameters, and whether each is stored (n_in, n_out), as GPT-2 stores its matrices.

    Nothing is allocated.
    """
    if not vocab_size:
        raise UserError(f"{folder} has no token in its vocabulary; copy the folder again")
    with torch.device("meta"):
        model = build_model(config, vocab_size, drawn=False)
    turned = {name: to.transposed and each.role == "matrix" for name, each in roles(model).items()}
    return {name: weight.shape for name, weight in model.named_parameters()}, turned


def _check_memory(size: int, folder: Path) -> None:
    """Raises UserError when the machine has less memory than `size` bytes of weights take."""
    there = psutil.virtual_memory().total
    if size > there:
        raise UserError(
            f"{folder} does not fit: its weights take {size / 2**30:,.1f} GiB, "
            f"this machine has {there / 2**30:,.1f} GiB; import it on a larger one"
        )


def _check_shape(theirs: _Stored, part: Part, shape: torch.Size, turned: bool) -> None:
    wanted = (shape[0] if part.rows is None else len(part.rows), *shape[1:])
    wanted = wanted[::-1] if turned else wanted
    if theirs.shape != wanted:
        there = "x".join(map(str, theirs.shape)) or "one number"
        raise UserError(
            f"{theirs.path} does not fit config.json: {theirs.name} is {there}, not {'x'.join(map(str, wanted))}"
        )


def _joined(shape: torch.Size, parts: list[tuple[_Stored, Part]], turned: bool) -> Tensor:
    """One of our parameters, of that shape, from the tensors that make it."""
    out = torch.empty(shape)
    for theirs, part in parts:
        tensor = theirs.read()
        out[slice(None) if part.rows is None else part.rows] = tensor.t() if turned else tensor
    return out
