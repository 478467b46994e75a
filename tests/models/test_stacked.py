"""The stacked autoencoder: losses of every stage, tied weights, greedy training, and what is measured on the way."""

from __future__ import annotations

import signal

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.datasets import load_digits

import ectype
from ectype.errors import InvalidParameterError
from ectype.models.stacked import Layer, StackedObjective, widths
from ectype.prob.corrupt import corrupt_codes
from ectype.spec import PRESET, Corruption, Net, Train
from ectype.train import loop
from ectype.train.loop import train

from .conftest import labels, numbers

TANH = Net(width=(6, 4), activation="tanh")
GREEDY = ["layer 1", "layer 2", "layer 3", "fine-tuning"]
QUICK = PRESET(budget="60steps", batch_size=32, lr=3e-3, device="cpu", precision="float32")


def stacked(*, condition=None, tied=True, greedy=True, corruption=Corruption(), net=TANH, d=5, latent_dim=2):
    """An objective for rows of d numbers with the layers d → 6 → 4 → latent_dim, and rows."""
    schema, x = numbers(d)
    objective = StackedObjective(schema, condition, latent_dim, net.width, tied, greedy, corruption, net, 1)
    objective.prepare(x, None)
    for layer in objective.layers:                                      # biases of zero would hide their absence
        torch.nn.init.normal_(layer.bias), torch.nn.init.normal_(layer.back_bias)
    return objective, x


def by_hand(objective, x):
    """h₁, h₂, h₃ and the way back from each, from the weights alone."""
    up = [(m.weight, m.bias) for m in objective.layers]
    down = [(m.weight.T if m.back is None else m.back, m.back_bias) for m in objective.layers]
    h1 = torch.tanh(x @ up[0][0].T + up[0][1])
    h2 = torch.tanh(h1 @ up[1][0].T + up[1][1])
    h3 = h2 @ up[2][0].T + up[2][1]                                     # the code is linear

    def back(h, start):
        for k in reversed(range(start)):
            h = h @ down[k][0].T + down[k][1]
            h = torch.tanh(h) if k else h                               # and so is the reconstruction
        return h

    return [x, h1, h2, h3], back


# -- losses -------------------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("stage", [*GREEDY, None])
def test_the_loss_of_every_stage_by_hand(stage, tied):
    objective, x = stacked(tied=tied)
    objective.stage = stage
    h, back = by_hand(objective, x)
    k = objective.layer
    if k is None:
        expected = 0.5 * (back(h[3], 3) - x).square().sum(1).mean()
    else:
        m = objective.layers[k]
        one = h[k + 1] @ (m.weight.T if tied else m.back).T + m.back_bias
        expected = 0.5 * ((torch.tanh(one) if k else one) - h[k]).square().sum(1).mean()
    objective.eval()
    with torch.no_grad():
        seen, _ = objective.view(x, None)
        torch.testing.assert_close(seen, h[k] if k else x)
    terms = objective.loss(seen, None, "model")
    assert terms["loss"].item() == terms["recon"].item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("stage", [*GREEDY, None])
def test_gradients_against_finite_differences(stage):
    """The error is summed in float32 whatever the weights are in, so that the step must not be too small."""
    objective, x = stacked()
    objective.double()
    objective.stage = stage
    x, step = x.double()[:20], 3e-3
    with torch.no_grad():
        seen, _ = objective.view(x, None)
    parameters = [p for m in objective.players().values() for p in m.parameters()]
    gradients = torch.autograd.grad(objective.loss(seen, None, "model")["loss"], parameters)
    for p, g in zip(parameters, gradients, strict=True):
        for i in (0, p.numel() - 1):
            place = np.unravel_index(i, p.shape)
            losses = []
            for sign in (1, -1):
                with torch.no_grad():
                    p[place] += sign * step
                    losses.append(objective.loss(seen, None, "model")["loss"].item())
                    p[place] -= sign * step
            assert g[place].item() == pytest.approx((losses[0] - losses[1]) / (2 * step), rel=2e-3, abs=3e-4)


