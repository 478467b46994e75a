"""Convolutions with many channels on few pixels, as one matrix product for each tap of the kernel.

    convolution (stride s, padding p)     y[o] = Σₜ x[s o − p + t] wₜ
    transposed convolution                y[s i − p + t] = Σₜ x[i] wₜ

Either is a sum over taps t of the products of a window of x with wₜ, a matrix (C_in, C_out), added to a window of y; the two differ only
in which of the windows is strided (Dumoulin & Visin, *A guide to convolution arithmetic for deep learning*, 2016, chapter 4). The windows
are cropped to the picture, so that no product is spent on padding: from 3×3 pixels to one, 9 of 16 taps are left, and from 4×4 to 7×7
pixels, 100 of 144. On a processor the products run at full speed in bfloat16, where the strided and transposed kernels of the
libraries reach a third of it or less on such pictures: :func:`pays` says where, by a measurement that ``bench/pythae_speed.py`` repeats.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

Window = tuple[slice, slice, slice]
Pair = tuple[int, Window, Window]          # a tap, and the windows of the smaller and of the larger picture that it connects


MANY, FEW = 256 * 512, 49       # channels in times channels out, and pixels of the smaller picture


def pays(x: Tensor, layer: nn.Conv2d | nn.ConvTranspose2d, small: tuple[int, int]) -> bool:
    """Whether products tap by tap are faster: in bfloat16 on a CPU, with many channels on few pixels."""
    return (x.device.type == "cpu" and torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
            and layer.in_channels * layer.out_channels >= MANY and small[0] * small[1] <= FEW)


class TapProducts(torch.autograd.Function):
    """y[o] += x[i] wₜ for each (t, i, o) of ``pairs``: ``(B, H, W, C_in)``, a layer's weight → ``(B, *size, C_out)``.

    The weight is ``(C_out, C_in, *kernel)``, or ``(C_in, C_out, *kernel)`` of a ``transposed`` convolution. In channels-last order its taps
    are matrices already, so that it is read once and its gradient written once. Sums over taps are kept in float32, as within a product.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, size: tuple[int, int], pairs: tuple[Pair, ...], transposed: bool) -> Tensor:
        ctx.pairs, ctx.transposed = pairs, transposed
        w = _taps(weight.to(x.dtype))
        ctx.save_for_backward(x, weight)
        ctx.w = w
        y = _sum_like(x, (len(x), *size, w.shape[2 if transposed else 1]))
        for t, i, o in pairs:
            seen = x[i]
            y[o] += (seen.flatten(0, 2) @ (w[t] if transposed else w[t].T)).view(*seen.shape[:3], -1)
        return y.to(x.dtype)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, Tensor, None, None, None]:
        (x, weight), dy = ctx.saved_tensors, dy.contiguous()
        w = _taps(weight.to(x.dtype)) if torch.is_grad_enabled() else ctx.w         # a gradient of this gradient needs the weight itself
        dx = _sum_like(x, x.shape) if ctx.needs_input_grad[0] else None
        d_weight = torch.empty_like(weight)
        dw, met = _taps(d_weight), {t for t, _, _ in ctx.pairs}
        for t in range(len(dw)):
            if t not in met:
                dw[t].zero_()
        for t, i, o in ctx.pairs:
            seen, g = x[i].flatten(0, 2), dy[o].flatten(0, 2)
            dw[t] = seen.T @ g if ctx.transposed else g.T @ seen
            if dx is not None:
                dx[i] += (g @ (w[t].T if ctx.transposed else w[t])).view(x[i].shape)
        return None if dx is None else dx.to(x.dtype), d_weight, None, None, None


def _taps(weight: Tensor) -> Tensor:
    """A weight ``(A, B, *kernel)`` as one matrix for each tap, ``(taps, A, B)``."""
    return weight.permute(2, 3, 0, 1).flatten(0, 1)


def _sum_like(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Zeros to sum in: float32 where the products are shorter."""
    return torch.zeros(shape, dtype=torch.promote_types(x.dtype, torch.float32), device=x.device)


def windows(small: int, large: int, kernel: int, stride: int, padding: int) -> list[tuple[slice, slice]]:
    """For each tap t along one axis: pixels i of the smaller picture with ``stride`` i − ``padding`` + t in the larger, and those."""
    found = []
    for t in range(kernel):
        first = max(0, -((t - padding) // stride))
        end = max(first, min(small, (large - 1 + padding - t) // stride + 1))
        start = stride * first - padding + t
        found.append((slice(first, end), slice(start, start + stride * max(0, end - first - 1) + (end > first), stride)))
    return found


def connections(small: tuple[int, int], large: tuple[int, int], layer: nn.Conv2d | nn.ConvTranspose2d) -> tuple[Pair, ...]:
    """The taps of a kernel that meet the picture, with their windows."""
    axes = [windows(*sizes) for sizes in zip(small, large, layer.kernel_size, layer.stride, layer.padding, strict=True)]
    every = slice(None)
    return tuple((t, (every, i, j), (every, u, v)) for t, ((i, u), (j, v)) in enumerate(product(*axes))
                 if i.stop > i.start and j.stop > j.start)


class Conv2d(nn.Conv2d):
    """``nn.Conv2d`` (no groups, no dilation, zeros outside), computed tap by tap where it pays; the same parameters and values."""

    def forward(self, x: Tensor) -> Tensor:
        large = tuple(x.shape[2:])
        small = tuple((n + 2 * p - k) // s + 1 for n, k, s, p in zip(large, self.kernel_size, self.stride, self.padding, strict=True))
        if not pays(x, self, small):
            return super().forward(x)
        return self._by_taps(_short(x), large, small)

    def _by_taps(self, x: Tensor, large: tuple[int, int], small: tuple[int, int]) -> Tensor:
        """The sum over taps, in the arithmetic of ``x``."""
        pairs = tuple((t, of_large, of_small) for t, of_small, of_large in connections(small, large, self))
        return _with_bias(TapProducts.apply(_channels_last(x), self.weight, small, pairs, False), self.bias)


class ConvTranspose2d(nn.ConvTranspose2d):
    """``nn.ConvTranspose2d`` (no groups, no dilation), computed tap by tap where it pays; the same parameters and values."""

    def forward(self, x: Tensor) -> Tensor:
        small = tuple(x.shape[2:])
        large = tuple((n - 1) * s - 2 * p + k + extra for n, k, s, p, extra in
                      zip(small, self.kernel_size, self.stride, self.padding, self.output_padding, strict=True))
        if not pays(x, self, small):
            return super().forward(x)
        return self._by_taps(_short(x), large, small)

    def _by_taps(self, x: Tensor, large: tuple[int, int], small: tuple[int, int]) -> Tensor:
        """The sum over taps, in the arithmetic of ``x``."""
        return _with_bias(TapProducts.apply(_channels_last(x), self.weight, large, connections(small, large, self), True), self.bias)


def _short(x: Tensor) -> Tensor:
    """In the arithmetic of the context, as a library's convolution would take it."""
    return x.to(torch.get_autocast_dtype("cpu")) if torch.is_autocast_enabled("cpu") else x


def _channels_last(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1).contiguous()


def _with_bias(y: Tensor, bias: Tensor | None) -> Tensor:
    """(B, H, W, C) plus a bias, as a picture (B, C, H, W) in channels-last order."""
    return (y if bias is None else y + bias.to(y.dtype)).permute(0, 3, 1, 2)
