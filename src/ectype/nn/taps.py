"""Convolutions with many channels on few pixels, as one matrix product for each tap of the kernel.

    convolution (stride s, padding p)     y[o] = Σₜ x[s o − p + t] wₜ
    transposed convolution                y[s i − p + t] = Σₜ x[i] wₜ

Either is a sum over taps t of the products of a window of x with wₜ, a matrix (C_in, C_out), added to a window of y; the two differ only
in which of the windows is strided (Dumoulin & Visin, *A guide to convolution arithmetic for deep learning*, 2016, chapter 4). The windows
are cropped to the picture, so that hardly a product is spent on padding: from 3×3 pixels to one, 9 of 16 taps are left, and from 4×4 to 7×7
pixels, 100 of 144. Taps with the same window of y are one product: what they see lies side by side, and their matrices one below the other
(:func:`groups`). On a processor the products run at full speed in bfloat16, where the strided and transposed kernels of the libraries
reach a third of it or less on such pictures: :func:`pays` says where, by a measurement that ``bench/pythae_speed.py`` repeats.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache
from itertools import product
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

Window = tuple[slice, slice, slice]
Pair = tuple[int, Window, Window]          # a tap (counted among those that meet the picture), the window that it sees, its outputs'
Member = tuple[int, Window, Window]        # a tap, the window that it sees, and where in the group's window its outputs are
Group = tuple[Window, tuple[Member, ...]]  # a window of outputs, and the taps whose sum it is


class Plan(NamedTuple):
    """The taps that meet a picture, and how their products are grouped: for the outputs, and for the gradient in the inputs."""

    taps: tuple[int, ...]
    there: tuple[Group, ...]
    back: tuple[Group, ...]


MANY, FEW = 256 * 512, 49       # channels in times channels out, and pixels of the smaller picture
PADDING = 1.2                   # products in a group of taps, over those that meet the picture


def pays(x: Tensor, layer: nn.Conv2d | nn.ConvTranspose2d, small: tuple[int, int]) -> bool:
    """Whether products tap by tap are faster: in bfloat16 on a CPU, with many channels on few pixels."""
    return (x.device.type == "cpu" and torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
            and layer.in_channels * layer.out_channels >= MANY and 0 < small[0] * small[1] <= FEW)


class TapProducts(torch.autograd.Function):
    """y[o] = b + Σ x[i] wₜ over the taps t that meet the picture: ``(B, H, W, C_in)``, a layer's weight and bias → ``(B, *size, C_out)``.

    The weight is ``(C_out, C_in, *kernel)``, or ``(C_in, C_out, *kernel)`` of a ``transposed`` convolution. In channels-last order its taps
    are matrices already, so that it is read once and its gradient written once. What a group of taps sees is kept for the gradient of the
    weight, which is then one product for each group, too; the gradient in x is the same sum with the windows exchanged.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, size: tuple[int, int], plan: Plan, transposed: bool) -> Tensor:
        ctx.plan, ctx.transposed = plan, transposed
        ctx.w, ctx.seen = _short_taps(weight, x.dtype, plan), [_seen(x, group) for group in plan.there]
        ctx.save_for_backward(x, weight)
        return _sums(ctx.seen, ctx.w, bias, (len(x), *size), plan.there, transposed)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, Tensor, Tensor | None, None, None, None]:
        (x, weight), dy, w, seen = ctx.saved_tensors, dy.contiguous(), ctx.w, ctx.seen
        if torch.is_grad_enabled():         # a gradient of this gradient needs what these were made of
            w, seen = _short_taps(weight, x.dtype, ctx.plan), [_seen(x, group) for group in ctx.plan.there]
        dx = None
        if ctx.needs_input_grad[0]:
            dx = _sums([_seen(dy, group) for group in ctx.plan.back], w, None, x.shape[:3], ctx.plan.back, not ctx.transposed)
        d_weight = torch.empty_like(weight)
        dw = _by_tap(d_weight)
        for t in set(range(dw.shape[1])) - set(ctx.plan.taps):
            dw[:, t].zero_()
        for (o, members), rows in zip(ctx.plan.there, seen, strict=True):
            g, n = dy[o].flatten(0, 2), len(members)
            product = rows.T @ g if ctx.transposed else g.T @ rows                  # (taps C_in, C_out), or (C_out, taps C_in)
            each = product.unflatten(0, (n, -1)) if ctx.transposed else product.unflatten(1, (n, -1)).movedim(1, 0)
            for (j, _, _), d in zip(members, each, strict=True):
                dw[:, ctx.plan.taps[j]] = d
        return dx, d_weight, dy.flatten(0, 2).sum(0, dtype=weight.dtype) if ctx.needs_input_grad[2] else None, None, None, None


def _sums(seen: list[Tensor], w: Tensor, bias: Tensor | None, shape: tuple[int, ...], groups: tuple[Group, ...],
          transposed: bool) -> Tensor:
    """The outputs of all groups and the bias, ``(*shape, C)``; where they overlap added in float32, as within a product."""
    alone = len({tuple((s.start % s.step, s.step) for s in o[1:]) for o, _ in groups}) == len(groups)
    matrices = [_matrix(w, [j for j, _, _ in members], transposed) for _, members in groups]
    long, channels = w.dtype if alone else torch.promote_types(w.dtype, torch.float32), matrices[0].shape[1]
    start = w.new_zeros(channels) if bias is None else bias.to(long)
    if alone and sum(_area(o) for o, _ in groups) == shape[1] * shape[2]:
        y = w.new_empty(*shape, channels)
    else:
        y = start.to(long).expand(*shape, -1).contiguous()
    for (o, _), rows, matrix in zip(groups, seen, matrices, strict=True):
        if alone:
            y[o] = (rows @ matrix if bias is None else torch.addmm(start, rows, matrix)).view(y[o].shape)
        else:
            y[o] += (rows @ matrix).view(y[o].shape)
    return y.to(w.dtype)


