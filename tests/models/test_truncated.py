"""Truncated diffusion: where the reverse process begins, what is trained, and a denoiser that is taken over."""

import numpy as np
import pandas as pd
import pytest
import torch

import ectype
from ectype.errors import InvalidParameterError, SchemaMismatchError
from ectype.models.diffusion import DDPMObjective
from ectype.models.truncated import END, TruncatedObjective
from ectype.prob.local import LocalGaussians
from ectype.prob.tone import EDGE
from ectype.rng import Rows
from ectype.spec import Net

from .conftest import SMALL, assert_gaussian, labels, numbers
from .test_diffusion import ExactGaussian

M, C = torch.tensor([0.5, -1.0]), torch.tensor([[1.5, 0.6], [0.6, 0.5]])
TRAIN = ectype.Train(budget="60steps", device="cpu")


def objective(start=0.6, condition=None, x=None):
    schema, rows = numbers(2)
    made = TruncatedObjective(schema, condition, SMALL, start).eval()
    made.prepare(rows if x is None else x, None if condition is None else labels(n=len(rows), k=2)[1])
    return made


class Exactly(torch.nn.Module):
    """Rough rows that are N(mean, cov)."""

    def __init__(self, mean, cov):
        super().__init__()
        self.mean, self.root = mean, torch.linalg.cholesky(cov)

    def told(self, c):
        return None, None

    def sample(self, noise, *others):
        return self.mean + noise.normal(2) @ self.root.T


def with_exact_parts(start, mean=M, cov=C):
    made = objective(start)
    made.network, made.rough = ExactGaussian("cosine"), Exactly(mean, cov)
    made.scaled = made.unscaled = lambda x: x
    made.low.fill_(-torch.inf), made.high.fill_(torch.inf)
    return made


@pytest.mark.parametrize("start", [0.2, 0.7, 0.95])
def test_it_begins_in_the_marginal_of_the_noisy_rows(start):
    """α r + σ ε ~ N(α M, α² C + σ² I), if r has the distribution of the rows."""
    made = with_exact_parts(start)
    x = made.begin(Rows(0, 0, 200_000), None, torch.tensor(start)).double()
    alpha, sigma = made.schedule(torch.tensor(start))
    torch.testing.assert_close(x.mean(0), (alpha * M).double(), atol=0.01, rtol=0)
    torch.testing.assert_close(torch.cov(x.T), (alpha**2 * C + sigma**2 * torch.eye(2)).double(), atol=0.02, rtol=0)


@pytest.mark.parametrize("start", [0.2, 0.7])
def test_exact_parts_give_the_distribution_of_the_data(start):
    made = with_exact_parts(start)
    with torch.no_grad():
        x = made.generate(Rows(0, 0, 100_000), None, steps=40).double()
    torch.testing.assert_close(x.mean(0), M.double(), atol=0.02, rtol=0)
    torch.testing.assert_close(torch.cov(x.T), C.double(), atol=0.03, rtol=0)


def test_the_later_it_begins_the_less_wrong_rough_rows_matter():
    """Rough rows whose mean is off by 3: what is left of it after the denoiser falls as t₀ grows, to nothing."""
    left = []
    for start in (0.1, 0.5, 0.8, 0.97):
        made = with_exact_parts(start, mean=M + 3.0)
        with torch.no_grad():
            x = made.generate(Rows(0, 0, 20_000), None, steps=60)
        left.append((x.mean(0) - M).norm().item())
    assert left == sorted(left, reverse=True) and left[0] > 3.0 and left[-1] < 0.35


@pytest.mark.parametrize("steps", [1, 2, 3, 20])
def test_times_go_from_the_start_to_the_data(steps):
    made = objective(0.6)
    times = made.times(steps)
    first = 0.6 * (0.33 if steps < 3 else 1.0)
    assert len(times) == steps + 1 and times[0].item() == pytest.approx(first) and times[-1] == 0 and (times.diff() < 0).all()
    if steps > 2:
        gaps = made.schedule.log_snr(times[:-1]).diff()
        torch.testing.assert_close(gaps, gaps.mean().expand_as(gaps), rtol=1e-3, atol=1e-3)
        assert times[-2].item() == pytest.approx(0.6 * END["table"] / steps, rel=1e-3)


