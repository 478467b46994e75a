"""A Gaussian for each cell: moments, frequencies, conditions, and what is not seen."""

import pytest
import torch

from ectype.data.schema import Schema
from ectype.prob.local import FLOOR, LocalGaussians
from ectype.prob.relax import Relaxation
from ectype.rng import Rows

from ..models.conftest import labels


def table(n=4000, seed=0):
    """Two groups of rows: x around −3 or 3 with its own slope of y, a category that mostly names the group, and a flag."""
    import numpy as np
    import pandas as pd

    r = np.random.default_rng(seed)
    g = r.random(n) < 0.3
    x = np.where(g, 3.0, -3.0) + 0.5 * r.normal(size=n)
    y = np.where(g, x, -x) + 0.2 * r.normal(size=n)
    c = np.where(r.random(n) < 0.9, np.where(g, "a", "b"), "c")
    X = pd.DataFrame({"x": x, "y": y, "c": c, "f": r.random(n) < 0.25})
    schema = Schema.fit(X)
    return schema, torch.from_numpy(schema.encode(X))


def drawn(schema, x, n=20_000, cells=8, times=1.0):
    """A mixture, the features that it was fitted to (``times`` those of the relaxation), and features of its samples."""
    features = Relaxation(schema)

    def scaled(x):
        return times * features.embed(x)

    made = LocalGaussians(features, None, cells)
    torch.manual_seed(0)
    made.fit(x, scaled, None, None)
    zeros = torch.zeros(features.shape if schema.is_table else ())
    return made, scaled(x).flatten(1).float(), made.sample(Rows(0, 0, n), None, None, scaled, zeros, zeros + 1 / times).flatten(1)


def test_rows_have_the_moments_of_the_data():
    """Mean and covariance of all features, which within a cell and between cells add up to those of the data."""
    schema, x = table()
    _, f, s = drawn(schema, x)
    torch.testing.assert_close(s.mean(0), f.mean(0), atol=0.04, rtol=0)
    torch.testing.assert_close(torch.cov(s.T), torch.cov(f.T), atol=0.06, rtol=0)


def test_discrete_features_are_those_of_stored_rows():
    schema, x = table()
    _, _, s = drawn(schema, x, n=500)
    assert set(s[:, 2].tolist()) == {-1.0, 1.0} and set(s[:, 3:].flatten().tolist()) == {0.0, 1.0} and (s[:, 3:].sum(1) == 1).all()


def test_one_cell_has_the_frequencies_of_the_whole():
    schema, x = table()
    made, f, _ = drawn(schema, x, cells=1)
    torch.testing.assert_close(made.frequencies[0], f[:, 2:].mean(0))
    torch.testing.assert_close(made.mixture.means[0], f[:, :2].mean(0), atol=1e-5, rtol=0)
    torch.testing.assert_close(made.mixture.covariances[0], torch.cov(f[:, :2].T, correction=0), atol=2e-3, rtol=1e-3)


def test_a_small_cell_has_the_shape_of_the_others():
    """Two rows alone have no covariance; theirs is nearly that of within all cells."""
    features = Relaxation(table()[0])
    made = LocalGaussians(features, None, 2)
    h = torch.cat([torch.randn(1000, 2), torch.full((2, 2), 50.0)])
    made.mixture.fit_cells(h, None, torch.tensor([0] * 1000 + [1] * 2))
    torch.testing.assert_close(made.mixture.covariances[1], 0.5 * made.mixture.covariances[0], atol=0.02, rtol=0.05)
    assert made.mixture.weights[1] == pytest.approx(2 / 1002)


def test_pictures_are_their_first_principal_components():
    """Of pictures within a plane nothing is lost; what is beyond ``RANK`` components is left at the mean."""
    import numpy as np

    r = np.random.default_rng(0)
    plane = r.normal(size=(2, 8, 8))
    X = np.clip(128 + 20 * np.einsum("ni,ihw->nhw", r.normal(size=(3000, 2)), plane), 0, 255).astype(np.uint8)
    schema = Schema.fit(X)
    _, f, s = drawn(schema, torch.from_numpy(schema.encode(X)))
    torch.testing.assert_close(s.mean(0), f.mean(0), atol=0.02, rtol=0)
    torch.testing.assert_close(torch.cov(s.T), torch.cov(f.T), atol=0.02, rtol=0)