@pytest.mark.parametrize("kind", ["gaussian", "masking"])
def test_every_stage_is_corrupted_in_and_clean_out(kind):
    corruption = Corruption(kind=kind, level=0.4)
    objective, x = stacked(corruption=corruption)
    for stage in GREEDY:
        objective.stage = stage
        k = objective.layer
        with torch.no_grad():
            seen, _ = objective.view(x, None)
        torch.manual_seed(1)
        value = objective.loss(seen, None, "model")["loss"]
        torch.manual_seed(1)
        dirty = corrupt_codes(seen, corruption) if k else objective.corrupt(x)
        back = objective.pass_through(dirty, None) if k is None else objective._layer_down(k, objective._layer_up(k, dirty, None), None)
        assert not torch.equal(dirty, seen) and value.item() == pytest.approx(0.5 * (back - seen).square().sum(1).mean().item(), rel=1e-6)


def test_a_condition_enters_the_first_layer_and_the_way_back():
    condition, c = labels()
    objective, x = stacked(condition=condition)
    e = objective.embed_condition(c)
    m = objective.layers
    h1 = torch.tanh(m[0].up(x) + e @ objective.condition_up.weight.T)
    h3 = m[2].up(torch.tanh(m[1].up(h1)))
    torch.testing.assert_close(objective.code(x, e), h3)
    back = torch.tanh(m[2].down(h3) + e @ objective.condition_down.weight.T)
    torch.testing.assert_close(objective.rebuild(h3, e), m[0].down(torch.tanh(m[1].down(back))))
    owners = []
    for stage in GREEDY:
        objective.stage = stage
        owned = {id(p) for p in objective.players()["model"].parameters()}
        owners.append([id(objective.condition_up.weight) in owned, id(objective.condition_down.weight) in owned])
    assert owners == [[True, False], [False, False], [False, True], [True, True]]


def test_dropout_silences_hidden_units_and_not_what_is_compared():
    """Of the reconstruction of a layer nothing is left out: a silenced output could never equal its target."""
    objective, x = stacked(net=TANH(dropout=0.5))
    objective.stage = "layer 2"
    with torch.no_grad():
        seen, _ = objective.eval().view(x, None)
    objective.train()
    assert (objective._layer_up(1, seen, None) == 0).float().mean().item() == pytest.approx(0.5, abs=0.1)
    assert (objective._layer_down(1, objective._layer_up(1, seen, None), None) != 0).all()
    objective.stage = None
    a, b = (objective.loss(x, None, "model")["loss"] for _ in range(2))
    objective.eval()
    assert a != b and objective.loss(x, None, "model")["loss"] == objective.loss(x, None, "model")["loss"]


# -- tied weights -------------------------------------------------------------------------------------------------------------------------

def test_tied_weights_are_one_storage_and_free_ones_two():
    tied, free = (stacked(tied=t)[0] for t in (True, False))
    sizes = [(6, 5), (4, 6), (2, 4)]
    weights = sum(n * k for n, k in sizes)
    biases = sum(n + k for n, k in sizes)
    assert sum(p.numel() for p in tied.parameters()) == weights + biases and sum(p.numel() for p in free.parameters()) == 2 * weights + biases
    assert all(m.back is None for m in tied.layers) and all(m.back.shape == m.weight.T.shape for m in free.layers)
    with torch.no_grad():
        h = torch.randn(3, 6)
        before = tied.layers[0].down(h)
        tied.layers[0].weight[0, 0] += 1.0                              # of the encoder
        assert torch.allclose(tied.layers[0].down(h)[:, 0], before[:, 0] + h[:, 0])     # moves the decoder
        before = free.layers[0].down(h)
        free.layers[0].weight[0, 0] += 1.0
        assert torch.equal(free.layers[0].down(h), before)


def test_the_gradient_of_a_tied_weight_is_the_sum_of_both_uses():
    torch.manual_seed(0)
    tied, free = Layer(4, 3, tied=True), Layer(4, 3, tied=False)
    with torch.no_grad():
        free.weight.copy_(tied.weight), free.back.copy_(tied.weight.T)
    x = torch.randn(10, 4)
    grads = [torch.autograd.grad((m.down(torch.tanh(m.up(x))) - x).square().sum(), [m.weight, *([] if m.back is None else [m.back])]) for m in (tied, free)]
    torch.testing.assert_close(grads[0][0], grads[1][0] + grads[1][1].T)


