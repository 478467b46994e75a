"""What a model is told of where a row lies: drawn as it is found in rows, as noisy as is said, and of the class that is asked for."""

import numpy as np
import pandas as pd
import pytest
import torch

from ectype.data.schema import Schema
from ectype.prob.relax import Relaxation
from ectype.prob.self_condition import CODE, CellCondition, CodeCondition
from ectype.rng import Rows, Shared

from ..models.conftest import labels
from .test_local import pictures, table


def coded(side=4, n=4000, clusters=8, k=0):
    """Dark and bright pictures that vary in three ways, with their class, of ``k``, as a condition."""
    r = np.random.default_rng(0)
    bright = r.random(n) < 0.3
    ways = r.normal(size=(3, side * side))
    X = np.where(bright, 190, 60)[:, None] + 6 * r.normal(size=(n, 3)) @ ways + 2 * r.normal(size=(n, side * side))
    X = np.clip(X, 0, 255).reshape(n, side, side).astype(np.uint8)
    schema, c = Schema.fit(X), torch.from_numpy(2.0 * bright)[:, None].float()
    made = CodeCondition(Relaxation(schema), Relaxation(labels(n=n, k=k)[0]) if k else None, clusters, k or 1)
    x = torch.from_numpy(schema.encode(X))
    torch.manual_seed(0)
    made.fit(x, c if k else None)
    return made, x, c


def test_codes_that_are_drawn_have_the_moments_of_those_of_rows():
    made, x, _ = coded()
    of, drawn = made.of(x, None), made.draw(Rows(0, 0, 20_000), None)
    assert of.shape == (len(x), made.n) and drawn.shape == (20_000, made.n) and made.n == 16
    torch.testing.assert_close(of.mean(0), torch.zeros(made.n), atol=0.06, rtol=0)
    torch.testing.assert_close(drawn.mean(0), of.mean(0), atol=0.06, rtol=0)
    torch.testing.assert_close(torch.cov(of.T), torch.eye(made.n), atol=0.12, rtol=0)       # components do not vary together
    torch.testing.assert_close(torch.cov(drawn.T), torch.cov(of.T), atol=0.12, rtol=0)


def test_the_noise_of_a_code_is_that_of_its_time():
    """h_t − E[h_t] of one row over draws has the deviation σ, in units of the code's."""
    made, x, _ = coded()
    many = made.of(x[:1].expand(20_000, *x.shape[1:]), None)
    spread = (made.alpha**2 * made.rough.spectrum[: made.n] + made.sigma**2).sqrt()
    assert made.alpha**2 + made.sigma**2 == pytest.approx(1) and made.sigma == pytest.approx(np.sin(0.2 * np.pi))
    torch.testing.assert_close(many.std(0), made.sigma / spread, rtol=0.03, atol=0)
    h = made.rough.numbers((made.features.embed(x[:1]) - made.center) / made.scale)[0, : made.n]
    torch.testing.assert_close(many.mean(0), made.alpha * h / spread, atol=0.02, rtol=0.01)


def test_a_class_draws_its_own_codes_and_one_without_rows_those_of_all():
    made, x, c = coded(k=3)
    bright = made.of(x, c)[:, 0] > 0
    bright = bright if bright[c[:, 0] == 2].float().mean() > 0.5 else ~bright                # a component has no sign of its own
    assert (bright == (c[:, 0] == 2)).float().mean() > 0.97
    sign = 1 if (made.of(x[c[:, 0] == 2], None)[:, 0] > 0).float().mean() > 0.5 else -1

    def share(k):
        return ((sign * made.draw(Rows(0, 0, 1000), torch.full((1000, 1), float(k)))[:, 0]) > 0).float().mean().item()

    assert share(0) < 0.05 and share(2) > 0.95 and share(1) == pytest.approx(0.3, abs=0.06)


def test_a_quantity_moves_the_codes():
    r = np.random.default_rng(0)
    q = r.uniform(-1, 1, 4000)
    X = np.clip(128 + 60 * q[:, None] + 4 * r.normal(size=(4000, 16)), 0, 255).reshape(-1, 4, 4).astype(np.uint8)
    schema, given = Schema.fit(X), Schema.fit(pd.DataFrame({"q": q}))
    made = CodeCondition(Relaxation(schema), Relaxation(given), 8)
    x, c = torch.from_numpy(schema.encode(X)), torch.from_numpy(given.encode(pd.DataFrame({"q": q})))
    torch.manual_seed(0)
    made.fit(x, c)
    codes = made.of(x, c)[:, 0]
    for value in (-0.8, 0.0, 0.8):
        at = torch.from_numpy(given.encode(pd.DataFrame({"q": np.full(2000, value)})))
        near = codes[torch.from_numpy(np.abs(q - value) < 0.05)].mean()
        assert made.draw(Rows(0, 0, 2000), at)[:, 0].mean().item() == pytest.approx(near.item(), abs=0.1)


def test_large_pictures_have_codes_of_so_many_numbers_and_nothing_that_only_restoring_needs():
    made, x, _ = coded(side=12, n=600)
    assert made.n == CODE and made.rough.basis.shape == (144, 64) and not len(made.rough.axes)
    assert torch.isfinite(made.of(x, None)).all()


def test_noise_that_is_given_is_taken():
    made, x, _ = coded(n=500)
    a, b = (made.of(x[:5], None, Shared(0, 5)) for _ in range(2))
    assert torch.equal(a, b) and not torch.equal(made.of(x[:5], None), made.of(x[:5], None))
    torch.testing.assert_close(made.draw(Rows(3, 0, 300), None)[270:], made.draw(Rows(3, 270, 30), None))       # whatever the batch


@pytest.mark.parametrize("n", [1, 2, 5])
def test_hardly_any_pictures_have_finite_codes(n):
    schema, x = pictures(200)
    made = CodeCondition(Relaxation(schema), None, 128)
    made.fit(x[:n], None)
    assert torch.isfinite(made.of(x[:5], None)).all() and torch.isfinite(made.draw(Rows(0, 0, 5), None)).all()


def test_cells_are_told_by_number_and_drawn_with_their_shares():
    schema, x = table()
    made = CellCondition(Relaxation(schema), 2)
    torch.manual_seed(0)
    made.fit(x, None)
    of, drawn = made.of(x, None), made.draw(Rows(0, 0, 20_000), None)
    assert of.shape == (len(x), 2) and (of.sum(1) == 1).all() and len((of[:, 0] - (x[:, 0] > 0).float()).abs().unique()) == 1
    torch.testing.assert_close(drawn.mean(0), of.mean(0), atol=0.01, rtol=0)
