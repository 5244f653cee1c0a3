"""Models that transformers saved as ours: the classes of `architectures.py` read back. transformers is not needed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from engine.config import ModelConfig, as_typed, make_config
from engine.errors import ConfigError, UserError, plain
from engine.files import cannot, open_regular, read_json
from engine.interop.architectures import ARCHITECTURES, Architecture, Place, Settings, in_ours, in_theirs
from engine.model import build_model

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
FLOATS = ("F64", "F32", "F16", "BF16")
TABLES = (".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq")
"""Ends of the names of what older versions of transformers saved though it is no weight."""


def import_model(folder: Path) -> tuple[ModelConfig, dict[str, Tensor]]:
    """A model saved by transformers, as our settings and weights: load them into `build_model(config, rows of wte)`.

    Tensors are float32. Raises UserError when a file is missing or damaged, the model is of no class that is ours, or
    it uses an option that is not; then nothing large was read.
    """
    config, to = _config(read_json(folder / "config.json"), folder / "config.json")
    with ExitStack() as opened:
        stored = _stored(folder, to, opened)
        if not config.tie_embeddings and "lm_head.weight" not in stored:
            config = config.model_copy(update={"tie_embeddings": True})
        places = to.places(config)
        wanted = [_short(place.name, to) for each in places.values() for place in each]
        if missing := [name for name in wanted if name not in stored]:
            raise UserError(
                f"{folder} is not a whole {to.name}: it lacks {missing[0]} and {len(missing) - 1} more weights"
            )
        unknown = stored.keys() - {*wanted} - ({"lm_head.weight"} if config.tie_embeddings else set())
        if unknown := {name for name in unknown if not name.endswith(TABLES)}:
            raise UserError(f"{folder} has weights that no model of ours has, {min(unknown)[:80]!r} and others")
        shapes = _shapes(config, stored[_short(to.embedding, to)].shape[:1], folder)
        found = {ours: [(stored[_short(place.name, to)], place) for place in each] for ours, each in places.items()}
        for ours, parts in found.items():
            for theirs, place in parts:
                _check_shape(theirs, place, shapes[ours])
        _check_memory(4 * sum(shape.numel() for shape in shapes.values()), folder)
        return config, {ours: _joined(shapes[ours], parts) for ours, parts in found.items()}


def _config(tree: Settings, path: Path) -> tuple[ModelConfig, Architecture]:
    """The settings of the model that a config.json describes. Raises UserError naming the first that cannot be ours."""
    kind = tree.get("model_type")
    to = next((each for each in ARCHITECTURES if each.model_type == kind), None)
    if to is None:
        known = plain(kind, 40) if kind else "model of no known type"
        families = ", ".join(each.model_type for each in ARCHITECTURES)
        raise UserError(f"{path.parent} holds a {known}; only {families} can be imported")
    said = to.otherwise | tree
    if lacking := [name for name in to.says if said.get(name) is None and name not in to.otherwise]:
        raise UserError(f"{path} does not describe a {kind}: it lacks {lacking[0]}")
    changes: Settings = {ours: values[0] for ours, values in to.wants.items()} | {"init": "gpt2"}
    for theirs, ours in to.says.items():
        value = in_ours(ours, said[theirs])
        if value not in (allowed := to.wants.get(ours, (value,))):
            raise _other(path, theirs, [in_theirs(ours, each) for each in allowed], said[theirs])
        if ours != "head_dim":
            changes[{"mlp_hidden": "mlp_width", "kv_heads": "n_kv_head"}.get(ours, ours)] = value
    if changes.get("n_kv_head") == changes["n_head"]:
        changes["n_kv_head"] = None
    if "rope" in to.wants["position"]:
        changes["rope_base"] = _rope_base(tree, path)
    try:
        config = make_config({"model": changes}).model
    except ConfigError as error:
        raise UserError(f"{path} cannot be imported: {error}") from None
    must = to.otherwise | to.fixed | {theirs: getattr(config, ours) for theirs, ours in to.says.items()}
    for theirs, found in said.items():
        ours = to.says.get(theirs, "")
        if theirs in must and found is not None and in_ours(ours, found) != must[theirs]:
            raise _other(path, theirs, [in_theirs(ours, must[theirs])], found)
    return config, to


def _other(path: Path, theirs: str, allowed: Sequence[Any], found: Any) -> UserError:
    words = [plain(each if isinstance(each, str) else as_typed(each), 40) for each in (*allowed, found)]
    return UserError(f"{path} cannot be imported: {theirs} must be {' or '.join(words[:-1])}, not {words[-1]}")


def _rope_base(tree: Settings, path: Path) -> Any:
    """The base of the rotary frequencies, under its name of today or before. Raises UserError for other turns."""
    rope = tree.get("rope_parameters") or tree.get("rope_scaling") or {}
    if not isinstance(rope, dict):
        raise UserError(f"{path} does not describe a {tree['model_type']}: rope_parameters holds no settings by name")
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind != "default" or rope.get("partial_rotary_factor", 1.0) != 1.0:
        raise UserError(f"{path} cannot be imported: its rotary positions ({plain(kind, 40)}) are not ours")
    base = tree.get("rope_theta")
    return rope.get("rope_theta", 10_000.0 if base is None else base)


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


def _short(name: str, to: Architecture) -> str:
    """The name without the class' own prefix, which a model saved without its head does not have."""
    return name.removeprefix(to.embedding.partition(".")[0] + ".")


def _shapes(config: ModelConfig, vocab: tuple[int, ...], folder: Path) -> dict[str, torch.Size]:
    """The shapes of our parameters, with nothing allocated; `vocab` is the number of tokens, if it has one."""
    if not vocab or not vocab[0]:
        raise UserError(f"{folder} has no token in its vocabulary; copy the folder again")
    with torch.device("meta"):
        model = build_model(config, vocab[0], drawn=False)
    return {name: weight.shape for name, weight in model.named_parameters()}


def _check_memory(size: int, folder: Path) -> None:
    """Raises UserError when the machine has less memory than `size` bytes of weights take."""
    there = psutil.virtual_memory().total
    if size > there:
        raise UserError(
            f"{folder} does not fit: its weights take {size / 2**30:,.1f} GiB, "
            f"this machine has {there / 2**30:,.1f} GiB; import it on a larger one"
        )


def _check_shape(theirs: _Stored, place: Place, shape: torch.Size) -> None:
    wanted = tuple(place.cut(torch.empty(shape, device="meta")).shape)
    if theirs.shape != wanted:
        there = "x".join(map(str, theirs.shape)) or "one number"
        raise UserError(
            f"{theirs.path} does not fit config.json: {theirs.name} is {there}, not {'x'.join(map(str, wanted))}"
        )


def _joined(shape: torch.Size, parts: list[tuple[_Stored, Place]]) -> Tensor:
    """One of our parameters, of that shape, from the tensors that make it."""
    out = torch.empty(shape)
    for theirs, place in parts:
        tensor = theirs.read()
        out[place.rows] = tensor.t() if place.turned else tensor
    return out
