"""The GAN: the value function and its optimum, the games, the penalty, the curve, collapse, and modes of known truths."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm
from torch import nn

import ectype
from ectype.data.schema import Schema
from ectype.data.toy import TRUTHS
from ectype.models.gan import FALLS, PATIENT, GANObjective, collapsed, relativistic_value, value
from ectype.rng import Rows
from ectype.spec import Net

from .conftest import SMALL, assert_gaussian, labels, numbers

P, Q = norm(0, 1), norm(1.0, 1.5)


def js_divergence(p, q):
    def integrand(x):
        m = np.logaddexp(p.logpdf(x), q.logpdf(x)) - np.log(2)
        return 0.5 * p.pdf(x) * (p.logpdf(x) - m) + 0.5 * q.pdf(x) * (q.logpdf(x) - m)

    return quad(integrand, -15, 15)[0]


def draws(n=400_000):
    r = np.random.default_rng(0)
    return P.rvs(n, random_state=r), Q.rvs(n, random_state=r)


def test_the_value_at_the_best_critic_is_the_js_divergence():
    """D* = p / (p + q), so its logit is log p/q; V(D*, G) = 2 JSD(p ‖ q) − log 4 (Goodfellow et al. 2014, theorem 1)."""
    x, y = draws()
    best = value(*(torch.from_numpy(P.logpdf(v) - Q.logpdf(v)) for v in (x, y))).item()
    assert best == pytest.approx(2 * js_divergence(P, Q) - np.log(4), abs=3e-3)


@pytest.mark.parametrize("change", [lambda v: v + 0.3, lambda v: 1.5 * v, lambda v: 0.5 * v, lambda v: v.clamp(-1, 1), lambda v: 0 * v])
def test_any_other_critic_has_a_lower_value(change):
    x, y = draws(100_000)
    logits = [torch.from_numpy(P.logpdf(v) - Q.logpdf(v)) for v in (x, y)]
    assert value(*map(change, logits)) < value(*logits) - 1e-4


def test_the_value_of_an_undecided_critic():
    assert value(torch.zeros(5), torch.zeros(7)).item() == pytest.approx(-np.log(4))
    extreme = value(torch.tensor([200.0]), torch.tensor([-200.0]))
    assert extreme == 0 and torch.isfinite(value(torch.tensor([-1e4]), torch.tensor([1e4])))


def gan(d=3, cond=0, **options):
    schema, x = numbers(d)
    y_schema, y = labels(k=cond) if cond else (None, None)
    torch.manual_seed(0)
    return GANObjective(schema, y_schema, 2, SMALL, options.pop("game", "non-saturating"), options.pop("penalty", 1.0)), x, y


class Constant(nn.Module):
    """A critic with the same logit everywhere."""

    def __init__(self, logit):
        super().__init__()
        self.logit = nn.Parameter(torch.tensor(float(logit)))

    def forward(self, x, c=None):
        return self.logit + 0 * x.flatten(1).sum(1, keepdim=True)


def test_the_relativistic_value_is_highest_at_the_log_of_the_density_ratio():
    """Up to a constant, which pairs cannot see."""
    x, y = draws(100_000)
    logits = [torch.from_numpy(P.logpdf(v) - Q.logpdf(v)) for v in (x, y)]
    best = relativistic_value(*logits)
    assert relativistic_value(*(v + 3.0 for v in logits)) == pytest.approx(best.item())
    for change in (lambda v: 1.5 * v, lambda v: 0.5 * v, lambda v: v.clamp(-1, 1), lambda v: v + 0.3 * v.sin()):
        assert relativistic_value(*map(change, logits)) < best - 1e-4
    assert relativistic_value(torch.zeros(5), torch.zeros(5)).item() == pytest.approx(-np.log(2))


@pytest.mark.parametrize("logit", [-4.0, 0.0, 3.0])
def test_both_games_by_hand(logit):
    """Non-saturating: −log D; minimax: log(1 − D), with D = σ(ℓ)."""
    d = 1 / (1 + np.exp(-logit))
    for game, expected in (("non-saturating", -np.log(d)), ("minimax", np.log(1 - d))):
        objective, x, _ = gan(game=game)
        objective.critic = Constant(logit)
        terms = objective.loss(x, None, "generator")
        assert terms["loss"].item() == pytest.approx(expected, rel=1e-4) and terms["d_of_fake"].item() == pytest.approx(d, rel=1e-5)
        assert all(not g.any() for g in torch.autograd.grad(terms["loss"], list(objective.generator.parameters())))     # the fixed point


def test_the_relativistic_game_by_hand():
    """Each player minimises −log σ of the difference that it wants to be large."""
    objective, x, _ = gan(game="relativistic", penalty=0.0)
    objective.critic = Linear([0.5, 0.0, -1.0])
    losses = {}
    for player in ("critic", "generator"):
        torch.manual_seed(5)
        losses[player] = objective.loss(x, None, player)["loss"].item()
    torch.manual_seed(5)
    difference = objective.logit(x, None) - objective.logit(objective._fake(len(x), None, x.device), None)
    for player, sign in (("critic", 1), ("generator", -1)):
        assert losses[player] == pytest.approx(torch.log1p(torch.exp(-sign * difference)).mean().item(), rel=1e-5)


def test_where_the_critic_wins_only_the_non_saturating_game_has_a_gradient():
    slopes = {}
    for game in ("non-saturating", "minimax"):
        objective, x, _ = gan(game=game)
        objective.critic = Linear([1.0, 0.0, 0.0], bias=-20.0)
        torch.manual_seed(1)
        gradients = torch.autograd.grad(objective.loss(x, None, "generator")["loss"], list(objective.generator.parameters()))
        slopes[game] = float(sum(g.square().sum() for g in gradients)) ** 0.5
    assert slopes["minimax"] < 1e-6 * slopes["non-saturating"]


class Linear(nn.Module):
    """A critic ℓ(x) = w·x + b."""

    def __init__(self, w, bias=0.0):
        super().__init__()
        self.w, self.b = nn.Parameter(torch.tensor(w)), nn.Parameter(torch.tensor(bias))

    def forward(self, x, c=None):
        return (x @ self.w + self.b)[:, None]


@pytest.mark.parametrize("gamma", [0.5, 10.0])
def test_the_penalty_of_a_linear_critic(gamma):
    """∇ℓ = w at every row, real and generated: γ/2 (‖w‖² + ‖w‖²)."""
    objective, x, _ = gan(penalty=gamma)
    objective.critic = Linear([1.0, -2.0, 0.5])
    terms = objective.loss(x, None, "critic")
    assert terms["penalty"].item() == pytest.approx(gamma * 5.25, rel=1e-5)
    assert terms["loss"].item() == pytest.approx(-terms["value"].item() + terms["penalty"].item(), rel=1e-5)
    (slope,) = torch.autograd.grad(terms["penalty"], [objective.critic.w])
    torch.testing.assert_close(slope, 2 * gamma * objective.critic.w.detach())      # it can be differentiated again


def test_the_penalty_differs_between_real_and_generated_rows():
    """For ℓ = ½‖x‖² the gradient is the row itself."""
    objective, x, _ = gan(penalty=2.0)

    class Square(nn.Module):
        def forward(self, f, c=None):
            return 0.5 * f.square().sum(1, keepdim=True)

    objective.critic = Square()
    torch.manual_seed(5)
    fake = objective._fake(len(x), None, x.device)
    torch.manual_seed(5)
    expected = x.square().sum(1).mean() + fake.square().sum(1).mean()
    torch.testing.assert_close(objective.loss(x, None, "critic")["penalty"], expected.detach(), rtol=1e-4, atol=1e-4)


def test_without_penalty_the_loss_is_minus_the_value():
    objective, x, _ = gan(penalty=0.0)
    terms = objective.loss(x, None, "critic")
    assert terms["penalty"] == 0 and terms["loss"] == -terms["value"]


def test_a_move_of_the_critic_leaves_the_generator_without_gradient():
    objective, x, _ = gan()
    gradients = torch.autograd.grad(objective.loss(x, None, "critic")["loss"], list(objective.generator.parameters()), allow_unused=True)
    assert all(g is None for g in gradients)


def test_both_players_see_the_condition():
    objective, x, y = gan(cond=3)
    f, other = objective.features.embed(x), (y + 1) % 3
    y, other = (objective.given(v, None) for v in (y, other))
    assert not torch.isclose(objective.logit(f, y), objective.logit(f, other)).any()
    z, u = torch.zeros(len(x), 2), torch.full((len(x), 0), 0.5)
    assert not torch.isclose(objective.generate(z, u, y), objective.generate(z, u, other)).all(1).any()


def test_of_pictures_one_row_in_four_is_penalised():
    """Its logits are those of the same rows: the value is the same as without a penalty."""
    schema, x = pictures()
    terms = {}
    for penalty in (0.0, 3.0):
        torch.manual_seed(0)
        objective = GANObjective(schema, None, 2, SMALL, "non-saturating", penalty)
        torch.manual_seed(7)
        terms[penalty] = objective.loss(x, None, "critic")
    assert terms[3.0]["value"].item() == pytest.approx(terms[0.0]["value"].item(), rel=1e-5) and terms[3.0]["penalty"] > 0

    class Sum(nn.Module):
        def forward(self, f, c=None):
            rows.append(len(f))
            return f.flatten(1).sum(1, keepdim=True)

    rows: list[int] = []
    objective.critic = Sum()
    assert objective.loss(x, None, "critic")["penalty"].item() == pytest.approx(3.0 * 16, rel=1e-5) and rows == [2 * len(x)]
    assert torch.isfinite(objective.loss(x[:1], None, "critic")["loss"])


def pictures(n=22, side=4):
    X = np.random.default_rng(0).integers(0, 256, (n, side, side)).astype(np.uint8)
    schema = Schema.fit(X)
    return schema, torch.from_numpy(schema.encode(X))


def test_the_penalty_of_pictures_falls_as_training_goes_on():
    """γ / (1 + t / FALLS); that of a table stays."""
    schema, x = pictures()
    table = gan(penalty=3.0)[0]

    class Sum(nn.Module):
        def forward(self, f, c=None):
            return f.flatten(1).sum(1, keepdim=True)

    objective = GANObjective(schema, None, 2, SMALL, "relativistic", 3.0)
    objective.critic = Sum()
    for step, part in ((0, 1.0), (FALLS, 1 / 2), (9 * FALLS, 1 / 10)):
        objective.step = table.step = step
        assert objective.loss(x, None, "critic")["penalty"].item() == pytest.approx(3.0 * 16 * part, rel=1e-5)
        assert table.gamma == 3.0


@pytest.mark.parametrize("clusters", [0, 2])
def test_both_turns_are_about_the_same_pictures(clusters):
    """What the generator made in the critic's turn is judged again in its own, beside the code of which it was made, and so is the real
    row; its gradient goes through it."""
    schema, x = pictures()
    objective = GANObjective(schema, None, 2, SMALL, "relativistic", 1.0, clusters)
    objective.prepare(x, None)
    made, told, fake, given_of = [], [], objective._fake, objective.given_of
    objective._fake = lambda *a: made.append(fake(*a)) or made[-1]
    objective.given_of = lambda *a: told.append(given_of(*a)) or told[-1]
    weights = list(objective.generator.parameters())
    torch.manual_seed(0)
    objective.loss(x, None, "critic")
    nn.init.normal_(objective.critic.head.out.weight)               # the critic has moved
    loss = objective.loss(x, None, "generator")["loss"]
    real, generated = objective.logit(objective.features.embed(x), told[0]), objective.logit(made[0], told[0])
    expected = torch.nn.functional.softplus(real - generated).mean()
    assert len(made) == len(told) == 1 and loss.item() == pytest.approx(expected.item(), rel=1e-5)
    for g, e in zip(torch.autograd.grad(loss, weights, retain_graph=True), torch.autograd.grad(expected, weights), strict=True):
        torch.testing.assert_close(g, e)
    objective.loss(x, None, "generator")
    assert len(made) == len(told) == 2                              # a turn without a critic's before it makes its own
    assert clusters == 0 or not torch.equal(*told)


def test_samples_have_the_levels_of_training_pictures():
    schema, x = pictures()
    objective = GANObjective(schema, None, 2, SMALL, "relativistic", 1.0)
    objective.conclude(x, None)
    made = objective.sample(Rows(0, 0, 5), None)
    known = {tuple(v) for v in x.flatten(1).sort(1).values.tolist()}
    assert {tuple(v) for v in made.flatten(1).sort(1).values.tolist()} <= known and not torch.equal(made[0], made[1])


def test_the_held_out_value_and_what_is_watched_are_of_one_look():
    objective, x, _ = gan()
    looks, compare = [], objective.compare
    objective.compare = lambda *a: looks.append(1) or compare(*a)
    with torch.no_grad():
        torch.manual_seed(0)
        objective.held_out(x, None)
        watched = objective.watch(x, None)
        assert len(looks) == 1
        torch.manual_seed(0)
        assert objective.watch(x, None) == watched and len(looks) == 2


def test_the_held_out_curve_and_its_figures_fall_as_samples_come_closer():
    objective, x, _ = gan()
    found = []
    for gap in (3.0, 1.0, 0.0):
        objective._fake = lambda n, given, device, gap=gap: torch.randn(n, 3, generator=torch.Generator().manual_seed(0)) + gap
        found.append({"held_out": objective.held_out(x, None).item(), **objective.watch(x, None)})
    for name, sign in (("held_out", -1), ("precision", 1), ("coverage", 1)):
        assert (np.diff([sign * f[name] for f in found]) > 0).all(), name
    assert abs(found[-1]["held_out"]) < 0.1 and found[-1]["coverage"] > 0.9 and found[-1]["diversity"] == pytest.approx(1, abs=0.1)


def test_the_held_out_curve_ranks_samples_that_miss_modes_or_lie_between_them_behind_others():
    truth, r = TRUTHS["gaussians25"], np.random.default_rng(0)
    schema = Schema.fit(truth.sample(3000, r))
    objective = GANObjective(schema, None, 2, SMALL, "non-saturating", 1.0)
    x, y = (torch.from_numpy(schema.encode(truth.sample(500, r))) for _ in range(2))
    few = truth.sample(5000, r)
    few = torch.from_numpy(schema.encode(few[truth.nearest(few)[0] < 5][:500]))
    samples = {"true": y, "blurred": y + 0.05 * torch.randn_like(y), "a tenth astray": torch.where(torch.rand(500, 1) < 0.1, y.roll(1, 1) / 2, y),
               "5 modes of 25": few, "one point": y[:1].expand(500, 2), "noise": torch.randn_like(y)}
    values, figures = {}, {}
    for name, rows in samples.items():
        objective._fake = lambda n, given, device, rows=rows: rows
        values[name], figures[name] = objective.held_out(x, None).item(), objective.watch(x, None)
    assert values["true"] < values["a tenth astray"] < min(values["blurred"], values["5 modes of 25"])
    assert max(values["5 modes of 25"], values["noise"]) < values["one point"] and values["blurred"] < values["noise"]
    assert {name for name, f in figures.items() if collapsed(f)} == {"5 modes of 25", "one point"}


def test_collapse_is_said_once_when_it_lasts():
    objective, _, _ = gan()
    good, bad = {"precision": 0.9, "coverage": 0.8, "diversity": 1.0}, {"precision": 0.95, "coverage": 0.1, "diversity": 0.6}
    assert objective.alarm([]) is None and objective.alarm([{"step": 25}] * 9) is None
    assert objective.alarm([bad] * (PATIENT - 1)) is None and objective.alarm([*[bad] * 9, good]) is None
    said = objective.alarm([good, *[bad] * PATIENT])
    assert said.startswith("mode collapse: 95% of the samples lie where rows lie, but 10% of the rows")


def test_a_collapse_is_an_event_of_the_training(monkeypatch):
    """Of a generator that cannot do anything else."""
    X = np.random.default_rng(0).normal(size=(400, 2))
    monkeypatch.setattr(GANObjective, "_fake", lambda self, n, given, device:
                        0.01 * self.generator(torch.randn(n, self.n_noise), given).float())
    told = []
    model = ectype.GAN(train=ectype.Train(budget="400steps", validation=0.5), net=SMALL, random_state=0).fit(X, progress=told.append)
    (event,) = model.events_
    assert event["event"].startswith("mode collapse") and event in told and 100 < event["step"] < 400
    assert all({"held_out", "precision", "coverage", "diversity"} <= set(record) for record in model.history_)


def test_what_lies_far_outside_of_the_rows_is_not_normal():
    r = np.random.default_rng(0)
    b = np.where(r.random(600) < 0.2, np.nan, r.normal(5, 2, 600))
    X = pd.DataFrame({"a": r.normal(size=600), "b": b, "c": r.choice(["x", "y"], 600)})
    model = ectype.GAN(train=ectype.Train(budget="60steps", validation=0), random_state=0).fit(X)
    far = pd.DataFrame({"a": [40.0, 0.0, -30.0], "b": [5.0, -100.0, np.nan], "c": ["x", "y", "x"]})
    scores = model.score_samples(X)
    assert (model.score_samples(far) < scores.min() - 5).all()
    objective, x = model.objective_, torch.from_numpy(model.schema_.encode(X))
    plain = torch.nn.functional.logsigmoid(objective.logit(objective.features.embed(x), objective.given_of(x, None)))
    np.testing.assert_allclose(scores, plain.detach().numpy(), atol=1e-5)      # of training rows it is log D alone


def test_the_score_is_the_log_of_d():
    objective, x, _ = gan()
    objective.critic = Linear([1.0, 0.0, 0.0])
    torch.testing.assert_close(objective.score(x, None, Rows(0, 0, len(x))), torch.sigmoid(x[:, 0]).log())


@pytest.fixture(scope="module")
def ring():
    truth = TRUTHS["ring8"]
    X = truth.sample(2000, np.random.default_rng(0))
    return truth, ectype.GAN(train=ectype.Train(budget="1500steps", device="cpu"), net=Net(width=(64, 64)), random_state=0).fit(X)


def test_all_modes_of_a_ring_are_found(ring):
    truth, model = ring
    X = model.sample(2000, random_state=0)
    nearest, _ = truth.nearest(X)
    shares = np.bincount(nearest, minlength=8) / 2000
    assert shares.min() > 0.03 and shares.max() < 0.3
    np.testing.assert_allclose(X.mean(), 0, atol=0.2)


@pytest.mark.parametrize("game", ["non-saturating", "relativistic", "minimax"])
def test_a_correlated_gaussian_is_learnt(game, gaussian):
    model = ectype.GAN(game=game, train=ectype.Train(budget="800steps"), net=Net(width=(32, 32)), random_state=0)
    assert_gaussian(model.fit(gaussian).sample(4000, random_state=0))
