"""Flows of pictures ``(B, C, H, W)``: exact maps of pixel levels to u in (0, 1)^D, in two orders.

Each pixel's level is mapped by the linear spline of :mod:`ectype.prob.levels`, whose heights, the probabilities P of its bins, a
convolutional network computes from the levels of other pixels. The pixels stand in an order, a pixel sees those before it, and so the
Jacobian is triangular:

    u_i = S(x_i, v_i; P(·|x_{<i}, c)),        log P(x|c) = Σ_i log P(x_i|x_{<i}, c)

============ ================================================================== ======================= =========================
flow         order                                                              u from x                x from u
============ ================================================================== ======================= =========================
RasterFlow   row by row: every pixel sees all rows above it and all on its left one pass                a step for each pixel
ScaleFlow    from a coarse grid, row by row, to one twice as fine, and so on:   one pass                steps of the coarse grid,
             the new pixels in three groups, of which each sees the grid and                            and three passes for each
             the groups before it                                                                       doubling
============ ================================================================== ======================= =========================

The first is an autoregressive flow, the second adds coupling layers on several scales: a layer keeps the pixels that are known and
transforms a group of others at once. The price is that a group's pixels are independent given those, and so grids of few pixels, which
decide what is seen, are not filled in like that: where they were, from one pixel on, MNIST pictures after a minute had a Fréchet distance
of features of 0.44, with real grids of 7×7 pixels for a beginning 0.26, and of 14×14 pixels 0.02 (2,000 pictures, one seed, a trial that
``bench/`` does not repeat). The colours of a pixel see each other in turn in both. What four neighbours tell is counted before training
(:mod:`ectype.prob.contexts`) as P₀, and the networks correct that: P = softmax(logits + log P₀).

Both directions compute P from the same levels, which are whole numbers, so that the networks may round: there is nothing to amplify.

References
    van den Oord, Kalchbrenner & Kavukcuoglu, *Pixel recurrent neural networks*, 2016: section 3.3 (masked convolutions).
    Dinh, Sohl-Dickstein & Bengio, *Density estimation using Real NVP*, 2017: sections 3.4–3.6 (masks, several scales).
    Reed et al., *Parallel multiscale autoregressive density estimation*, 2017: section 3 (groups of pixels on finer and finer grids).
    Ramachandran et al., *Fast generation for convolutional autoregressive models*, 2017: caches.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..prob.contexts import Contexts, Group
from ..prob.levels import Levels
from ..spec import Net
from .conv import ChannelNorm, as_map
from .mlp import ACTIVATIONS

Pixels = tuple[slice, slice, slice, slice]        # of a picture, as an index

DILATIONS = (1, 2, 4)       # of the blocks, in turns
STEM = 3                    # places that the first convolution reaches
PATCHED = 16                # pixels of the shorter side: from here on the places of a RasterFlow are squares of 2×2
COARSE_PATCHED = 8          # the same of the coarse grid of a ScaleFlow: a quarter of the steps for 8 to 15 pixels, too
COARSE = 16                 # pixels of the longer side, at most, of the grid that a ScaleFlow begins with


class ResidualBlock(nn.Module):
    """``h + W φ(conv(φ(norm h)) + e)`` with a 3×3 convolution, dilated; ``causal`` leaves out the taps below and on the right."""

    def __init__(self, channels: int, width: int, dilation: int, cond: int, net: Net, *, causal: bool):
        super().__init__()
        self.dilation, self.causal = dilation, causal
        self.norm, self.act, self.drop = ChannelNorm(channels), ACTIVATIONS[net.activation](), nn.Dropout(net.dropout)
        self.conv = nn.Conv2d(channels, width, (2, 3) if causal else 3, dilation=dilation, padding=0 if causal else dilation)
        self.condition = nn.Linear(cond, width) if cond else None
        self.out = nn.Conv2d(width, channels, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        if causal:
            seen = torch.ones(2, 3)
            seen[1, 2] = 0
            self.register_buffer("seen", seen, persistent=False)

    def forward(self, h: Tensor, e: Tensor | None) -> Tensor:
        a, d = self.act(self.norm(h)), self.dilation
        a = F.conv2d(F.pad(a, (d, d, d, 0)), self.conv.weight * self.seen, self.conv.bias, dilation=d) if self.causal else self.conv(a)
        if self.condition is not None:
            a = a + as_map(self.condition(e), a)
        return h + self.out(self.drop(self.act(a)))


class ColourHeads(nn.Module):
    """Normed features ``(B, F, *)`` and values ``(B, C, *)`` → logits ``(B, C, K, *)``; those of a colour see the colours before it."""

    def __init__(self, features: int, colours: int, bins: int, net: Net):
        super().__init__()
        self.norm = ChannelNorm(features)
        self.enter = nn.ModuleList(nn.Conv2d(features + i, features, 1) for i in range(colours))
        self.leave = nn.ModuleList(nn.Conv2d(features, bins, 1) for _ in range(colours))
        self.act = ACTIVATIONS[net.activation]()
        for i, (enter, leave) in enumerate(zip(self.enter, self.leave, strict=True)):
            nn.init.uniform_(enter.weight[:, features : features + i], -1, 1)       # few and telling: small weights would be slow to grow
            nn.init.zeros_(leave.weight)
            nn.init.zeros_(leave.bias)

    def forward(self, h: Tensor, v: Tensor) -> Tensor:
        return torch.stack([self.colour(i, h, v) for i in range(len(self.enter))], 1)

    def colour(self, i: int, h: Tensor, v: Tensor) -> Tensor:
        """Logits ``(B, K, *)`` of colour ``i``."""
        return self.leave[i](self.act(self.enter[i](torch.cat([h, v[:, :i].to(h.dtype)], 1) if i else h)))


class PixelFlow(nn.Module):
    """Base of the two flows; abstract in :meth:`log_probabilities` and :meth:`inverse`. ``groups`` are those of :class:`Contexts`.

    ``x (B, C, H, W)`` are levels, ``v`` places in their cells, ``u (B, C, H, W)`` codes in (0, 1), ``c (B, cond)`` the condition.
    """

    def __init__(self, shape: tuple[int, int, int], levels: int, bins: int, groups: Sequence[Group]):
        super().__init__()
        self.shape, self.levels = shape, Levels(shape, levels, bins)
        self.contexts = Contexts(shape, groups, levels, self.levels.bins)

    def fit(self, x: Tensor) -> None:
        """Count levels and their neighbours in stored training pictures."""
        self.levels.fit(x)
        self.contexts.fit(x, self.levels.bin)

    def log_probabilities(self, x: Tensor, c: Tensor | None) -> Iterator[tuple[Pixels, Tensor]]:
        """Pixels, as indices into the picture, and log P(·|x_{<i}, c) of their bins ``(B, C, h, w, K)``, until each pixel had its turn."""
        raise NotImplementedError

    def inverse(self, u: Tensor, c: Tensor | None) -> Tensor:
        """The levels whose codes lie in the cells of u."""
        raise NotImplementedError

    def log_mass(self, x: Tensor, c: Tensor | None) -> Tensor:
        """log P(x|c), ``(B,)``."""
        x = x.long()
        return sum(self.levels.log_mass(log_p, x[at]).flatten(1).sum(1) for at, log_p in self.log_probabilities(x, c))

    def estimate(self, x: Tensor, c: Tensor | None) -> Tensor:
        """An estimate of log P(x|c) that is right on average and may cost less, ``(B,)``; of torch's global generator."""
        return self.log_mass(x, c)

    def forward(self, x: Tensor, v: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor]:
        """u and log P(x|c), ``(B,)``."""
        x = x.long()
        u, total = torch.empty_like(v), v.new_zeros(len(v))
        for at, log_p in self.log_probabilities(x, c):
            u[at] = self.levels(log_p, x[at], v[at])
            total = total + self.levels.log_mass(log_p, x[at]).flatten(1).sum(1)
        return u, total


