"""The tone curve: levels as frequent as the real ones, in their order, channel by channel. Histograms: a picture's own levels.
Spread: the deviations of training pictures."""

import numpy as np
import pytest
import torch

from ectype.data.schema import Schema
from ectype.prob.relax import Relaxation
from ectype.prob.tone import (
    GAIN,
    LEVELS_KEPT,
    REFERENCES,
    Histograms,
    Marginals,
    Spread,
    Tone,
    _quantiles,
    between,
    evenly,
    quantiles_of_levels,
)


def images(values):
    return values.view(-1, 1, 4, 4)


def uniform(n, seed=0):
    return torch.rand(n, generator=torch.Generator().manual_seed(seed))


def test_it_is_the_identity_until_it_is_fitted():
    f = images(torch.linspace(-1, 1, 160))
    torch.testing.assert_close(Tone(1)(f), f, atol=1e-6, rtol=0)


def test_it_inverts_an_increasing_map():
    """Generated values u³ of real ones u, both continuous: T(v) = v^(1/3)."""
    u = 2 * uniform(160_000) - 1
    tone = Tone(1)
    tone.fit(images(u**3), images(2 * uniform(160_000, 1) - 1))
    f = torch.tensor([-0.9, -0.5, -0.1, 0.1, 0.5, 0.9])
    torch.testing.assert_close(tone((f**3).view(1, 1, 2, 3)).flatten(), f, atol=0.02, rtol=0)


def test_levels_become_as_frequent_as_the_real_ones():
    """Most real pixels are exactly −1, most generated ones only nearly."""
    real = torch.where(uniform(64_000) < 0.8, -1.0, uniform(64_000, 1))
    made = torch.where(uniform(64_000, 2) < 0.8, -0.97 + 0.02 * uniform(64_000, 3), 0.9 * uniform(64_000, 4) - 0.1)
    tone = Tone(1)
    tone.fit(images(made), images(real))
    toned = tone(images(made)).flatten()
    assert abs(float((toned == -1).float().mean()) - 0.8) < 0.005
    for q in (0.85, 0.9, 0.99):
        assert abs(float(toned.quantile(q) - real.quantile(q))) < 0.02


def test_it_is_increasing_and_a_frequent_value_goes_to_the_middle():
    made = torch.cat([torch.full((8000,), 0.0), 0.5 + 0.5 * uniform(8000)])
    tone = Tone(1)
    tone.fit(images(made), images(2 * uniform(16_000, 1) - 1))
    line = tone(images(torch.linspace(-1, 1, 1600))).flatten()
    assert (line.diff() >= 0).all()
    assert abs(float(tone(torch.zeros(1, 1, 1, 1))) + 0.5) < 0.02        # half of the values are 0: ranks 0 to ½, real values −1 to 0


def test_channels_have_curves_of_their_own():
    real = torch.rand(500, 2, 4, 4, generator=torch.Generator().manual_seed(0)) * 2 - 1
    tone = Tone(2)
    tone.fit(torch.stack([real[:, 0] / 2, real[:, 1]], dim=1), real)
    f = torch.full((3, 2, 1, 1), 0.25)
    torch.testing.assert_close(tone(f)[0].flatten(), torch.tensor([0.5, 0.25]), atol=0.01, rtol=0)


def test_of_a_table_what_has_no_number_is_left_out():
    """Half of the values of the first column are blank in both; the second is too seldom there for a curve."""
    made, real = torch.stack([uniform(4000), uniform(4000, 1)], 1), torch.stack([2 * uniform(3000, 2) + 1, 9 + uniform(3000, 3)], 1)
    made[::2, 0], real[1500:, 0], real[50:, 1] = torch.nan, torch.nan, torch.nan
    tone = Tone(2)
    tone.fit(made, real)
    f = torch.tensor([[0.25, 0.25], [0.75, -3.0]])
    torch.testing.assert_close(tone(f), torch.tensor([[1.5, 0.25], [2.5, -3.0]]), atol=0.06, rtol=0)
    tone.reset()
    torch.testing.assert_close(tone(3 * f), 3 * f, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("arc", "kept"), [(2 * np.pi, True), (np.pi, False)])
