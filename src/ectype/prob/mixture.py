"""A mixture of Gaussians on codes: the density that an autoencoder samples from.

    p(h) = Σₖ πₖ N(h; μₖ, Σₖ)

With a condition c it is fitted on (h, c) together, and h is drawn from its conditional: component k with weight ∝ πₖ N(c; μₖᶜ, Σₖᶜᶜ), then
h ~ N(μₖʰ + Σₖʰᶜ (Σₖᶜᶜ)⁻¹ (c − μₖᶜ), Σₖʰʰ − Σₖʰᶜ (Σₖᶜᶜ)⁻¹ Σₖᶜʰ).

Ghosh, Sajjadi, Vergari, Black & Schölkopf, *From variational to deterministic autoencoders*, 2020, section 4 (ex-post density
estimation). Bishop, *Pattern recognition and machine learning*, 2006, equations 2.81, 2.82 (the conditional of a Gaussian).
"""

from __future__ import annotations

import torch
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from ..rng import Rows


class CodeMixture(nn.Module):
    """p(h) or p(h | c) of codes of ``latent_dim`` numbers, given ``n_cond`` features of the condition; at most ``components`` Gaussians."""

    def __init__(self, latent_dim: int, n_cond: int, components: int):
        super().__init__()
        self.latent_dim = latent_dim
        d = latent_dim + n_cond
        self.register_buffer("weights", torch.full((components,), 1 / components))      # πₖ
        self.register_buffer("means", torch.zeros(components, d))                       # μₖ of (h, c)
        self.register_buffer("covariances", torch.eye(d).repeat(components, 1, 1))      # Σₖ

    def fit(self, codes: Tensor, c: Tensor | None) -> None:
        """Maximum likelihood on ``codes (N, latent_dim)`` and condition features ``c (N, n_cond)``; a component for ten rows at least."""
        joint = codes if c is None else torch.cat([codes, c], dim=1)
        joint = joint.double().cpu().numpy()
        k = max(1, min(len(self.weights), len(joint) // 10))
        floor = 1e-4 * max(float(joint.var(axis=0).mean()), 1e-6)
        with threadpool_limits(1):          # more threads gain nothing here, and wait by spinning where a core is busy
            mixture = GaussianMixture(k, reg_covar=floor, random_state=0, max_iter=50, tol=1e-2, init_params="k-means++").fit(joint)
        self.weights.zero_()[:k] = torch.from_numpy(mixture.weights_)
        self.means[:k] = torch.from_numpy(mixture.means_)
        self.covariances[:k] = torch.from_numpy(mixture.covariances_)

    def fit_cells(self, codes: Tensor, c: Tensor | None, k: Tensor) -> None:
        """A component for each cell ``k (N,)`` that rows have been put in: their share, mean and covariance, drawn towards the mean of
        all covariances as if that had been seen in as many more rows as a code has numbers. A cell without rows is never drawn."""
        joint = (codes if c is None else torch.cat([codes, c], dim=1)).double()
        n = torch.bincount(k, minlength=len(self.weights)).double()
        means = joint.new_zeros(len(n), joint.shape[1]).index_add_(0, k, joint) / n.clamp(min=1)[:, None]
        by_cell = joint[k.argsort(stable=True)].split(n.long().tolist())
        squares = torch.stack([(rows - m).T @ (rows - m) for rows, m in zip(by_cell, means, strict=True)])     # (K, d, d)
        pooled, more = squares.sum(0) / len(joint), joint.shape[1]
        spread = float(joint.var(dim=0, correction=0).mean()) if more else 0.0
        floor = max(1e-4 * spread, 1e-6) * torch.eye(more, dtype=torch.double, device=joint.device)
        self.weights.copy_(n / len(joint))
        self.means.copy_(means)
        self.covariances.copy_((squares + more * pooled) / (n + more)[:, None, None] + floor)

    def sample(self, noise: Rows, c: Tensor | None) -> Tensor:
        """``noise.n`` codes, given the condition features ``c (B, n_cond)`` where there are any."""
        return self.draw(noise, c)[0]

    def draw(self, noise: Rows, c: Tensor | None, among: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Codes ``(n, latent_dim)`` and the component ``(n,)`` of each, one of those that ``among (n, K)`` allows for the row."""
        d = self.latent_dim
        weights, means, covariances = self.weights.double(), self.means.double(), self.covariances
        log_weights = weights.log().expand(noise.n, -1)                                             # (B, K)
        if among is not None:
            log_weights = log_weights.masked_fill(~among, -torch.inf)
        shift, covariance = means[:, :d].expand(noise.n, -1, -1), covariances[:, :d, :d]            # (B, K, d), (K, d, d)
        if c is not None:
            covariances = covariances.double()
            gap = c.double()[:, None] - means[:, d:]                                                # (B, K, n_cond)
            s_hc, s_cc = covariances[:, :d, d:], covariances[:, d:, d:]
            gain = torch.linalg.solve(s_cc, s_hc.transpose(1, 2)).transpose(1, 2)                   # Σʰᶜ (Σᶜᶜ)⁻¹
            chol = torch.linalg.cholesky(s_cc)
            white = torch.linalg.solve_triangular(chol, gap.transpose(0, 1).transpose(1, 2), upper=False)   # (K, n_cond, B)
            log_det = chol.diagonal(dim1=1, dim2=2).log().sum(1)
            log_weights = log_weights - 0.5 * white.square().sum(1).T - log_det
            shift = shift + torch.einsum("kij,bkj->bki", gain, gap)
            covariance = covariances[:, :d, :d] - gain @ s_hc.transpose(1, 2)
        k = (log_weights + noise.gumbel(len(weights)).double()).argmax(1)                           # a draw of the component
        nothing = 1e-9 * torch.eye(d, dtype=torch.float64, device=covariance.device)
        eps, codes = noise.normal(d).double(), shift[torch.arange(noise.n, device=k.device), k]
        for i in k.unique():                # a row has one component: no copy of its root for each row
            codes[k == i] += eps[k == i] @ torch.linalg.cholesky(covariance[i].double() + nothing).T
        return codes.float(), k
