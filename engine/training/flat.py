"""All parameters of a model in one buffer, all gradients in another.

A small model's step on a CPU is bound by the number of operations, not by their size. With every parameter a view of
one flat buffer, ordered so that what is updated alike lies side by side, the gradient norm, the clipping, the zeroing,
AdamW, EMA and a snapshot for prompting are each one operation, and the matrices of one shape are one stacked tensor
for Muon without a copy.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

from engine.model.gpt import GPT, roles

ROLES = ("matrix", "embedding", "head", "adapter", "vector", "frozen")
"""Order in the buffers; `frozen` ones have no gradient (the base of a LoRA) and come last."""


@dataclass(frozen=True)
class Slot:
    """Where a parameter lies: `flat[start:stop].view(shape)`."""

    name: str
    role: str
    shape: torch.Size
    start: int
    stop: int
    rows: tuple[int, ...]
    """Those of each matrix it holds, as the model declares them; none for what is no matrix."""


class FlatParameters:
    """Owns the storage of `model`'s parameters and, unless `gradients` is False, of their gradients.

    `flat` and `grad` are 1-D; `grad` covers the trainable part, which comes first.
    """

    def __init__(self, model: GPT, *, gradients: bool = True) -> None:
        named = dict(model.named_parameters())  # tied weights appear once
        declared = roles(model)
        role_of = {n: declared[n].role if p.requires_grad else "frozen" for n, p in named.items()}
        # by role, then shape, then name: equal shapes of one role become one stacked tensor
        names = sorted(named, key=lambda name: (ROLES.index(role_of[name]), tuple(named[name].shape), name))
        self.slots: list[Slot] = []
        offset = 0
        for name in names:
            size = named[name].numel()
            shape, role = named[name].shape, role_of[name]
            rows = declared[name].rows if role == "matrix" else ()
            self.slots.append(Slot(name, role, shape, offset, offset + size, rows))
            offset += size
        first = named[names[0]]
        trainable = sum(slot.stop - slot.start for slot in self.slots if slot.role != "frozen")
        self.flat = torch.empty(offset, dtype=first.dtype, device=first.device)
        self.grad = torch.zeros(trainable if gradients else 0, dtype=first.dtype, device=first.device)
        for slot in self.slots:
            parameter, view = named[slot.name], self.view(self.flat, slot)
            view.copy_(parameter.data)
            parameter.data = view
            if gradients and slot.role != "frozen":
                parameter.grad = self.view(self.grad, slot)

    def tensors(self, flat: Tensor | None = None) -> dict[str, Tensor]:
        """Views by parameter name, of this buffer or of one laid out alike (a snapshot, an average)."""
        buffer = self.flat if flat is None else flat
        return {slot.name: self.view(buffer, slot) for slot in self.slots}

    @staticmethod
    def view(flat: Tensor, slot: Slot) -> Tensor:
        return flat[slot.start : slot.stop].view(slot.shape)

    def span(self, role: str) -> slice:
        """The part of the buffers that holds all parameters of a role (they are adjacent)."""
        slots = [slot for slot in self.slots if slot.role == role]
        return slice(slots[0].start, slots[-1].stop) if slots else slice(0, 0)

    def stacks(self) -> Iterator[tuple[tuple[int, int], list[tuple[int, int]]]]:
        """((rows, columns), [(start, count), ...]): matrices of one shape, and where they lie side by side.

        Each matrix is one that the model declares; only those of equal-shaped parameters come together.
        """
        matrices = [slot for slot in self.slots if slot.role == "matrix"]
        for shape, slots in groupby(matrices, key=lambda slot: slot.shape):
            columns = shape[1]
            found: dict[int, list[tuple[int, int]]] = {}
            for slot in slots:
                start = slot.start
                for rows in slot.rows:
                    spans = found.setdefault(rows, [])
                    if spans and spans[-1][0] + spans[-1][1] * rows * columns == start:
                        spans[-1] = (spans[-1][0], spans[-1][1] + 1)
                    else:
                        spans.append((start, 1))
                    start += rows * columns
            for rows, spans in found.items():
                yield (rows, columns), spans
