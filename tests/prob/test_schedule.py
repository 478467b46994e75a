"""Noise schedules: variance preserving, monotone, clean at both ends."""

import pytest
import torch

from ectype.prob.schedule import MAX_LOG_SNR, MIN_LOG_SNR, Schedule

T = torch.linspace(0, 1, 1001, dtype=torch.float64)


@pytest.fixture(params=["cosine", "linear"])
def schedule(request):
    return Schedule(request.param)


def test_variance_is_preserved(schedule):
    alpha, sigma = schedule(T)
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones_like(T))
    assert (alpha > 0).all() and (sigma > 0).all()


def test_signal_to_noise_falls_between_clean_ends(schedule):
    log_snr = schedule.log_snr(T)
    inner = log_snr[(log_snr < MAX_LOG_SNR) & (log_snr > MIN_LOG_SNR)]
    assert len(inner) > 800 and (inner.diff() < 0).all() and (log_snr.diff() <= 0).all()
    alpha, sigma = schedule(T[[0, -1]])
    assert sigma[0] < 0.003 and alpha[1] < 0.01                    # data at t = 0, noise at t = 1
    a, s = schedule(T)
    torch.testing.assert_close(log_snr, 2 * (a / s).log())


def test_formulas():
    alpha, _ = Schedule("cosine")(T[5:-5])
    torch.testing.assert_close(alpha, torch.cos(torch.pi / 2 * T[5:-5]), rtol=1e-6, atol=1e-6)
    steps = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)   # Ho et al. 2020: α_t² = Π (1 − β_i)
    alpha, _ = Schedule("linear")(T[1:])
    torch.testing.assert_close(alpha**2, (1 - steps).cumprod(0), rtol=0.1, atol=2e-3)


def test_nothing_is_infinite_at_the_ends(schedule):
    for dtype in (torch.float32, torch.float64):
        assert all(torch.isfinite(v).all() for v in schedule(torch.tensor([0.0, 1e-12, 1 - 1e-7, 1.0], dtype=dtype)))