class RasterFlow(PixelFlow):
    """The autoregressive flow: one network of masked convolutions over squares of ``patch``² pixels, row by row.

    The pixels of a square are to the network what colours are: its convolutions see the squares before, its heads the pixels before in
    the same square. So every pixel sees all before it, in that order, and the convolutions work on a fraction of the places. ``width``
    has the width of each block, its first that of the features; from ``patched`` pixels of the shorter side on a square has 2×2.
    """

    def __init__(self, shape: tuple[int, int, int], levels: int, bins: int, net: Net, width: tuple[int, ...], *, cond: int = 0,
                 patched: int = PATCHED):
        patch = 2 if min(shape[1:]) >= patched else 1
        super().__init__(shape, levels, bins, [Group(a, b, patch, _before(a, b, patch)) for a in range(patch) for b in range(patch)])
        self.patch = patch
        self.size = tuple(-(-s // self.patch) for s in shape[1:])
        channels, features = shape[0] * self.patch**2, width[0]
        self.stem = nn.Conv2d(channels, features, (STEM + 1, 2 * STEM + 1))
        seen = torch.ones(STEM + 1, 2 * STEM + 1)
        seen[STEM, STEM:] = 0                                           # not the square itself
        self.register_buffer("seen", seen, persistent=False)
        self.register_buffer("inside", self._squares(torch.ones(1, *shape))[0], persistent=False)
        self.place = nn.Parameter(torch.zeros(features, *self.size))
        self.blocks = nn.ModuleList(ResidualBlock(features, w, DILATIONS[i % len(DILATIONS)], cond, net, causal=True)
                                    for i, w in enumerate(width))
        self.heads = ColourHeads(features, channels, self.levels.bins, net)

    @property
    def passes(self) -> int:
        """Network evaluations of the inverse."""
        return math.prod(self.size)

    def _squares(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` → ``(B, C r², H/r, W/r)``, filled up with zeros."""
        (h, w), r = self.size, self.patch
        return F.pixel_unshuffle(F.pad(x, (0, w * r - x.shape[3], 0, h * r - x.shape[2])), r)

    def log_probabilities(self, x: Tensor, c: Tensor | None) -> Iterator[tuple[Pixels, Tensor]]:
        (colours, rows, columns), r = self.shape, self.patch
        v = self._squares(self.levels.values(x))
        h = F.conv2d(F.pad(v, (STEM, STEM, STEM, 0)), self.stem.weight * self.seen, self.stem.bias) + self.place    # (B, F, H/r, W/r)
        for block in self.blocks:
            h = block(h, c)
        logits = self.heads(self.heads.norm(h), v).float()                                                  # (B, C r², K, H/r, W/r)
        logits = logits.unflatten(1, (colours, r, r)).permute(0, 1, 5, 2, 6, 3, 4)                          # (B, C, H/r, r, W/r, r, K)
        logits = logits.flatten(4, 5).flatten(2, 3)[:, :, :rows, :columns]                                  # (B, C, H, W, K)
        seen = self.contexts.bordered(x)
        for g, group in enumerate(self.contexts.groups):
            at = (..., slice(group.row, None, r), slice(group.column, None, r), slice(None))
            logits[at] += self.contexts.log_probabilities(g, seen, self.levels.log_prior[at])
        yield (slice(None),) * 4, logits.log_softmax(-1)

    def inverse(self, u: Tensor, c: Tensor | None) -> Tensor:
        """Square after square. What a block has computed at earlier ones is kept: a step costs the network at one place, not at all."""
        u, prior = self._squares(u), self._squares(self.levels.log_prior.movedim(-1, 0)).movedim(0, -1)     # (C r², H/r, W/r, K)
        b, channels, rows, columns = u.shape
        weight = (self.stem.weight * self.seen).permute(2, 3, 1, 0)                                         # (taps, C r², F)
        stem, features = weight.flatten(0, 2), weight.shape[-1]
        x = torch.zeros(u.shape, dtype=torch.long, device=u.device)
        seen, edge = self.contexts.bordered(x.new_zeros(b, *self.shape)), self.contexts.reach
        canvas = weight.new_zeros(b, rows + STEM, columns + 2 * STEM, channels)
        caches = [weight.new_zeros(b, rows + k.dilation, columns + 2 * k.dilation, features) for k in self.blocks]
        taps = [(k.conv.weight * k.seen).permute(2, 3, 1, 0).flatten(0, 1)[:5].flatten(0, 1) for k in self.blocks]      # (5 F, width)
        shifts = [None if k.condition is None else k.condition(c) for k in self.blocks]
        for i in range(rows):
            for j in range(columns):
                h = torch.addmm(self.stem.bias, canvas[:, i : i + STEM + 1, j : j + 2 * STEM + 1].flatten(1), stem) + self.place[:, i, j]
                for block, cache, weights, shift in zip(self.blocks, caches, taps, shifts, strict=True):
                    h = self._at(block, cache, weights, shift, h, i, j)                                     # (B, F)
                h = self.heads.norm(h[..., None, None])
                v = weight.new_zeros(b, channels, 1, 1)
                for k in self.inside[:, i, j].nonzero().flatten().tolist():
                    colour, g = divmod(k, self.patch**2)
                    row, column = (p * self.patch + o for p, o in zip((i, j), divmod(g, self.patch), strict=True))
                    told = self.contexts.at(g, colour, seen, row, column, prior[k, i, j])
                    log_p = (self.heads.colour(k, h, v).float()[..., 0, 0] + told).log_softmax(-1)
                    x[:, k, i, j] = self.levels.inverse(log_p, u[:, k, i, j])
                    seen[:, colour, edge + row, edge + column] = self.contexts.run_of[x[:, k, i, j]] + 1
                    v[:, k, 0, 0] = self.levels.values(x[:, k, i, j])
                canvas[:, i + STEM, j + STEM] = v[..., 0, 0]
        return F.pixel_shuffle(x, self.patch)[:, :, : self.shape[1], : self.shape[2]]

    @staticmethod
    def _at(block: ResidualBlock, cache: Tensor, weights: Tensor, shift: Tensor | None, h: Tensor, i: int, j: int) -> Tensor:
        """The block's output at place (i, j), ``(B, F)``."""
        d = block.dilation
        now = block.act(F.layer_norm(h.float(), h.shape[1:], block.norm.weight, block.norm.bias))
        cache[:, i + d, j + d] = now
        above, left = cache[:, i, j : j + 2 * d + 1 : d].flatten(1), cache[:, i + d, j]
        a = torch.addmm(block.conv.bias, torch.cat([above, left, now], 1), weights)
        a = block.act(a if shift is None else a + shift)
        return h + F.linear(a, block.out.weight[..., 0, 0], block.out.bias)


def _before(row: int, column: int, patch: int) -> tuple[tuple[int, int], ...]:
    """Neighbours that are known before the pixel at (row, column) in a square: on its left and above, and on the right above, but for the
    last pixel of a square of 2×2, where that is in the next square and the second on the left takes its place."""
    return (0, -1), (-1, -1), (-1, 0), ((0, -2) if patch == 2 and (row, column) == (1, 1) else (-1, 1))


GROUPS = ((1, 1), (0, 1), (1, 0))       # the order of the new pixels of a grid twice as fine, as (row, column) in squares of 2×2
AROUND = {g: ((-1, -1), (-1, 1), (1, -1), (1, 1)) if g == (1, 1) else ((-1, 0), (0, -1), (0, 1), (1, 0)) for g in GROUPS}
"""Which neighbours of a new pixel are known, by its place in the square, in steps of the finer grid."""


class Refinement(nn.Module):
    """One doubling: a grid of ``size`` of which every second row and column is known, then its three groups of new pixels.

    The squares of 2×2 pixels are channels, so that the network works at half of the size.
    """

    def __init__(self, colours: int, size: tuple[int, int], bins: int, net: Net, width: tuple[int, ...], cond: int):
        super().__init__()
        self.size, self.half = size, tuple(-(-s // 2) for s in size)
        self.groups = [g for g in GROUPS if all(s > o for s, o in zip(size, g, strict=True))]
        features = width[0]
        self.stem = nn.Conv2d(4 * colours, features, 3, padding=1)
        self.place = nn.Parameter(torch.zeros(features, *self.half))
        self.turn = nn.Parameter(torch.zeros(len(self.groups), features))
        self.blocks = nn.ModuleList(ResidualBlock(features, w, DILATIONS[i % len(DILATIONS)], cond + len(self.groups), net, causal=False)
                                    for i, w in enumerate(width))
        self.heads = ColourHeads(features, colours, bins, net)
        known = torch.zeros(len(self.groups), 1, 2, 2)
        known[:, :, 0, 0] = 1
        for turn, (row, column) in enumerate(self.groups):
            known[turn + 1 :, :, row, column] = 1
        self.register_buffer("known", known, persistent=False)                      # (turns, 1, 2, 2)

    def features(self, v: Tensor, c: Tensor | None, turns: range) -> Tensor:
        """What the groups of ``turns`` see of the values ``v (B, C, h, w)`` of the pixels before them, ``(len(turns) B, F, h/2, w/2)``."""
        b, n, (h2, w2) = len(v), len(turns), self.half
        seen = torch.cat([self._even(v) * self.known[t].tile(h2, w2) for t in turns])                            # (n B, C, h, w)
        e = torch.eye(len(self.groups), device=v.device)[list(turns)].repeat_interleave(b, 0)                    # (n B, groups)
        start = self.place + self.turn[list(turns)][..., None, None]                                            # (n, F, h/2, w/2)
        f = self.stem(F.pixel_unshuffle(seen, 2)) + start.repeat_interleave(b, 0)
        for block in self.blocks:
            f = block(f, e if c is None else torch.cat([e, c.repeat(n, 1)], 1))
        return self.heads.norm(f)

    def group(self, v: Tensor, turn: int) -> Tensor:
        """The values of a group's own pixels, ``(B, C, h/2, w/2)``."""
        row, column = self.groups[turn]
        return self._even(v)[:, :, row::2, column::2]

    def _even(self, v: Tensor) -> Tensor:
        return F.pad(v, (0, 2 * self.half[1] - v.shape[3], 0, 2 * self.half[0] - v.shape[2]))


class ScaleFlow(PixelFlow):
    """The coupling flow: a coarse grid in raster order, and a network for each doubling; ``width`` has the width of each of its blocks, its
    first that of the features."""

    def __init__(self, shape: tuple[int, int, int], levels: int, bins: int, net: Net, width: tuple[int, ...], *, cond: int = 0):
        colours, *size = shape
        doublings = max(1, math.ceil(math.log2(max(size) / COARSE)))
        strides = [2**s for s in reversed(range(doublings))]
        super().__init__(shape, levels, bins, [Group(s * row, s * column, 2 * s, tuple((s * i, s * j) for i, j in AROUND[row, column]))
                                               for s in strides for row, column in GROUPS])
        self.strides, self.coarsest = strides, 2**doublings
        self.coarse = RasterFlow((colours, *(-(-s // self.coarsest) for s in size)), levels, bins, net, width, cond=cond,
                                 patched=COARSE_PATCHED)
        self.refine = nn.ModuleList(Refinement(colours, tuple(-(-s // t) for s in size), self.levels.bins, net, width, cond)
                                    for t in self.strides)

    def fit(self, x: Tensor) -> None:
        super().fit(x)
        prior = self.levels.log_prior[:, :: self.coarsest, :: self.coarsest]
        self.coarse.levels.load_state_dict({**self.levels.state_dict(), "log_prior": prior})
        self.coarse.contexts.fit(x[self._grid], self.levels.bin)

    @property
    def _grid(self) -> Pixels:
        """The coarse grid's pixels."""
        return slice(None), slice(None), slice(None, None, self.coarsest), slice(None, None, self.coarsest)

    @property
    def passes(self) -> int:
        """Network evaluations of the inverse."""
        return self.coarse.passes + sum(len(r.groups) for r in self.refine)

    def log_probabilities(self, x: Tensor, c: Tensor | None) -> Iterator[tuple[Pixels, Tensor]]:
        for _, log_p in self.coarse.log_probabilities(x[self._grid], c):
            yield self._grid, log_p
        v, seen = self.levels.values(x), self.contexts.bordered(x)
        for stride, refine in zip(self.strides, self.refine, strict=True):
            yield from self._turns(v, seen, c, stride, refine, range(len(refine.groups)))

    def estimate(self, x: Tensor, c: Tensor | None) -> Tensor:
        """With one of the groups of each doubling, drawn at random, for all of them."""
        x = x.long()
        total, v, seen = self.coarse.log_mass(x[self._grid], c), self.levels.values(x), self.contexts.bordered(x)
        for stride, refine in zip(self.strides, self.refine, strict=True):
            turn = int(torch.randint(max(1, len(refine.groups)), ()))
            for at, log_p in self._turns(v, seen, c, stride, refine, range(len(refine.groups))[turn : turn + 1]):
                total = total + len(refine.groups) * self.levels.log_mass(log_p, x[at]).flatten(1).sum(1)
        return total

    def inverse(self, u: Tensor, c: Tensor | None) -> Tensor:
        x = torch.zeros(u.shape, dtype=torch.long, device=u.device)
        x[self._grid] = self.coarse.inverse(u[self._grid], c)
        for stride, refine in zip(self.strides, self.refine, strict=True):
            for turn in range(len(refine.groups)):
                self._draw(x, u, c, stride, refine, turn)
        return x

    def _draw(self, x: Tensor, u: Tensor, c: Tensor | None, stride: int, refine: Refinement, turn: int) -> None:
        """Fill in a group's pixels, colour after colour. Its neighbours are of its own colour and of groups before it: they are known."""
        f = refine.features(self.levels.values(x)[:, :, ::stride, ::stride], c, range(turn, turn + 1))
        at, told = self._told(self.contexts.bordered(x), stride, refine, turn)
        for k in range(self.shape[0]):
            v = refine.group(self.levels.values(x)[:, :, ::stride, ::stride], turn)
            own = (slice(None), slice(k, k + 1), *at[2:])
            x[own] = self.levels.inverse(_log_softmax(refine.heads.colour(k, f, v)[:, None], told[:, k : k + 1]), u[own])

    def _turns(self, v: Tensor, seen: Tensor, c: Tensor | None, stride: int, refine: Refinement,
               turns: range) -> Iterator[tuple[Pixels, Tensor]]:
        """The pixels and log P of some of a doubling's groups, from the picture's values and what is seen of it."""
        if not turns:                                                                       # a doubling of one pixel has no groups
            return
        grid = v[:, :, ::stride, ::stride]
        logits = refine.heads(refine.features(grid, c, turns), torch.cat([refine.group(grid, turn) for turn in turns]))
        for turn, own in zip(turns, logits.unflatten(0, (len(turns), -1)), strict=True):
            at, told = self._told(seen, stride, refine, turn)
            yield at, _log_softmax(own, told)

    def _told(self, seen: Tensor, stride: int, refine: Refinement, turn: int) -> tuple[Pixels, Tensor]:
        """The pixels of a group and their log P₀, ``(B, C, h, w, K)``."""
        row, column = refine.groups[turn]
        at = (slice(None), slice(None), slice(row * stride, None, 2 * stride), slice(column * stride, None, 2 * stride))
        g = self.strides.index(stride) * len(GROUPS) + GROUPS.index((row, column))
        return at, self.contexts.log_probabilities(g, seen, self.levels.log_prior[at[1:]])


def _log_softmax(logits: Tensor, told: Tensor) -> Tensor:
    """log P ``(B, C, h, w, K)`` from logits ``(B, C, K, ≥h, ≥w)`` and log P₀."""
    return (logits[..., : told.shape[2], : told.shape[3]].float().movedim(2, -1) + told).log_softmax(-1)
