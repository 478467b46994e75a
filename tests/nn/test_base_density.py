"""Base distributions: densities against SciPy's, samples against the densities, and a mixture that starts at its rows."""

import numpy as np
import pytest
import torch
from scipy.stats import kstest
from scipy.stats import t as student

from ectype.nn.base_density import base
from ectype.rng import Rows


def test_student_against_scipy():
    z = torch.randn(50, 3) * 4
    np.testing.assert_allclose(base("student", 3).log_prob(z, None), student(4).logpdf(z).sum(1), rtol=1e-5)
    drawn = base("student", 2).sample(Rows(0, 0, 4000), None)
    assert kstest(drawn.flatten().numpy(), student(4).cdf).pvalue > 0.01


@pytest.mark.parametrize("cond", [0, 2])
def test_a_mixture_starts_at_its_rows(cond):
    g = torch.Generator().manual_seed(0)
    centres = torch.tensor([[-2.0, 0.0], [2.0, 1.0]])
    z = centres[torch.randint(2, (2000,), generator=g)] + 0.1 * torch.randn(2000, 2, generator=g)
    mixture = base("mixture", 2, cond)
    c = torch.zeros(2000, cond) if cond else None
    before = mixture.log_prob(z, c).mean().item()
    mixture.fit(z)
    after, truth = mixture.log_prob(z, c).mean().item(), -np.log(2) - np.log(2 * np.pi * np.e * 0.1**2)
    assert before < truth - 1 and after == pytest.approx(truth, abs=0.1)
    drawn = mixture.sample(Rows(0, 0, 2000), c)
    assert (torch.cdist(drawn, centres).min(1).values < 0.5).all()


@pytest.mark.parametrize("name", ["normal", "student", "mixture"])
def test_densities_integrate_to_one(name):
    p = base(name, 1)
    z = torch.linspace(-50, 50, 50_001)[:, None]
    with torch.no_grad():
        assert p.log_prob(z, None).double().exp().sum().item() * 2e-3 == pytest.approx(1, abs=1e-3)


def test_few_rows_leave_some_gaussians_without_a_part():
    mixture = base("mixture", 3)
    z = torch.randn(25, 3)
    mixture.fit(z)
    assert mixture.log_weights(None).exp().topk(2).values.sum().item() == pytest.approx(1, abs=1e-2)
    assert mixture.log_prob(z, None).isfinite().all()
