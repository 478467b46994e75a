"""Noise schedules: variance preserving, monotone, clean at both ends."""

import pytest
import torch

from ectype.errors import InvalidParameterError
from ectype.prob.schedule import BINS, ENDS, Schedule

MAX_LOG_SNR, MIN_LOG_SNR = ENDS

T = torch.linspace(0, 1, 1001, dtype=torch.float64)


def learned(peak):
    """The learned schedule after many rows whose loss is large around log SNR = ``peak``."""
    schedule = Schedule("learned")
    g = torch.Generator().manual_seed(0)
    for _ in range(500):
        t = torch.rand(256, generator=g)
        schedule.observe(t, torch.exp(-0.5 * (schedule.log_snr(t) - peak) ** 2) + 0.01)
    return schedule


@pytest.fixture(params=["cosine", "linear", "learned", "fitted"])
def schedule(request):
    return learned(2.0) if request.param == "fitted" else Schedule(request.param)


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


def test_the_learned_schedule_starts_as_cosine_and_goes_where_the_loss_is():
    cosine, fresh, fitted = Schedule("cosine"), Schedule("learned"), learned(2.0)
    inner = cosine.log_snr(T).abs() < 5
    torch.testing.assert_close(fresh.log_snr(T)[inner], cosine.log_snr(T)[inner], atol=0.1, rtol=0.0)
    share = [float(((s.log_snr(T) > 1) & (s.log_snr(T) < 3)).double().mean()) for s in (fresh, fitted)]
    assert share[1] > 2.5 * share[0]
    untouched = Schedule("cosine")
    untouched.observe(T[:5], T[:5])
    assert not list(untouched.buffers()) and len(fitted.squares) == BINS


def test_the_learned_schedule_varies_least():
    """The mean of g(λ(t)) (−dλ/dt) over even times is the integral of g over λ for any schedule; its variance is less for the fitted one."""
    def terms(s):
        return s.fall(T[1:-1]) * (torch.exp(-0.5 * (s.log_snr(T[1:-1]) - 2.0) ** 2) + 0.01)

    cosine, fitted = terms(Schedule("cosine")), terms(learned(2.0))
    integral = (2 * torch.pi) ** 0.5 + 0.01 * 24
    assert cosine.mean().item() == pytest.approx(integral, rel=0.02) and fitted.mean().item() == pytest.approx(integral, rel=0.02)
    assert fitted.var() < 0.3 * cosine.var()


def test_the_fall_is_the_derivative(schedule):
    t, h = T[50:-50] + 3e-4, 1e-6
    between = (schedule.log_snr(t - h) - schedule.log_snr(t + h)) / (2 * h)
    torch.testing.assert_close(schedule.fall(t), between, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("ends", [(3.0, -12.0), (12.0, -2.0), (-12.0, 12.0)])
def test_ends_that_are_not_clean_are_refused(ends):
    with pytest.raises(InvalidParameterError, match="not clean"):
        Schedule("cosine", ends)