def test_curves_of_a_table_are_kept_where_rows_stay_where_rows_are(arc, kept):
    """Data on a circle: samples of a smaller circle are put on it; stretching those of one half of it would take them off it."""
    r = np.random.default_rng(0)

    def circle(angle, radius):
        return radius * np.stack([np.cos(angle), np.sin(angle)], 1)

    X = circle(r.uniform(0, 2 * np.pi, 3000), 1)
    schema = Schema.fit(X)
    real, made = (torch.from_numpy(schema.encode(v)) for v in (X, circle(r.uniform(-arc / 2, arc / 2, 3000), 0.9 if kept else 1)))
    marginals = Marginals(Relaxation(schema))
    marginals.fit(made, real, real)         # numbers alone: features are what is stored
    assert bool(marginals.fitted) == kept == (not torch.equal(marginals(made), made))
    if kept:
        torch.testing.assert_close(marginals(made).square().mean(0), real.square().mean(0), rtol=0.01, atol=0)


def test_what_is_blank_is_no_reason_against_curves():
    """Six columns, each blank in 60 % of the rows; generated numbers of the first are off by half a deviation where there are any."""
    r = np.random.default_rng(0)
    X, Y = (np.where(r.random((2000, 6)) < 0.6, np.nan, r.normal(size=(2000, 6))) for _ in range(2))
    Y[:, 0] += 0.5
    schema = Schema.fit(X)
    features, (x, y) = Relaxation(schema), (torch.from_numpy(schema.encode(v)) for v in (X, Y))
    marginals = Marginals(features)
    marginals.fit(features.embed(y), x, x)
    after = features.project(marginals(features.embed(y)))
    assert marginals.fitted and torch.equal(after.isnan(), x.new_tensor(np.isnan(Y)).bool())
    assert abs(float(after[:, 0].nanmean() - x[:, 0].nanmean())) < 0.05 < 0.3 < float(y[:, 0].nanmean() - x[:, 0].nanmean())


def test_infinite_samples_are_left_out():
    tone, made = Tone(1), uniform(4000)[:, None]
    tone.fit(torch.cat([made, torch.tensor([[torch.inf], [-torch.inf]])]), uniform(4000, 1)[:, None])
    torch.testing.assert_close(tone(made), made, atol=0.05, rtol=0)


def test_of_few_values_no_neighbours_are_closer_than_others():
    """If every gap between two real values were as likely, half of the samples would lie in the shorter half of the gaps."""
    real = uniform(1000)
    tone = Tone(1)
    tone.fit(uniform(4000, 1)[:, None], real[:, None])
    edges = real.sort().values
    gaps, made = edges.diff(), tone(uniform(20_000, 2)[:, None]).flatten()
    counts = torch.histogram(made, edges).hist
    short = gaps < gaps.median()
    assert float(gaps[short].sum()) < 0.2 and float(counts[short].sum() / counts.sum()) < 0.25


def test_what_lies_apart_stays_apart():
    def halves(n, seed):
        return torch.where(uniform(n, seed) < 0.4, 0.1 * uniform(n, seed + 1), 0.9 + 0.1 * uniform(n, seed + 2))

    tone = Tone(1)
    tone.fit(0.8 * halves(4000, 0)[:, None], halves(1000, 3)[:, None])
    made = tone(0.8 * halves(20_000, 6)[:, None]).flatten()
    assert float(((made > 0.11) & (made < 0.89)).float().mean()) < 0.01 and abs(float((made < 0.5).float().mean()) - 0.4) < 0.05


def test_beyond_the_ends_it_goes_on():
    tone = Tone(1)
    tone.fit(uniform(4000)[:, None], 4 + 2 * uniform(4000, 1)[:, None])
    torch.testing.assert_close(tone(torch.tensor([[-0.5], [1.5]])), torch.tensor([[3.5], [6.5]]), atol=0.01, rtol=0)



def stored(n, channels=1, side=8, seed=0):
    """Pictures, each with levels of its own range."""
    g = torch.Generator().manual_seed(seed)
    low, high = (100 * torch.rand(n, 1, 1, 1, generator=g)).expand(-1, channels, 1, 1), 150 + 100 * torch.rand(n, channels, 1, 1, generator=g)
    return (low + (high - low) * torch.rand(n, channels, side, side, generator=g)).round().to(torch.uint8)


def as_features(x):
    return x.float() / 127.5 - 1