@pytest.mark.parametrize(("start", "top"), [(0.8, 0.8), (0.3, 0.5)])
def test_the_denoiser_is_trained_up_to_the_start_or_the_middle(start, top):
    made, seen = objective(start), []
    made.error = lambda x, c, t, eps, absent=None: seen.append(t) or torch.zeros(len(x), requires_grad=True)
    for _ in range(10):
        made.loss(torch.zeros(64, 2), None, "model")
    assert top - 0.02 < torch.cat(seen).max() < top


@pytest.fixture(scope="module")
def fitted(gaussian):
    return ectype.TruncatedDiffusion(train=ectype.Train(budget="900steps", device="cpu"), net=Net(width=(64, 64)),
                                     random_state=0).fit(gaussian)


@pytest.mark.parametrize("steps", [1, 2, 4, 16])
def test_a_correlated_gaussian_is_learnt(steps, fitted):
    assert_gaussian(fitted.sample(3000, random_state=0, steps=steps), atol=0.25)


def test_the_denoiser_mends_rough_rows(gaussian):
    """Rough rows that are off by one standard unit in each column: four evaluations bring them nearer to the data."""
    model = ectype.TruncatedDiffusion(start=0.7, train=ectype.Train(budget="1200steps", device="cpu"), net=Net(width=(64, 64)),
                                      random_state=0).fit(gaussian)
    o, sample = model.objective_, model.objective_.rough.sample
    for tone in o.tones.values():
        tone.curves.reset()                    # which would take the columns of other rows for those of these
    o.rough.sample = lambda *given: sample(*given) + 1.0
    off = np.abs(model.sample(1024, random_state=0, steps=4).mean(0) - gaussian.mean(0)) / gaussian.std(0)
    assert (off < 0.6).all()


def test_what_no_gaussian_has_is_learnt():
    """A circle, of which the Gaussians of few cells fill the inside, is thin again after four evaluations."""
    r = np.random.default_rng(0)
    angle = r.uniform(0, 2 * np.pi, 4000)
    X = pd.DataFrame({"a": np.cos(angle) + 0.03 * r.normal(size=4000), "b": np.sin(angle) + 0.03 * r.normal(size=4000)})
    model = ectype.TruncatedDiffusion(start=0.6, train=ectype.Train(budget="2000steps", device="cpu"), random_state=0)
    build = model.build

    def of_one_cell(schema, condition):
        made = build(schema, condition)
        made.rough = LocalGaussians(made.features, None, 1)
        return made

    model.build = of_one_cell
    o = model.fit(X).objective_
    rough = o.unscaled(o.rough.sample(Rows(0, 0, 2000), None, None, o.scaled, o.center, o.scale))
    rows = model.schema_.decode(o.features.project(rough).numpy()), model.sample(2000, random_state=0, steps=4)
    away = [np.abs(np.hypot(S["a"], S["b"]) - 1).mean() for S in rows]
    assert away[0] > 0.3 and away[1] < 0.12


def test_categories_are_undecided_where_it_begins():
    """The denoiser mends categories of rough rows that know nothing of each other."""
    r = np.random.default_rng(0)
    a = r.choice(["x", "y", "z"], 1500)
    X = pd.DataFrame({"a": a, "b": np.where(r.random(1500) < 0.95, a, r.choice(["x", "y", "z"], 1500))})
    model = ectype.TruncatedDiffusion(start=0.6, train=ectype.Train(budget="600steps", device="cpu"), random_state=0).fit(X)
    o = model.objective_

    def any_row(noise, *others):
        return o.scaled((noise.uniform(2) * 3).floor())

    o.rough.sample = any_row
    with torch.no_grad():
        rough = o.features.project(o.unscaled(any_row(Rows(0, 0, 1500))))
    S = model.sample(1500, random_state=0, steps=4)
    assert (rough[:, 0] == rough[:, 1]).float().mean() < 0.45 and (S["a"] == S["b"]).mean() > 0.7
    scores = model.score_samples(pd.DataFrame({"a": ["x", "x"], "b": ["x", "z"]}))
    assert scores[0] > scores[1]


def test_cost_and_mistakes(fitted):
    assert (fitted.evaluations(), fitted.evaluations(steps=1)) == (4, 1)
    with pytest.raises(InvalidParameterError, match="number of steps"):
        fitted.sample(2, steps=0)


