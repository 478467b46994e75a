"""The faint levels of pictures: what is next to blank paper, and is not blank.

Notation
    x_i         the level of pixel i, from 0 to L, counted from blank paper: from black, or from white where more pixels are white
    faint       a pixel with one of the first K levels, a thirty-second of all: 0 to 7 of 256
    u           the picture with all faint pixels made blank
    s           the share of the faint pixels that are not blank, but specks
    q           which of four quarters a pixel belongs to: rows and columns even or odd

Paper is seldom all blank. Where a picture was scanned, scaled or compressed there are specks of 1, 2 or 3, alone or along an edge, and
nobody sees them. A generator does not learn them: its critic would have to be steep to tell 0 from 1, which its penalty forbids
(``models/gan.py``), and its pictures fade evenly into the paper instead. A diffusion model restores them from the least of the noise, and
not quite. Whoever looks at pixels one by one tells the pictures by that alone: on Fashion-MNIST boosted trees told those of a GAN from real
ones with an AUROC of 0.90, and of 0.78 where faint pixels were made blank in both.

So their levels are drawn anew, given the rest of the picture, by a model of pixels in four passes:

    p(x_faint | u, s) = Π_q Π_{i in q} p( x_i | u, s, faint pixels of the quarters before q )

In each a small network sees of the 7 × 7 neighbourhood of i the picture u, which pixels are faint, and the levels of those that are drawn
already; and of the whole picture the share of faint pixels that are specks, for in that pictures differ. A generated picture has it from
the training picture whose levels it was given (``prob/tone.py``). It is fitted by cross-entropy to training pictures, after the model
itself. With 2,000 steps (half a minute), on 2,000 pictures of Fashion-MNIST, of models that had 7 and 18 minutes
(a trial that ``bench/`` does not repeat):

    C2ST                    trees       CNN         both
    GAN                     0.899       0.615       0.882
    faint levels drawn      0.790       0.611       0.778
    diffusion, 20 steps     0.706       0.498       0.698
    faint levels drawn      0.653       0.500       0.647
    real pictures, theirs   0.580       0.494       0.578

Two ways to let the critic see them did not help: with levels near black and white magnified beside the picture (by a factor of 64 and of
6) it ran away from the generator, the held-out divergence rising from 0.24 to above 3; with a first convolution at full size the C2ST was
0.98, not 0.90. Levels drawn independently, given u alone, are worse than those that were there: pictures differ in how many faint pixels
they have, and real specks are fewer in places and more in others (AUROC of real pictures with theirs drawn so: 0.77).

van den Oord, Kalchbrenner & Kavukcuoglu, *Pixel recurrent neural networks*, 2016. Reed et al., *Parallel multiscale autoregressive density
estimation*, 2017 (pixels in groups).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEVELS = 64             # that pictures must have, at least: of fewer none is faint
PASSES = ((0, 0), (1, 1), (0, 1), (1, 0))      # the quarters in their order, by their first row and column
HIDDEN = 32
REACH = 3               # pixels on each side
SHARE = 5.0             # what shares are multiplied by: they are small
STEPS, BATCH, RATE = 2000, 64, 5e-3
FEWEST, PER_STEP = 500, 6       # steps at least, or it stays as it is; one for so many steps of the model
CROP = 32               # pixels on a side at most, of what is learnt from
BLANK, SPECKS = 0.05, 0.01      # of all pixels, at least, are blank, and are faint and not blank, but not more; or they are no specks


class Faint(nn.Module):
    """Levels of the faint pixels of stored pictures ``(B, C, H, W)``, drawn anew; as they are until it is fitted."""

    def __init__(self, channels: int, levels: int):
        super().__init__()
        self.top, self.k = levels - 1, levels // 32
        self.see = nn.ModuleList(nn.Conv2d(4 * channels, HIDDEN, 2 * REACH + 1, stride=2) for _ in PASSES)
        self.share = nn.ModuleList(nn.Linear(channels, HIDDEN) for _ in PASSES)
        self.say = nn.ModuleList(nn.Sequential(nn.SiLU(), nn.Conv2d(HIDDEN, HIDDEN, 1), nn.SiLU(), nn.Conv2d(HIDDEN, channels * self.k, 1))
                                 for _ in PASSES)
        self.requires_grad_(False)              # of no player: it is trained by itself
        self.register_buffer("fitted", torch.zeros((), dtype=torch.bool))
        self.register_buffer("white", torch.zeros((), dtype=torch.bool))        # whether that is what blank paper is

    def specks(self, x: Tensor) -> Tensor:
        """s of levels ``x (B, C, H, W)``, ``(B, C)``."""
        faint = x < self.k
        return (faint & (x > 0)).sum((2, 3)) / faint.sum((2, 3)).clamp(min=1)

    def logits(self, x: Tensor, q: int, share: Tensor) -> Tensor:
        """Of p(x_i | …) of the pixels of quarter q, ``(B, C, K, H_q, W_q)``, from levels ``x (B, C, H, W)`` and the share of
        specks ``(B, C)``; levels of faint pixels in q and in the quarters after it do not matter."""
        faint = x < self.k
        known = torch.zeros_like(faint)
        for a, b in PASSES[:q]:
            known[..., a::2, b::2] = faint[..., a::2, b::2]
        level = torch.where(known, x, 0).float()
        seen = torch.cat([torch.where(faint, 0, x).float() / self.top, faint.float(), level / self.k, (level > 0).float()], dim=1)
        a, b = PASSES[q]
        h = self.see[q](F.pad(seen, (REACH,) * 4)[..., a:, b:]) + self.share[q](SHARE * share)[..., None, None]
        return self.say[q](h).unflatten(1, (-1, self.k)).float()

    def loss(self, x: Tensor, q: int, share: Tensor) -> Tensor:
        """Cross-entropy of the faint pixels of quarter q of levels ``x (B, C, H, W)``, in nats for each; ``share`` is that of the pictures
        of which these are parts."""
        a, b = PASSES[q]
        own = x[..., a::2, b::2].long()
        error = F.cross_entropy(self.logits(x, q, share).transpose(1, 2), own.clamp(max=self.k - 1), reduction="none")
        return (error * (own < self.k)).sum() / (own < self.k).sum().clamp(min=1)

    def fit(self, x: Tensor, trained: int) -> None:
        """To stored training pictures ``(N, C, H, W)``, in a number of steps that goes with those that the model ``trained``; not to few
        steps, nor to pictures without paper (dark ones have more faint pixels than blank ones), without specks (MNIST has 0.5 %,
        Fashion-MNIST 2.8 %), or of one row or column. Seeded by torch's global generator."""
        steps = min(STEPS, trained // PER_STEP)
        counts = sum(torch.bincount(part.flatten().long(), minlength=self.top + 1) for part in x.split(4096)) / x.numel()
        self.white.copy_(counts[self.top] > counts[0])
        counts = counts.flip(0) if self.white else counts
        blank, specks = counts[0], counts[1 : self.k].sum()
        if steps < FEWEST or blank < max(BLANK, specks) or specks < SPECKS or min(x.shape[2:]) < 2:
            return
        parameters = list(self.requires_grad_(True).parameters())
        optimiser = torch.optim.AdamW(parameters, RATE, betas=(0.9, 0.99))
        with torch.enable_grad():
            for step in range(steps):
                optimiser.param_groups[0]["lr"] = RATE * min(1.0, 3 * (1 - step / steps))
                whole = self._levels(x[torch.randint(len(x), (BATCH,)).to(x.device)])
                i, j = (int(torch.randint(max(1, size - CROP + 1), ())) for size in x.shape[2:])
                optimiser.zero_grad()
                self.loss(whole[..., i : i + CROP, j : j + CROP], step % len(PASSES), self.specks(whole)).backward()
                optimiser.step()
        self.requires_grad_(False)
        self.fitted.fill_(True)

    def _levels(self, x: Tensor) -> Tensor:
        """Counted from blank paper; and back again."""
        return torch.where(self.white, self.top - x, x)

    def forward(self, x: Tensor, uniform: Tensor) -> Tensor:
        """Stored pictures ``(B, C, H, W)``; ``uniform`` of the same shape are numbers in [0, 1). In the arithmetic of the sampler: where
        that is bfloat16, one faint pixel in a thousand has another level."""
        if not self.fitted:
            return x
        x = self._levels(x).clone()
        share = self.specks(x)
        for q, (a, b) in enumerate(PASSES):
            own, u = x[..., a::2, b::2], uniform[..., a::2, b::2]
            up_to = self.logits(x, q, share).softmax(2).cumsum(2)                                      # P(level ≤ k), (B, C, K, H_q, W_q)
            drawn = (up_to <= u[:, :, None]).sum(2).clamp(max=self.k - 1)
            x[..., a::2, b::2] = torch.where(own < self.k, drawn.to(x.dtype), own)
        return self._levels(x)


def faint(shape: tuple[int, ...], levels: int) -> Faint | None:
    """For images of ``shape`` ``(C, H, W)``; None where they have so few levels that none is faint."""
    return Faint(shape[0], levels) if levels >= LEVELS else None