@pytest.mark.parametrize("tied", [True, False])
def test_after_save_and_load_too(tied, tmp_path):
    X = np.random.default_rng(0).normal(size=(60, 5))
    model = ectype.StackedAutoencoder(tied=tied, net=TANH, random_state=0, train=Train(budget="20steps")).fit(X)
    twin = ectype.load(model.save(tmp_path))
    stored = [k for k in load_file(tmp_path / "model.safetensors") if k.endswith((".weight", ".back"))]
    assert len(stored) == (3 if tied else 6)
    for m in (model, twin):
        assert [layer.back is None for layer in m.objective_.layers] == [tied] * 3
        assert m.n_parameters_saved_ == (sum(layer.weight.numel() for layer in m.objective_.layers) if tied else 0)
    layer = twin.objective_.layers[0]
    with torch.no_grad():
        before = layer.down(torch.ones(1, 6))
        layer.weight.zero_()
        assert torch.equal(layer.down(torch.ones(1, 6)), layer.back_bias[None] if tied else before)


# -- greedy training ------------------------------------------------------------------------------------------------------------------------

class Watch(StackedObjective):
    """Keeps the weights at every step, by stage."""

    def loss(self, x, c, player):
        if self.training:
            self.seen.setdefault(self.stage, []).append({k: v.detach().clone() for k, v in self.named_parameters()})
        return super().loss(x, c, player)


@pytest.mark.parametrize("tied", [True, False])
def test_layers_that_are_not_trained_stay_bit_for_bit_as_they_are(tied):
    schema, x = numbers(5)
    objective = Watch(schema, None, 2, TANH.width, tied, True, Corruption(), TANH, 1)
    objective.seen = {}
    train(objective, x, None, QUICK, 0)
    assert list(objective.seen) == GREEDY
    for k, stage in enumerate(GREEDY):
        first, last = objective.seen[stage][0], objective.seen[stage][-1]
        for name in first:
            moved = stage == "fine-tuning" or name.startswith(f"layers.{k}.")
            assert torch.equal(first[name], last[name]) != moved, (stage, name)


def test_the_error_after_a_stage_is_that_of_the_layers_so_far(monkeypatch):
    schema, x = numbers(5, n=300)
    objective = StackedObjective(schema, None, 2, TANH.width, True, True, Corruption(), TANH, 1)
    expected = []
    measure = objective.measure

    def watched(rows, c):
        k = 3 if objective.layer is None else objective.layer + 1
        h, back = by_hand(objective, rows)
        expected.append(0.5 * (back(h[k], k) - rows).square().sum(1).mean().item())
        return measure(rows, c)

    monkeypatch.setattr(objective, "measure", watched)
    outcome = train(objective, x, None, QUICK, 0)
    assert [s["stage"] for s in outcome.stages] == GREEDY
    np.testing.assert_allclose([s["measured"]["reconstruction"] for s in outcome.stages], expected, rtol=1e-5)


def test_the_last_measured_error_is_that_of_the_scores():
    X = np.random.default_rng(0).normal(size=(300, 5))
    model = ectype.StackedAutoencoder(net=TANH, random_state=0, train=Train(budget="100steps")).fit(X)
    assert model.stages_[-1]["measured"]["reconstruction"] == pytest.approx(-model.held_out_scores_.mean(), rel=1e-5)


@pytest.mark.parametrize("at", [8, 12, 20])
def test_a_fit_goes_on_in_the_middle_of_a_stage(at, tmp_path, monkeypatch):
    """With dropout and corruption, which draw noise at every step; in the second, at the end of it, and in the last."""
    monkeypatch.setattr(loop, "REPORT_EVERY_S", -1.0)
    X = np.random.default_rng(0).normal(size=(60, 5))

    def fit(**options):
        return ectype.StackedAutoencoder(net=TANH(dropout=0.2), corruption=Corruption(kind="masking", level=(0.0, 0.5)), random_state=0,
                                         train=Train(budget="6+6+6+12steps", batch_size=16)).fit(X, **options)

    def stop(event):
        if event["step"] == at:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        fit(run=tmp_path, progress=stop)
    whole, resumed = fit(), fit(run=tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(whole.objective_.state_dict().values(), resumed.objective_.state_dict().values(), strict=True))
    assert [(s["stage"], s["steps"], s["measured"]) for s in resumed.stages_] == [(s["stage"], s["steps"], s["measured"]) for s in whole.stages_]