def sorted_levels(f):
    return (f.flatten(2) * 127.5 + 127.5).round().sort(2).values


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_get_the_levels_of_the_training_picture_that_is_most_like_them(channels):
    """A training picture seen through a curve, and with its pixels shuffled, gets its own levels back, in their order."""
    x = stored(40, channels)
    histograms = Histograms((channels, 8, 8), 256)
    histograms.fit(x)
    shuffled = as_features(x).flatten(2)[..., torch.randperm(64, generator=torch.Generator().manual_seed(1))].view_as(x)
    out = histograms(0.98 * shuffled + 0.02 * shuffled**3)
    torch.testing.assert_close(sorted_levels(out), x.float().flatten(2).sort(2).values)
    torch.testing.assert_close(out, shuffled, atol=2.01 / 255, rtol=0)          # a level for pixels that were as high as another


def test_what_is_darker_stays_darker_and_equal_values_follow_their_neighbours():
    histograms = Histograms((1, 4, 4), 256)
    histograms.fit(torch.arange(16).mul(16).to(torch.uint8).view(1, 1, 4, 4))
    f = torch.rand(5, 1, 4, 4, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert torch.equal(histograms(f).flatten(1).argsort(1), f.flatten(1).argsort(1))
    flat = torch.zeros(1, 1, 4, 4)
    flat[..., 3, 3] = 1.0
    beside = histograms(flat)[0, 0]
    assert beside[3, 3] == beside.max() and min(beside[2, 3], beside[3, 2], beside[2, 2]) > beside[0].max()


def test_the_order_may_be_that_of_other_values_than_the_levels_are_chosen_by():
    histograms = Histograms((1, 4, 4), 256)
    histograms.fit(torch.stack([torch.arange(16), torch.arange(16) * 16]).to(torch.uint8).view(2, 1, 4, 4))
    bright = torch.linspace(-1, 0.9, 16).view(1, 1, 4, 4)
    out = histograms(bright, ranked=-bright)
    assert torch.equal(sorted_levels(out)[0, 0], torch.arange(16) * 16.0)                # as bright as the first of them
    assert torch.equal(out.flatten(), histograms(bright).flatten().flip(0))             # in the order of the second


def test_large_pictures_keep_fewer_levels():
    x = stored(3, side=48)
    histograms = Histograms((1, 48, 48), 256)
    histograms.fit(x)
    out = sorted_levels(histograms(as_features(x)))
    assert histograms.levels.shape == (REFERENCES, 1, LEVELS_KEPT) and (out - x.float().flatten(2).sort(2).values).abs().max() <= 2


def test_it_is_the_identity_until_levels_are_known():
    f = torch.rand(2, 1, 8, 8) * 2 - 1
    histograms = Histograms((1, 8, 8), 256)
    assert torch.equal(histograms(f), f)
    histograms.fit(torch.zeros(3, 1, 8, 8, dtype=torch.uint8))
    assert (histograms(f) == -1).all()                                      # pictures may be all black


def test_the_nearest_levels_are_found_in_any_arithmetic():
    g = torch.Generator().manual_seed(0)
    histograms = Histograms((1, 8, 8), 17)
    histograms.fit(torch.randint(0, 17, (REFERENCES, 1, 8, 8), generator=g, dtype=torch.uint8))
    f = torch.rand(200, 1, 8, 8, generator=g) * 2 - 1
    plain = histograms(f)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(histograms(f), plain)


def smooth(n, deviations, mean=0.0, seed=0):
    """Pictures of 4 × 4 pixels around a grey, with these deviations along fixed directions."""
    g = torch.Generator().manual_seed(9)
    basis = torch.linalg.qr(torch.randn(16, len(deviations), generator=g))[0]
    h = torch.randn(n, len(deviations), generator=torch.Generator().manual_seed(seed)) * torch.tensor(deviations)
    return images(mean + h @ basis.T), basis


def along(basis, mean=0.0):
    return lambda f: (f.flatten(1) - mean) @ basis


def test_a_spread_is_the_identity_until_it_is_fitted():
    f, basis = smooth(10, [1.0, 0.5])
    torch.testing.assert_close(Spread(2)(f, along(basis)(f), basis, torch.ones(())), f)


def test_deviations_become_the_real_ones_and_the_rest_stays():
    made, basis = smooth(50_000, [1.0, 0.5, 0.25, 0.1], mean=0.3)
    gaps, one = along(basis[:, :3], 0.3), torch.ones(())
    spread = Spread(3)
    spread.fit(made, gaps, basis[:, :3], one, torch.tensor([1.2, 0.5, 0.3]).square())
    out = spread(made, gaps(made), basis[:, :3], one)
    h, before = ((v.flatten(1) - 0.3) @ basis for v in (out, made))
    torch.testing.assert_close(h.square().mean(0).sqrt(), torch.tensor([1.2, 0.5, 0.3, 0.1]), rtol=0.01, atol=0)
    torch.testing.assert_close(h[:, 3], before[:, 3], atol=1e-4, rtol=0)
    torch.testing.assert_close(h[:, :3], before[:, :3] * spread.gain, atol=1e-4, rtol=0)


def test_gains_make_up_for_what_black_and_white_hold_back():
    """With half of the move allowed in some of the pixels, the deviations are still the real ones, after a few rounds."""
    made, basis = smooth(20_000, [0.5])
    weight = torch.ones(1, 4, 4)
    weight[:, :2] = 0.5
    spread = Spread(1)
    spread.fit(made, along(basis), basis, weight, torch.tensor([0.6]).square())
    held_back = ((basis[:, 0].view(4, 4).square() * weight[0]).sum()).item()
    assert held_back < 0.9
    moved = along(basis)(spread(made, along(basis)(made), basis, weight))
    assert moved.square().mean().sqrt().item() == pytest.approx(0.6, rel=0.01)
    assert spread.gain.item() == pytest.approx(1 + 0.2 / held_back, rel=0.02)


def test_a_spread_does_not_exceed_its_bounds():
    made, basis = smooth(2000, [1.0, 1.0])
    spread, one = Spread(2), torch.ones(())
    spread.fit(made, along(basis), basis, one, torch.tensor([100.0, 0.01]))
    torch.testing.assert_close(spread.gain, torch.tensor([GAIN, 1 / GAIN]))
    spread.fit(made, along(basis), basis, one, torch.tensor([1.0, 0.0]))
    assert spread.gain[0] < 1.1 and spread.gain[1] == 1                     # fitted anew; nothing is no deviation


def test_black_and_white_stay_and_grey_moves_in_proportion():
    made, basis = smooth(2000, [0.2])
    spread, one = Spread(1), torch.ones(())
    spread.fit(made, along(basis), basis, one, torch.tensor([0.04]) * 4)
    f = images(torch.linspace(-1, 1, 16))
    weight = between(f, torch.tensor(-1.0), torch.tensor(1.0), torch.tensor(0.5))
    torch.testing.assert_close(weight.flatten(), ((f.flatten() + 1) / 0.5).clamp(0, 1) * ((1 - f.flatten()) / 0.5).clamp(0, 1))
    gaps = along(basis, -0.5)(f)
    moved, whole = ((spread(f, gaps, basis, w) - f).flatten() for w in (weight, one))
    assert moved[0] == 0 and moved[15] == 0 and (whole.abs() > 0.1).any()
    torch.testing.assert_close(moved, whole * weight.flatten(), atol=1e-6, rtol=0)
    torch.testing.assert_close((spread(f, gaps, basis, weight, 0.25) - f).flatten(), moved / 4, atol=1e-6, rtol=0)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close((spread(f, gaps, basis, weight) - f).flatten(), moved, atol=1e-6, rtol=0)


def test_levels_are_counted_as_they_would_be_sorted():
    x = torch.randint(0, 256, (60, 2, 7, 5), generator=torch.Generator().manual_seed(0)).square().div(255).to(torch.uint8)
    counted, sorted_ = quantiles_of_levels(x, 256), _quantiles(x.float() * (2 / 255) - 1)
    torch.testing.assert_close(counted.values, sorted_.values, atol=1e-5, rtol=0)
    assert torch.equal(counted.n, sorted_.n) and counted.n.tolist() == [[60 * 35]] * 2


def test_rows_are_chosen_evenly_among_any_number():
    assert evenly(20_000_001, 5, torch.device("cpu")).tolist() == [0, 5_000_000, 10_000_000, 15_000_000, 20_000_000]
    assert evenly(3, 6, torch.device("cpu")).max() == 2