def test_training_begins_with_a_teachers_denoiser(gaussian, tmp_path):
    teacher = ectype.DDPM(train=TRAIN, net=SMALL, random_state=1).fit(gaussian[:300])
    teacher.save(tmp_path / "ddpm")
    model = ectype.TruncatedDiffusion(teacher=tmp_path / "ddpm", train=TRAIN(budget="1steps", lr=1e-12), net=SMALL, random_state=0)
    model.fit(gaussian[:300])
    for k, v in teacher.objective_.network.state_dict().items():
        torch.testing.assert_close(model.objective_.network.state_dict()[k], v)
    model.save(tmp_path / "model")
    (tmp_path / "ddpm" / "model.json").unlink()                                     # a saved model does without its teacher
    again = ectype.load(tmp_path / "model")
    assert (again.sample(5, random_state=0) == model.sample(5, random_state=0)).all()
    assert model.teacher == tmp_path / "ddpm" and again.teacher == str(tmp_path / "ddpm")


def test_a_teacher_of_few_rows_may_have_held_out_others(tmp_path):
    """100 rows of ten columns: means of the nine tenths that two fits learn from differ by more than a tenth as often as not."""
    X = np.random.default_rng(0).normal(size=(100, 10))
    train = ectype.Train(budget="1steps", device="cpu")
    teacher = ectype.DDPM(train=train, net=SMALL, random_state=100).fit(X)
    teacher.save(tmp_path / "ddpm")
    apart = []
    for seed in range(6):
        model = ectype.TruncatedDiffusion(teacher=str(tmp_path / "ddpm"), train=train, net=SMALL, random_state=seed)
        assert torch.equal(model.fit(X).objective_.center, teacher.objective_.center)
        alone = ectype.DDPM(train=train, net=SMALL, random_state=seed).fit(X).objective_
        apart.append(float(((alone.center - teacher.objective_.center) / alone.scale).abs().max()))
    assert max(apart) > 0.1
    images = np.random.default_rng(0).integers(0, 17, (100, 4, 4)).astype(float)            # a schema of images tells only their size
    images.flat[:2] = 0, 16
    ectype.DDPM(train=train, random_state=0).fit(np.where(images > 12, 16.0, 0.0)).save(tmp_path / "dark")
    with pytest.raises(SchemaMismatchError, match="other data"):
        ectype.TruncatedDiffusion(teacher=str(tmp_path / "dark"), train=train, random_state=0).fit(images)


def test_a_teachers_denoiser_comes_with_the_gaussians_that_it_corrects(tmp_path):
    X = np.random.default_rng(0).integers(0, 17, (60, 6, 6)).astype(float)
    X.flat[:2] = 0, 16
    train = ectype.Train(budget="1steps", device="cpu", lr=1e-12)
    teacher = ectype.DDPM(train=train, random_state=1).fit(X)
    teacher.save(tmp_path)
    model = ectype.TruncatedDiffusion(teacher=str(tmp_path), train=train, random_state=0).fit(X)
    x_t, t = torch.randn(3, 1, 6, 6), torch.tensor([0.7])
    with torch.no_grad():
        torch.testing.assert_close(model.objective_.denoise(x_t, t, None), teacher.objective_.denoise(x_t, t, None))


def test_a_teacher_that_cannot_teach_is_refused(gaussian, tmp_path):
    settings = {"train": TRAIN, "net": SMALL, "random_state": 0}
    ectype.VAE(**settings).fit(gaussian[:100]).save(tmp_path / "vae")
    ectype.DDPM(**settings, prediction="noise").fit(gaussian[:100]).save(tmp_path / "noise")
    ectype.DDPM(**settings).fit(gaussian[:200]).save(tmp_path / "other")
    ectype.DDPM(**settings | {"net": Net(width=(8,))}).fit(gaussian[:100]).save(tmp_path / "wide")
    ectype.DDPM(**settings, conditional=True).fit(gaussian[:100], ["a", "b"] * 50).save(tmp_path / "told")
    for name, error, words in (("told", SchemaMismatchError, "both conditional, or neither"), ("vae", InvalidParameterError, "restores no noise"), ("noise", InvalidParameterError, "restores no noise"),
                               ("other", SchemaMismatchError, "other data"), ("wide", InvalidParameterError, "network is another")):
        with pytest.raises(error, match=words):
            ectype.TruncatedDiffusion(teacher=str(tmp_path / name), **settings).fit(gaussian[:100])


def test_a_teacher_may_call_its_condition_otherwise(gaussian, tmp_path):
    settings = {"train": TRAIN(budget="1steps"), "net": SMALL, "random_state": 0, "conditional": True}
    labels = np.array(["a", "b"] * 50)
    ectype.DDPM(**settings).fit(gaussian[:100], labels).save(tmp_path)
    model = ectype.TruncatedDiffusion(teacher=tmp_path, **settings).fit(gaussian[:100], pd.Series(labels, name="side"))
    assert model.condition_.columns == ["side"]
    with pytest.raises(SchemaMismatchError, match="other data"):
        ectype.TruncatedDiffusion(teacher=tmp_path, **settings).fit(gaussian[:100], np.array(["a", "c"] * 50))