def test_classes_have_cells_of_their_own():
    schema, x = table()
    condition, _ = labels(n=len(x), k=3)
    which = torch.where(x[:, 0] > 0, 2.0, 0.0)                              # a class for each group, and one without rows
    features, told = Relaxation(schema), Relaxation(condition)
    made = LocalGaussians(features, told, 12, 3)
    made.fit(x, features.embed, None, which)
    zeros = torch.zeros(features.shape)

    def of(k):
        return made.sample(Rows(0, 0, 500), None, torch.full((500,), float(k)), features.embed, zeros, zeros + 1)[:, 0].sign()

    assert (of(0) == -1).all() and (of(2) == 1).all()
    assert {-1.0, 1.0} == set(of(1).tolist())                               # a class that no row has is drawn from all


def test_a_quantity_moves_the_rows():
    """y = 2 c + noise, c uniform: given c, the rows are those near it, a little too near, since cells of (y, c) cut off their tails."""
    import numpy as np
    import pandas as pd

    r = np.random.default_rng(0)
    c = r.uniform(-1, 1, 4000)
    X = pd.DataFrame({"y": 2 * c + 0.1 * r.normal(size=4000)})
    schema, given = Schema.fit(X), Schema.fit(pd.DataFrame({"c": c}))
    features, told = Relaxation(schema), Relaxation(given)
    x, f_c = torch.from_numpy(schema.encode(X)), told.embed(torch.from_numpy(given.encode(pd.DataFrame({"c": c}))))
    made = LocalGaussians(features, told, 16)
    made.fit(x, features.embed, f_c, None)
    zeros = torch.zeros(features.shape)
    for value in (-0.8, 0.0, 0.8):
        at = told.embed(torch.from_numpy(given.encode(pd.DataFrame({"c": np.full(3000, value)}))))
        s = made.sample(Rows(0, 0, 3000), at, None, features.embed, zeros, zeros + 1)
        truth = torch.from_numpy(schema.encode(pd.DataFrame({"y": [2 * value, 2 * value + 0.1]})))[:, 0]
        assert s.mean().item() == pytest.approx(truth[0].item(), abs=0.02)
        assert s.std().item() == pytest.approx((truth[1] - truth[0]).item(), rel=0.25)


def pictures(n=3000, seed=0):
    """Pictures of 4 × 4 pixels, two kinds of them, with a covariance of their own."""
    import numpy as np

    r = np.random.default_rng(seed)
    kinds = r.normal(size=(2, 16)), r.normal(size=(2, 3, 16))
    k = (r.random(n) < 0.3).astype(int)
    X = 128 + 40 * kinds[0][k] + 8 * np.einsum("nj,njd->nd", r.normal(size=(n, 3)), kinds[1][k]) + 2 * r.normal(size=(n, 16))
    X = np.clip(X, 0, 255).reshape(n, 4, 4).astype(np.uint8)
    schema = Schema.fit(X)
    return schema, torch.from_numpy(schema.encode(X))


