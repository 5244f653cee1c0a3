"""The few operations a small model on a CPU spends its time in, with gradients written by hand.

PyTorch multiplies float32 matrices on x86 with MKL, which on AMD processors keeps to AVX2; the oneDNN it also ships
uses AVX-512 where there is any and is about twice as fast there. RMSNorm, RoPE and ReLU squared are chains of small
kernels on a CPU; written out, their gradients need half as many. Everywhere else (GPU, autocast, torch.compile, other
dtypes) each function is PyTorch's own expression of the same thing.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

RMS_EPS = 1e-6  # Llama's and nanochat's

ONEDNN_ROWS = 8  # below that a product only reads the weights, and MKL starts sooner

_HAS_ONEDNN: bool = torch.backends.mkldnn.is_available() and hasattr(  # type: ignore[no-untyped-call]
    torch.ops.mkldnn, "_linear_pointwise"
)


def _by_hand(x: Tensor) -> bool:
    """Whether x is what the functions written by hand are for: float32 on a CPU, run as it stands."""
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (..., n_in) @ weight (n_out, n_in) transposed + bias."""
    if not (_HAS_ONEDNN and _by_hand(x) and x.numel() >= ONEDNN_ROWS * x.size(-1) and weight.dtype == x.dtype):
        return F.linear(x, weight, bias)
    if not torch.is_grad_enabled():
        return _onednn(x, weight, bias)
    out: Tensor = _Linear.apply(x, weight, bias)  # type: ignore[no-untyped-call]
    return out


def _onednn(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return out


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _onednn(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        for_x, for_weight, for_bias = ctx.needs_input_grad
        rows = grad.flatten(0, -2)  # (N, n_out)
        return (
            _onednn(grad, weight.t()) if for_x else None,
            _transposed_product(rows, x.flatten(0, -2)) if for_weight else None,
            rows.sum(0) if for_bias else None,
        )


def _transposed_product(a: Tensor, b: Tensor) -> Tensor:
    """a (N, n) transposed @ b (N, m). oneDNN copies a transposed first factor, so the narrower one is put there."""
    return _onednn(a.t(), b.t()) if a.size(1) <= b.size(1) else _onednn(b.t(), a.t()).t()


def rms_norm(x: Tensor, weight: Tensor | None = None) -> Tensor:
    """x over its root mean square along the last dimension (Zhang & Sennrich 2019), times weight."""
    if not _by_hand(x):
        return F.rms_norm(x, (x.size(-1),), weight, RMS_EPS)
    if torch.is_grad_enabled():
        normed: Tensor = _RMSNorm.apply(x)  # type: ignore[no-untyped-call]
    else:
        normed = torch.mul(x, _inverse_rms(x))
    return normed if weight is None else normed * weight


def _inverse_rms(x: Tensor) -> Tensor:
    """(..., n) -> (..., 1)."""
    size = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    inverse: Tensor = size.square_().div_(x.size(-1)).add_(RMS_EPS).rsqrt_()
    return inverse


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        scale = _inverse_rms(x)
        out = torch.mul(x, scale)
        ctx.save_for_backward(out, scale)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        out, scale = ctx.saved_tensors
        along = (grad * out).mean(-1, keepdim=True)
        rest: Tensor = torch.addcmul(grad, out, along, value=-1)  # what only lengthens x does not change the output
        return rest.mul_(scale)


def rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn every head of x (B, T, heads, head_dim) by its position's angles; tables (T, 1, head_dim), signed sines.

    Rolling by half a head swaps its halves, so with the sign in `sin` a rotation is one multiply and one multiply-add.
    """
    if not _by_hand(x) or not torch.is_grad_enabled():
        return _turn(x, cos, sin)
    out: Tensor = _Rope.apply(x, cos, sin)  # type: ignore[no-untyped-call]
    return out


def _turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    return torch.addcmul(x * cos, x.roll(x.size(-1) // 2, dims=-1), sin)


class _Rope(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _turn(x, cos, sin)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _turn(grad, cos, -sin), None, None  # the gradient turns back


def relu2(x: Tensor) -> Tensor:
    """ReLU squared (So et al. 2021)."""
    if not _by_hand(x) or not torch.is_grad_enabled():
        return F.relu(x).square()
    out: Tensor = _ReLU2.apply(x)  # type: ignore[no-untyped-call]
    return out


class _ReLU2(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        positive = x.clamp_min(0)
        ctx.save_for_backward(positive)
        return torch.mul(positive, positive)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (positive,) = ctx.saved_tensors
        twice: Tensor = (grad * positive).mul_(2)
        return twice
