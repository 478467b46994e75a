"""Known-truth targets: densities integrate to one, entropies and samples agree with them."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ectype.data.toy import TRUTHS, Gaussians, MixedTable, Moons, mode_report
from ectype.errors import InvalidParameterError, SchemaMismatchError

PLANE = ["moons", "gaussians25", "ring8"]


@pytest.mark.parametrize("name", TRUTHS)
def test_entropy_is_the_mean_of_minus_log_p(name):
    truth = TRUTHS[name]
    surprise = -truth.log_prob(truth.sample(20000, np.random.default_rng(0)))
    assert abs(surprise.mean() - truth.entropy) < 4 * surprise.std() / np.sqrt(len(surprise))


@pytest.mark.parametrize("truth", [Moons(0.1), Moons(0.3), Gaussians(((0.0, 0.0), (1.0, 0.5)), 0.2)])
def test_density_integrates_to_one_and_entropy_to_itself(truth):
    h = truth.sigma / 3
    x, y = np.arange(-1, 2, h), np.arange(-0.5, 1, h)
    pad = np.arange(1, 28) * h                                          # 9 σ
    x, y = (np.concatenate([v[0] - pad[::-1], v, v[-1] + pad]) for v in (x, y))
    log_p = truth.log_prob(np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2))
    assert np.exp(log_p).sum() * h**2 == pytest.approx(1, abs=1e-10)
    assert -(np.exp(log_p) * log_p).sum() * h**2 == pytest.approx(truth.entropy, abs=1e-6)


def test_gaussians_in_closed_form():
    truth = TRUTHS["gaussians25"]
    points = truth.sample(50, np.random.default_rng(0)).to_numpy()
    expected = np.log(np.mean([stats.multivariate_normal(m, 0.05**2).pdf(points) for m in truth.modes], axis=0))
    np.testing.assert_allclose(truth.log_prob(points), expected)
    assert truth.entropy == pytest.approx(np.log(25) + np.log(2 * np.pi * np.e * 0.05**2), abs=1e-12)


def test_moons_against_a_fine_sum_along_the_arcs():
    theta = (np.arange(100_000) + 0.5) * np.pi / 100_000
    c, s = np.cos(theta), np.sin(theta)
    arcs = np.concatenate([np.stack([c, s], axis=1), np.stack([1 - c, 0.5 - s], axis=1)])
    points = np.array([[0, 1], [0.5, 0.25], [-1.1, -0.2], [2, 0.5], [-3, 2]])
    expected = [np.log(np.mean(np.exp(-0.5 * ((p - arcs) ** 2).sum(1) / 0.3**2))) - np.log(2 * np.pi * 0.3**2) for p in points]
    np.testing.assert_allclose(Moons(0.3).log_prob(points), expected, rtol=1e-8)


def test_mixed_table_is_the_product_of_its_conditionals():
    truth = MixedTable()
    X = truth.sample(200, np.random.default_rng(0))
    expected = []
    for group, member, visits, score, spend in X.itertuples(index=False):
        g = truth.groups.index(group)
        expected.append(np.log(truth.share[g]) + stats.bernoulli(truth.member[g]).logpmf(member)
                        + stats.poisson(truth.visits[g]).logpmf(visits)
                        + stats.norm(truth.score_mean[g] + 6 * member, truth.score_scale[g]).logpdf(score)
                        + stats.lognorm(0.75, scale=np.exp(truth.spend_mean[g] + member)).logpdf(spend))
    np.testing.assert_allclose(truth.log_prob(X), expected)


def test_mixed_table_gives_no_mass_to_what_cannot_occur():
    truth = MixedTable()
    row = truth.sample(1, np.random.default_rng(0))
    X = pd.concat([row, row.assign(group="east"), row.assign(visits=1.5), row.assign(visits=-1), row.assign(spend=0.0),
                   row.assign(score=np.nan), row.assign(group=None)])
    assert np.isfinite(truth.log_prob(X)).tolist() == [True] + [False] * 6
    with pytest.raises(SchemaMismatchError, match="no spend"):
        truth.log_prob(row.drop(columns="spend"))


@pytest.mark.parametrize("name", TRUTHS)
def test_samples_depend_on_the_generator_alone(name):
    a, b, c = (TRUTHS[name].sample(50, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert a.equals(b)
    assert not a.equals(c)


@pytest.mark.parametrize(("name", "share"), [("moons", 0.997), ("gaussians25", 0.989), ("ring8", 0.989)])
def test_mode_report_of_the_truth(name, share):
    truth = TRUTHS[name]
    report = mode_report(truth.sample(20000, np.random.default_rng(0)), truth)
    assert report.hit == report.n_modes == truth.n_modes == len(report.counts)
    assert report.share == pytest.approx(share, abs=0.003)
    np.testing.assert_allclose(np.array(report.counts) / 20000, share / truth.n_modes, atol=0.01)


def test_mode_report_of_a_collapsed_model():
    points = np.array([[0.0, 0.0], [0.1, 0.0], [0.0, 0.16], [1.0, 1.0], [4.0, -4.0], [np.nan, 0.0]])
    report = mode_report(points, TRUTHS["gaussians25"])
    assert (report.n_modes, report.hit) == (25, 2)
    assert report.share == pytest.approx(3 / 6)


def test_distance_to_the_moons():
    arc, distance = Moons(0.1).nearest(np.array([[0, 1], [0, 1.3], [1, -0.5], [-1, -0.2], [2, 0.6]]))
    assert arc.tolist() == [0, 0, 1, 0, 1]
    np.testing.assert_allclose(distance, [0, 3, 0, 2, 1], atol=1e-12)


def test_mistakes():
    with pytest.raises(InvalidParameterError, match="no modes"):
        mode_report(np.zeros((3, 2)), TRUTHS["mixed"])
    with pytest.raises(SchemaMismatchError, match="points in the plane"):
        TRUTHS["moons"].log_prob(np.zeros((3, 3)))