def test_greedy_training_is_one_switch():
    X = np.random.default_rng(0).normal(size=(200, 5))
    greedy, whole = (ectype.StackedAutoencoder(greedy=g, net=TANH, random_state=0, train=Train(budget="100steps")).fit(X) for g in (True, False))
    assert [s["stage"] for s in greedy.stages_] == GREEDY and [s["steps"] for s in greedy.stages_] == [13, 14, 13, 60]
    assert [s["stage"] for s in whole.stages_] == ["end to end"] and whole.stages_[0]["steps"] == 100
    assert greedy.n_steps_ == whole.n_steps_ == 100 and greedy.n_parameters_ == whole.n_parameters_
    assert greedy.budget_steps_ == "13+14+13+60" and whole.budget_steps_ == 100


def test_every_stage_learns():
    """On digits: each layer's curve falls, more layers lose more, and the fine-tuning wins back more than the last layer lost."""
    model = ectype.StackedAutoencoder(latent_dim=10, net=Net(width=(64, 32)), random_state=0,
                                      train=Train(budget="300+300+300+600steps", lr=3e-3)).fit(load_digits().images)
    for stage in GREEDY:
        curve = [r["held_out"] for r in model.history_ if r["stage"] == stage]
        assert curve[-1] < 0.9 * curve[0]
    errors = [s["measured"]["reconstruction"] for s in model.stages_]
    assert errors[0] < errors[1] < errors[2] and errors[3] < 0.8 * errors[2]


def test_denoising_with_a_stack():
    X = load_digits().images
    model = ectype.StackedAutoencoder(latent_dim=32, net=Net(width=(128,)), corruption=Corruption(kind="masking", level=0.3), random_state=0,
                                      train=Train(budget="600steps", lr=3e-3)).fit(X[:1500])
    noisy = X[1500:] * (np.random.default_rng(0).random(X[1500:].shape) > 0.3)
    assert np.square(model.denoise(noisy) - X[1500:]).mean() < 0.7 * np.square(noisy - X[1500:]).mean()


# -- refusals -------------------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("change", "refused"), [
    ({}, True), ({"corruption": Corruption(kind="masking", level=0.0)}, True), ({"corruption": Corruption(kind="masking", level=0.2)}, False),
    ({"net": TANH(dropout=0.2)}, False), ({"latent_dim": 4}, False)], ids=["plain", "level zero", "corruption", "dropout", "narrower"])
def test_a_code_as_wide_as_the_row(change, refused):
    X = np.random.default_rng(0).normal(size=(40, 5))
    model = ectype.StackedAutoencoder(**{"latent_dim": 5, "net": TANH, "train": Train(budget="8steps"), **change})
    if refused:
        with pytest.raises(InvalidParameterError, match=r"expected latent_dim < 5 \(the features of a row\), got 5\nhint: .*corruption, or dropout"):
            model.fit(X)
    else:
        assert np.isfinite(model.fit(X).score_samples(X)).all()


def test_convolutions_are_refused():
    with pytest.raises(InvalidParameterError, match=r"layers of a stacked autoencoder are perceptrons.*\nhint: .*the model conv"):
        ectype.StackedAutoencoder(net=Net(kind="conv")).fit(load_digits().images[:50])


def test_a_budget_of_another_number_of_stages_is_said():
    with pytest.raises(InvalidParameterError, match="another number of stages: expected 4, or one number, got 5\\+5"):
        ectype.StackedAutoencoder(net=TANH, train=Train(budget="5+5steps")).fit(np.random.default_rng(0).normal(size=(40, 5)))


@pytest.mark.parametrize(("features", "latent_dim", "expected"), [(4, 2, (64, 32, 16)), (784, 30, (1024, 512, 256)), (64, 32, (128, 64, 32)),
                                                                 (30, 20, (64, 32)), (10, 100, (100,))])
def test_default_widths_halve_down_to_the_code(features, latent_dim, expected):
    assert widths(features, latent_dim) == expected