def test_rough_rows_of_a_table_have_the_scale_of_the_teacher(tmp_path):
    """The mixture is of features as the teacher scales them: few rows, of which the two fits hold out different ones."""
    X = np.random.default_rng(0).normal(5.0, 2.0, size=(100, 3))
    train = ectype.Train(budget="1steps", device="cpu", lr=1e-12)
    teacher = ectype.DDPM(train=train, net=SMALL, random_state=100).fit(X)
    teacher.save(tmp_path)
    o = ectype.TruncatedDiffusion(teacher=str(tmp_path), train=train, net=SMALL, random_state=0).fit(X).objective_
    alone = ectype.TruncatedDiffusion(train=train, net=SMALL, random_state=0).fit(X).objective_
    assert (o.center - alone.center).abs().max() > 0.01
    rough = [made.unscaled(made.rough.sample(Rows(0, 0, 20_000), None, None, made.scaled, made.center, made.scale)) for made in (o, alone)]
    torch.testing.assert_close(rough[0].mean(0), rough[1].mean(0), atol=0.04, rtol=0)
    torch.testing.assert_close(rough[0].std(0), rough[1].std(0), atol=0.04, rtol=0)


def test_pictures_are_spread_as_training_pictures_are():
    """By as much as their number of steps needs, and less of it where there are more steps; concluding again finds the same."""
    X = np.clip(np.random.default_rng(0).normal(128, 40, (300, 1, 1)) + np.random.default_rng(1).normal(0, 10, (300, 6, 6)), 0, 255)
    model = ectype.TruncatedDiffusion(train=ectype.Train(budget="30steps"), net=SMALL, random_state=0).fit(X.astype(np.uint8))
    made = model.objective_
    for steps, k in ((1, 1), (2, 2), (3, 2), (4, 4), (8, 4)):
        plain = DDPMObjective.generate(made, Rows(0, 0, 20), None, steps=steps, sampler="dpm", eta=0.0)
        spread = made.spreads[str(k)]
        black = (made.unscaled(plain) <= -1 + EDGE / 2) & (made.unscaled(plain) >= -1)
        torch.testing.assert_close(made.between(plain)[black], ((made.unscaled(plain) + 1) / EDGE)[black], atol=1e-5, rtol=1e-4)
        expected = spread(plain, made.rough.gaps(plain), made.rough.basis, made.between(plain), k / steps)
        assert (spread.gain != 1).any() and not torch.allclose(expected, plain, atol=1e-3)
        torch.testing.assert_close(made.spread(made.generate(Rows(0, 0, 20), None, steps=steps), None, steps), expected)
    before = made.spreads["4"].gain.clone()
    x = torch.from_numpy(model.schema_.encode(X.astype(np.uint8)))
    torch.manual_seed(1)
    with torch.no_grad():
        made.conclude(x, None)
    torch.testing.assert_close(made.spreads["4"].gain, before, rtol=0.15, atol=0)     # the deviations of 1,024 rows are known to 2 %


def test_pictures_of_a_class_are_spread_as_those_of_the_class_are():
    """Classes that vary differently: the middle that a picture's deviations are from is one of its own class."""
    r = np.random.default_rng(0)
    y = np.repeat([0, 1], 150)
    X = np.clip(np.where(y, 200, 60)[:, None, None] + np.where(y, 5, 15)[:, None, None] * r.normal(size=(300, 6, 6)), 0, 255)
    model = ectype.TruncatedDiffusion(conditional=True, train=ectype.Train(budget="30steps"), net=SMALL, random_state=0)
    made = model.fit(X.astype(np.uint8), y).objective_
    given = torch.from_numpy(model.condition_.encode(pd.DataFrame({"label": [1] * 20})))
    plain = DDPMObjective.generate(made, Rows(0, 0, 20), given, steps=4, sampler="dpm", eta=0.0)
    own, other = (made.rough.gaps(plain, torch.full((20,), float(k))) for k in (1, 0))
    expected = made.spreads["4"](plain, own, made.rough.basis, made.between(plain))
    torch.testing.assert_close(made.spread(made.generate(Rows(0, 0, 20), given, steps=4), given, 4), expected)
    assert not torch.allclose(own, other, atol=0.5)