def _seen(x: Tensor, group: Group) -> Tensor:
    """What the taps of a group see side by side, ``(B h w, taps C)``; zeros where that is beyond the picture."""
    o, members = group
    if len(members) == 1:
        return x[members[0][1]].flatten(0, 2)
    full = all(_area(place) == _area(o) for _, _, place in members)
    rows = (x.new_empty if full else x.new_zeros)(len(x), *(len(range(s.start, s.stop, s.step)) for s in o[1:]), len(members), x.shape[3])
    for k, (_, i, place) in enumerate(members):
        rows[(*place, k)] = x[i]
    return rows.view(-1, len(members) * x.shape[3])


def _by_tap(weight: Tensor) -> Tensor:
    """A weight ``(A, B, *kernel)`` as it lies in memory in channels-last order, ``(A, taps, B)``."""
    return weight.permute(0, 2, 3, 1).flatten(1, 2)


def _short_taps(weight: Tensor, dtype: torch.dtype, plan: Plan) -> Tensor:
    """The taps that meet the picture, ``(A, taps, B)``, in that arithmetic."""
    taps = _by_tap(weight)
    if len(plan.taps) == taps.shape[1]:
        return taps.to(dtype)
    return torch.stack([taps[:, t].to(dtype) for t in plan.taps], dim=1)


def _matrix(w: Tensor, taps: list[int], transposed: bool) -> Tensor:
    """What a row of as many windows is multiplied by, ``(taps A, B)`` or ``(taps B, A)``."""
    if len(taps) == 1:
        return w[:, taps[0]] if transposed else w[:, taps[0]].T
    if transposed:
        return torch.cat([w[:, j] for j in taps])
    return (w if len(taps) == w.shape[1] else w[:, taps]).flatten(1).T


def _area(window: Window) -> int:
    return math.prod(len(range(s.start, s.stop, s.step)) for s in window[1:])


def groups(pairs: Iterable[Pair]) -> tuple[Group, ...]:
    """Taps whose outputs are one window, and what each of them sees, for one product instead of many that would be added up.

    All taps of a phase (the outputs that have the same remainder of the stride) share the window that covers theirs, if that adds few
    products with zeros (``PADDING``); if not, those do that have the same one.
    """
    phases: dict[tuple, list[Pair]] = {}
    for t, i, o in pairs:
        phases.setdefault(tuple((s.start % s.step, s.step) for s in o[1:]), []).append((t, i, o))
    found: dict[tuple, tuple[Window, list[Member]]] = {}
    for members in phases.values():
        hull = (slice(None), *(slice(min(o[k].start for _, _, o in members), max(o[k].stop for _, _, o in members), members[0][2][k].step)
                               for k in (1, 2)))
        shared = len(members) * _area(hull) <= PADDING * sum(_area(o) for _, _, o in members)
        for t, i, o in members:
            window = hull if shared else o
            place = tuple(slice((a.start - b.start) // b.step, -((b.start - a.stop) // b.step), 1)
                          for a, b in zip(o[1:], window[1:], strict=True))
            key = tuple((s.start, s.stop, s.step) for s in window[1:])
            found.setdefault(key, (window, []))[1].append((t, i, (slice(None), *place)))
    return tuple((window, tuple(members)) for window, members in found.values())


def windows(small: int, large: int, kernel: int, stride: int, padding: int) -> list[tuple[slice, slice]]:
    """For each tap t along one axis: pixels i of the smaller picture with ``stride`` i − ``padding`` + t in the larger, and those."""
    found = []
    for t in range(kernel):
        first = max(0, -((t - padding) // stride))
        end = max(first, min(small, (large - 1 + padding - t) // stride + 1))
        start = stride * first - padding + t
        found.append((slice(first, end, 1), slice(start, start + stride * max(0, end - first - 1) + (end > first), stride)))
    return found


@lru_cache(256)
def plan(small: tuple[int, int], large: tuple[int, int], kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int],
         transposed: bool) -> Plan:
    """The taps of a kernel that meet the picture, and the groups in which they are summed."""
    axes = [windows(*sizes) for sizes in zip(small, large, kernel, stride, padding, strict=True)]
    every = slice(None)
    met = [(t, (every, i, j), (every, u, v)) for t, ((i, u), (j, v)) in enumerate(product(*axes)) if i.stop > i.start and j.stop > j.start]
    up = groups((k, of_small, of_large) for k, (_, of_small, of_large) in enumerate(met))
    down = groups((k, of_large, of_small) for k, (_, of_small, of_large) in enumerate(met))
    return Plan(tuple(t for t, _, _ in met), *((up, down) if transposed else (down, up)))


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
        how = plan(small, large, self.kernel_size, self.stride, self.padding, False)
        return TapProducts.apply(_channels_last(x), self.weight, self.bias, small, how, False).permute(0, 3, 1, 2)


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
        how = plan(small, large, self.kernel_size, self.stride, self.padding, True)
        return TapProducts.apply(_channels_last(x), self.weight, self.bias, large, how, True).permute(0, 3, 1, 2)


def _short(x: Tensor) -> Tensor:
    """In the arithmetic of the context, as a library's convolution would take it."""
    return x.to(torch.get_autocast_dtype("cpu")) if torch.is_autocast_enabled("cpu") else x


def _channels_last(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1).contiguous()
