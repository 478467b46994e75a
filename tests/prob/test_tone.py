"""The tone curve: levels as frequent as the real ones, in their order, channel by channel. The equalizer: levels by their ranks, and back."""

import pytest
import torch

from ectype.prob.tone import EQUALIZED, Equalizer, Tone


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


def stored(shares, n=1000):
    """Images of one channel with these shares of the levels 0, 1, …"""
    return torch.repeat_interleave(torch.arange(len(shares)), torch.tensor([round(n * v) for v in shares])).view(-1, 1, 2, 2).to(torch.uint8)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_levels_by_hand(share):
    """Half of the pixels are 0, none is 1, two tenths are 2, three 3: mean ranks 0.25, 0.5, 0.6, 0.85, of which 0.6 are stretched to 2."""
    equal = Equalizer(1, 4, share)
    equal.fit(stored([0.5, 0.0, 0.2, 0.3]))
    ranks, line = torch.tensor([-1.0, -1 + 0.25 / 0.3, -1 + 0.35 / 0.3, 1.0]), torch.linspace(-1, 1, 4)
    levels = torch.arange(4).view(1, 1, 2, 2).to(torch.uint8)
    torch.testing.assert_close(equal(levels).flatten(), (1 - share) * line + share * ranks)


def test_equalised_levels_come_back_and_so_does_what_is_near_them():
    g = torch.Generator().manual_seed(0)
    x = (256 * torch.rand(200, 3, 5, 4, generator=g) ** torch.tensor([1.0, 4.0, 0.3])[:, None, None]).long().clamp(max=255).to(torch.uint8)
    equal = Equalizer(3, 256)
    equal.fit(x)
    assert (equal.table.diff() > 0).all() and equal.table.min() >= -1 and equal.table.max() <= 1
    assert (equal.table.diff() >= (1 - EQUALIZED) * 2 / 255 - 1e-6).all()         # two levels are never nearer than that
    f = equal(x)
    torch.testing.assert_close(equal.inverse(f), x.float() / 127.5 - 1, atol=1e-6, rtol=0)
    shaken = f + 0.49 * (1 - EQUALIZED) * 2 / 255 * (2 * torch.rand(f.shape, generator=g) - 1)
    assert torch.equal(equal.inverse(shaken), equal.inverse(f))
    assert torch.equal(equal.inverse(torch.full((1, 3, 1, 2), 7.0)), torch.ones(1, 3, 1, 2))


def test_equal_frequencies_and_a_single_level_change_nothing():
    line = torch.linspace(-1, 1, 4)
    for x in (stored([0.25] * 4), stored([0.0, 1.0, 0.0, 0.0])):
        equal = Equalizer(1, 4)
        torch.testing.assert_close(equal.table[0], line)
        equal.fit(x)
    torch.testing.assert_close(equal.table[0, [0, 3]], line[[0, 3]])
    equal.fit(stored([0.25] * 4))
    torch.testing.assert_close(equal.table[0], line)