@pytest.mark.parametrize("t", [0.02, 0.3, 0.8, 0.999])
def test_what_is_restored_is_the_mean_given_the_noisy_row(t):
    """Against Bayes' rule written out: with Σ_k of the pixels themselves, E[x | x_t] = Σ γ_k (m_k + α Σ_k (α² Σ_k + σ² I)⁻¹ (x_t − α m_k))."""
    schema, x = pictures()
    made, f, _ = drawn(schema, x, cells=4, times=4.0)
    basis, d = made.basis.double(), made.mixture.latent_dim
    assert d == 16                                                                      # every component has its Gaussians: nothing is left
    means = made.mean.double() + made.mixture.means.double() @ basis.T
    covariances = basis @ made.mixture.covariances.double() @ basis.T
    angle = torch.tensor(t, dtype=torch.double) * torch.pi / 2
    alpha, sigma = angle.cos(), angle.sin()
    x_t = alpha * f[:50].double() + sigma * torch.randn(50, 16, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    total = alpha**2 * covariances + sigma**2 * torch.eye(16, dtype=torch.double)
    gap = (x_t[:, None] - alpha * means).unsqueeze(-1)                                  # (B, K, 16, 1)
    solved = torch.linalg.solve(total, gap)
    log_gamma = made.mixture.weights.double().log() - 0.5 * ((gap * solved).sum((2, 3)) + torch.linalg.slogdet(total).logabsdet)
    expected = (log_gamma.softmax(1)[..., None] * (means + alpha * (covariances @ solved).squeeze(-1))).sum(1)
    found = made.restored(x_t.float().view(-1, 1, 4, 4), alpha.view(1, 1, 1, 1), sigma.view(1, 1, 1, 1))
    torch.testing.assert_close(found.flatten(1).double(), expected, atol=2e-4, rtol=0)


def test_gaps_are_from_the_nearest_mean_of_the_class(monkeypatch):
    """By hand: along the components that have Gaussians from the nearest of the means, along the others from the mean of all."""
    monkeypatch.setattr("ectype.prob.local.RANK", 3)
    schema, x = pictures()
    made, f, _ = drawn(schema, x, cells=4, times=4.0)
    h = (f - made.mean) @ made.basis
    means = made.mixture.means[made.mixture.weights > 0]
    nearest = means[torch.cdist(h[:, :3], means).argmin(1)]
    gaps = made.gaps(f.view(-1, 1, 4, 4))
    torch.testing.assert_close(gaps, torch.cat([h[:, :3] - nearest, h[:, 3:]], dim=1), atol=1e-4, rtol=0)
    squares = made.squared_gaps(f.view(-1, 1, 4, 4))
    known = made.spectrum > FLOOR                                           # the others are not taken for less
    torch.testing.assert_close(squares[known], gaps.square().mean(0)[known], rtol=0.1, atol=0)      # one half has found the components
    assert known.sum() > 5 and (squares[:2] < 0.5 * made.spectrum[:2]).all() and torch.equal(squares[3:], made.spectrum[3:])
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(made.gaps(f.view(-1, 1, 4, 4)), gaps)
    condition, _ = labels(n=len(x), k=2)
    which = (torch.arange(len(x)) % 2).float()
    classes = LocalGaussians(made.features, Relaxation(condition), 4, 2)
    torch.manual_seed(0)
    classes.fit(x, classes.features.embed, None, which)
    own = classes.gaps(f.view(-1, 1, 4, 4), which)
    h = (f - classes.mean) @ classes.basis
    for i in (0, 1):
        means = classes.mixture.means[2 * i : 2 * i + 2][classes.mixture.weights[2 * i : 2 * i + 2] > 0]
        rows = which == i
        nearest = means[torch.cdist(h[rows][:, :3], means).argmin(1)]
        torch.testing.assert_close(own[rows][:, :3], h[rows][:, :3] - nearest, atol=1e-4, rtol=0)


def test_beyond_the_components_it_is_wieners_filter(monkeypatch):
    """With two components that have Gaussians, four of a variance of their own, and one cell: α v / (α² v + σ²) along each."""
    from ectype.prob import local

    monkeypatch.setattr(local, "RANK", 2)
    monkeypatch.setattr(local, "SPECTRUM", 6)
    schema, x = pictures()
    made, f, _ = drawn(schema, x, cells=1, times=4.0)
    alpha, sigma = torch.tensor(0.6), torch.tensor(0.8)
    v = torch.cat([made.mixture.covariances[0].diagonal(), made.spectrum[2:], made.rest.expand(10)])
    whole = torch.linalg.qr(torch.cat([made.basis, torch.randn(16, 10, generator=torch.Generator().manual_seed(0))], dim=1))[0]
    x_t = alpha * f[:20] + sigma * torch.randn(20, 16, generator=torch.Generator().manual_seed(1))
    expected = made.mean + ((x_t - alpha * made.mean) @ whole * (alpha * v / (alpha**2 * v + sigma**2))) @ whole.T
    found = made.restored(x_t.view(-1, 1, 4, 4), alpha.view(1, 1, 1, 1), sigma.view(1, 1, 1, 1)).flatten(1)
    torch.testing.assert_close(found, expected, atol=2e-2, rtol=0)
    torch.testing.assert_close(made.spectrum.sum() + 10 * made.rest, f.var(dim=0).sum(), rtol=0.05, atol=0)


def test_each_row_has_its_own_noise():
    schema, x = pictures(500)
    made, f, _ = drawn(schema, x, cells=4)
    angles = torch.linspace(0.1, 1.5, 8).view(-1, 1, 1, 1)
    x_t = f[:8].view(-1, 1, 4, 4) * angles.cos() + angles.sin()
    together = made.restored(x_t, angles.cos(), angles.sin())
    alone = torch.cat([made.restored(x_t[i : i + 1], angles[i : i + 1].cos(), angles[i : i + 1].sin()) for i in range(8)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def error_of_v(made, f, t):
    """Mean squared error of v of the mixture's mean at noisy rows ``f``; 1 is about that of no denoiser at all."""
    angle = torch.tensor(t * torch.pi / 2)
    alpha, sigma = angle.cos(), angle.sin()
    x_t = (alpha * f + sigma * torch.randn(f.shape, generator=torch.Generator().manual_seed(0))).view(-1, *made.shape)
    mean = made.restored(x_t, alpha.view(1, 1, 1, 1), sigma.view(1, 1, 1, 1)).flatten(1)
    return ((mean - f) / sigma).square().mean().item()


def smooth_pictures(n, side, seed=0):
    import numpy as np
    from scipy.ndimage import gaussian_filter

    X = gaussian_filter(np.random.default_rng(seed).normal(size=(n, side, side)), (0, 2, 2))
    X = np.clip(128 + 60 * X / X.std(), 0, 255).astype(np.uint8)
    schema = Schema.fit(X)
    return schema, torch.from_numpy(schema.encode(X))


@pytest.mark.parametrize("n", [5, 60, 200, 1000])
def test_few_large_pictures_do_not_make_it_sure_of_others(n):
    """576 pixels, as many pictures as that or fewer: of others it must not say that nothing lies beyond what these span."""
    schema, x = smooth_pictures(n + 100, 24)
    made, f, _ = drawn(schema, x[:n], n=10, times=2.0)
    others = 2.0 * Relaxation(schema).embed(x[n:]).flatten(1)
    for t in (0.003, 0.03, 0.1, 0.5):
        assert error_of_v(made, others, t) < 1.5


def test_a_pixel_that_was_always_black_may_be_something_else():
    """One stray pixel of 100 must not decide what is said of a row."""
    schema, x = smooth_pictures(3000, 10)
    x[:, :, 0] = 0
    made, f, _ = drawn(schema, x, n=10, times=2.0)
    stray = x[:50].clone()
    stray[:, 0, 0, 0] = 40
    for t in (0.001, 0.01, 0.03, 0.1):
        plain = error_of_v(made, f[:50], t)
        assert error_of_v(made, 2.0 * Relaxation(schema).embed(stray).flatten(1), t) < plain + 0.5


def test_a_wide_table_is_its_first_components_and_noise_for_each_number():
    """100 columns of five factors and noise: moments are kept, and the covariances of the cells are of 64 components."""
    import numpy as np
    import pandas as pd

    r = np.random.default_rng(0)
    X = pd.DataFrame(r.normal(size=(3000, 5)) @ r.normal(size=(5, 100)) + r.normal(size=(3000, 100)), columns=[f"c{i}" for i in range(100)])
    schema = Schema.fit(X)
    made, f, s = drawn(schema, torch.from_numpy(schema.encode(X)))
    assert made.mixture.covariances.shape[1:] == (64, 64)
    torch.testing.assert_close(s.mean(0), f.mean(0), atol=0.06, rtol=0)
    torch.testing.assert_close(torch.cov(s.T), torch.cov(f.T), atol=0.15, rtol=0)
