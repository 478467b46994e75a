"""The classifier from few labels: its two losses, what it trains and what it leaves alone, labels, files, scikit-learn's grammar."""

import json
import signal

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.neighbors import NearestNeighbors
from sklearn.utils.estimator_checks import parametrize_with_checks

import ectype
from ectype import PretrainedClassifier, registry
from ectype.data.schema import Schema
from ectype.errors import CapabilityError, DataError, InvalidParameterError, SavedModelError
from ectype.spec import Net, Train
from ectype.uses.classifier import (
    HEAD_RATE,
    TEMPERATURE,
    ClassifierObjective,
    Encoding,
    NeighbourObjective,
    balanced_draw,
    contrast,
    indices_of,
    learning_curve,
    mutual,
    nearest,
)

view = NeighbourObjective.view

TINY = Train(budget="20steps", batch_size=16, device="cpu", precision="float32")
SHORT = Train(budget="30steps", device="cpu", precision="float32")
SMALL = Net(width=(8,))


def encoder(name="autoencoder", **params):
    """A small encoder of a family, untrained."""
    size = {} if name == "flow" else {"latent_dim": 2}
    net = {} if name in ("linear", "flow") else {"net": SMALL}
    return registry.load(name)(**{"train": TINY, "random_state": 0, **size, **net, **params})


def classifier(start=None, **params):
    return PretrainedClassifier(start or encoder(), **{"train": SHORT, "random_state": 0, **params})


def clumps(n=120, classes=3, seed=0):
    """Rows of four numbers around a centre for each class."""
    r = np.random.default_rng(seed)
    y = np.arange(n) % classes
    centres = 3 * r.normal(size=(classes, 4))
    return centres[y] + r.normal(size=(n, 4)), y


X, Y = clumps()
PARTLY = np.where(np.arange(120) < 60, Y, -1)


def weights(module):
    return {k: v.clone() for k, v in module.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


# -- the losses ----------------------------------------------------------------------------------------------------------------------


def test_the_contrast_against_its_equation():
    r = np.random.default_rng(0)
    u, v = (a / np.linalg.norm(a, axis=1, keepdims=True) for a in r.normal(size=(2, 5, 3)))
    e = np.exp(u @ v.T / 0.2)
    expected = -0.5 * (np.log(np.diag(e) / e.sum(1)) + np.log(np.diag(e) / e.sum(0))).mean()
    assert float(contrast(torch.tensor(u), torch.tensor(v), 0.2)) == pytest.approx(expected, rel=1e-5)
    assert float(contrast(torch.ones(7, 1), torch.ones(7, 1), 0.5)) == pytest.approx(np.log(7), rel=1e-6)     # all alike: chance
    with torch.autocast("cpu", torch.bfloat16):
        assert float(contrast(torch.tensor(u), torch.tensor(v), 0.2)) == pytest.approx(expected, rel=1e-5)


def test_nearest_are_scikit_learns():
    u = torch.nn.functional.normalize(torch.randn(300, 5, generator=torch.Generator().manual_seed(0)), dim=1)
    expected = NearestNeighbors(n_neighbors=5).fit(u.numpy()).kneighbors(return_distance=False)
    np.testing.assert_array_equal(nearest(u, 5, rows=64).numpy(), expected)
    kept = mutual(torch.from_numpy(expected)).numpy()
    for i, (row, before) in enumerate(zip(kept, expected, strict=True)):
        both = [j for j in before if i in expected[j]] or [i]
        assert row.tolist() == (both * 5)[:5]
    assert (kept != expected).mean() > 0.1
    assert mutual(torch.tensor([[1, 3], [0, 2], [3, 1], [1, 0]])).tolist() == [[1, 3], [0, 2], [1, 1], [0, 0]]
    assert mutual(torch.tensor([[1], [0], [1]])).tolist() == [[1], [0], [2]]            # none wants the third row


def test_at_most_so_many_rows_take_part_in_the_agreement(monkeypatch):
    monkeypatch.setattr("ectype.uses.classifier.MOST_NEIGHBOURED", 20)
    seen = []
    monkeypatch.setattr(NeighbourObjective, "view", lambda self, x, c: seen.append(len(x)) or view(self, x, c))
    classifier(neighbours=50, agreement=SHORT).fit_codes(X)
    assert seen == [20]


@pytest.fixture(scope="module")
def settled():
    """An objective of a family for ``X``, its rows stored, and the encoding settled on them."""
    schema = Schema.fit(X)
    x = torch.from_numpy(schema.encode(X))
    torch.manual_seed(0)
    return schema, x, Encoding(encoder().build(schema, None)).settle(x)


def test_codes_are_standardised_as_a_whole(settled):
    _, x, encoding = settled
    h = encoding.encoder.encode(x, None).detach()
    np.testing.assert_allclose(encoding(x).detach(), (h - h.mean(0)) / (h - h.mean(0)).square().mean().sqrt(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stage", ["head", "fine-tuning"])
def test_the_cross_entropy_against_its_equation(settled, stage):
    schema, x, encoding = settled
    objective = ClassifierObjective(schema, encoding, 3, True, 0.0).eval()
    objective.stage = stage
    c = torch.from_numpy(Y)[:, None]
    seen, _ = objective.view(x, c)
    assert objective.loss(seen, c, "model")["loss"].item() == pytest.approx(np.log(3), rel=1e-6)      # before training: chance
    torch.nn.init.normal_(objective.head.weight, generator=torch.Generator().manual_seed(0))
    h = encoding(x).detach().double().numpy()
    z = HEAD_RATE * (h @ objective.head.weight.detach().double().numpy().T)
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    assert objective.loss(seen, c, "model")["loss"].item() == pytest.approx(-np.log(p[np.arange(120), Y]).mean(), rel=1e-4)
    np.testing.assert_allclose(objective.probabilities(x).detach(), p, atol=1e-5)
    with torch.no_grad():
        assert objective.measure(x, c)["errors"] == pytest.approx((p.argmax(1) != Y).mean(), abs=1e-6)


def test_dropout_acts_in_training_alone(settled):
    schema, x, encoding = settled
    objective = ClassifierObjective(schema, encoding, 3, True, 0.5)
    torch.nn.init.normal_(objective.head.weight)
    c = torch.from_numpy(Y)[:, None]
    losses = [float(objective.train(mode).loss(x, c, "model")["loss"].detach()) for mode in (False, False, True, True)]
    assert losses[0] == losses[1] and len(set(losses)) == 3


def test_neighbours_are_partners(settled):
    schema, x, encoding = settled
    objective = NeighbourObjective(schema, encoding, 1).eval()
    _, c = objective.view(x, None)
    u = objective.direction(x).detach()
    assert float(objective.loss(x, c, "model")["loss"].detach()) == pytest.approx(float(contrast(u, u[c[:, 0]], TEMPERATURE)), rel=1e-5)


# -- what is trained -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n in registry.names() if "encode" in registry.load(n).capabilities and n not in ("conv",)])
def test_only_what_the_code_needs_is_trained(name):
    schema = Schema.fit(X)
    x = torch.from_numpy(schema.encode(X))
    objective = encoder(name).build(schema, None)
    torch.manual_seed(0)
    objective.prepare(x, None)
    code = Encoding(objective).settle(x)
    before = code(x).detach()
    for p in objective.parameters():
        if not p.requires_grad:
            p.data.add_(1.0)
    assert torch.equal(code(x), before) and any(p.requires_grad for p in objective.parameters())
    needed = [p for p in objective.parameters() if p.requires_grad]
    assert all(g is not None for g in torch.autograd.grad(code(x).square().sum(), needed))


def test_the_encoder_is_fitted_on_all_rows_labelled_or_not():
    model = classifier().fit(X, PARTLY)
    alone = encoder().fit(X)
    assert same(weights(model.encoder_.objective_), weights(alone.objective_)) and model.n_labelled_ == 60
    assert same(weights(model.pretrained_.encoder), weights(alone.objective_))
    assert not hasattr(model.encoder, "objective_")


@pytest.mark.parametrize("fine_tune", [True, False])
def test_weights_are_copied_and_frozen_ones_stay(fine_tune):
    start = encoder().fit(X)
    before = weights(start.objective_)
    model = classifier(start, prefit=True, fine_tune=fine_tune).fit(X, PARTLY)
    assert same(weights(start.objective_), before)                                  # the one that was given
    assert same(weights(model.pretrained_.encoder), before)
    assert same(weights(model.objective_.encoding.encoder), before) != fine_tune    # the copy
    moved = {k for k, v in model.objective_.encoding.encoder.state_dict().items() if not torch.equal(v, before[k])}
    assert all(k.startswith("encoder.") for k in moved)                             # never the decoder
    assert [s["stage"] for s in model.stages_] == (["head", "fine-tuning"] if fine_tune else ["head"])
    assert model.n_parameters_ == sum(p.numel() for p in model.objective_.parameters() if p.requires_grad)


def test_without_pretraining_the_same_network_at_random():
    model, other = classifier(pretrain=False, neighbours=5).fit(X, PARTLY), classifier().fit(X, PARTLY)
    a, b = weights(model.pretrained_.encoder), weights(other.pretrained_.encoder)
    assert {k: v.shape for k, v in a.items()} == {k: v.shape for k, v in b.items()} and not same(a, b)
    assert not hasattr(model, "encoder_") and model.agreement_history_ == []


def test_a_vae_gives_the_mean():
    model = classifier(encoder("vae"), fine_tune=False).fit(X, PARTLY)
    h = torch.from_numpy(model.encoder_.transform(X))
    np.testing.assert_allclose(model.objective_.encoding(torch.from_numpy(model.schema_.encode(X))).detach(),
                               (h - model.objective_.encoding.center) / model.objective_.encoding.spread, atol=1e-5)


def test_agreement_moves_neighbours_together():
    start = encoder(latent_dim=3).fit(X)
    h = torch.from_numpy(start.transform(X))
    pairs = nearest(torch.nn.functional.normalize(h - h.mean(0), dim=1), 5)
    x = torch.from_numpy(start.schema_.encode(X))

    def apart(model):
        u = torch.nn.functional.normalize(model.pretrained_(x), dim=1).detach()
        return np.mean([float(contrast(u, u[pairs[:, i]], TEMPERATURE)) for i in range(5)])

    plain = classifier(start, prefit=True).fit_codes(X)
    agreed = classifier(start, prefit=True, neighbours=5, agreement=SHORT(budget="60steps", lr=1e-2)).fit_codes(X)
    assert apart(agreed) < apart(plain) - 0.02 and agreed.agreement_s_ > 0
    assert agreed.agreement_history_[-1]["agreement"] < agreed.agreement_history_[0]["agreement"]
    assert same(weights(start.objective_), weights(plain.pretrained_.encoder))


def test_labels_may_come_later():
    model = classifier().fit_codes(X)
    with pytest.raises(NotFittedError):
        model.predict(X)
    first = model.fit_labels(X, PARTLY).predict_proba(X)
    model.fit_labels(X[:50], np.where(Y[:50] == 2, 0, Y[:50]))
    assert model.classes_.tolist() == [0, 1] and model.n_labelled_ == 50
    np.testing.assert_array_equal(model.fit_labels(X, PARTLY).predict_proba(X), first)
    np.testing.assert_array_equal(classifier().fit(X, PARTLY).predict_proba(X), first)
    with pytest.raises(NotFittedError):
        classifier().fit_labels(X, PARTLY)


def test_every_setting_matters():
    base = classifier().fit(X, PARTLY).predict_proba(X)
    changes = [{"dropout": 0.0}, {"fine_tune": False}, {"pretrain": False}, {"neighbours": 4, "agreement": SHORT}, {"train": SHORT(lr=1e-2)},
               {"random_state": 1}, {"start": encoder(latent_dim=3)}]
    for change in changes:
        assert not np.array_equal(classifier(**change).fit(X, PARTLY).predict_proba(X), base), change


def test_the_seed_decides_also_an_encoder_without_one():
    a, b = (classifier(encoder(random_state=None), random_state=s).fit(X, PARTLY).predict_proba(X) for s in (5, 5))
    np.testing.assert_array_equal(a, b)
    state = torch.get_rng_state()
    classifier(neighbours=3, agreement=SHORT).fit(X, PARTLY)
    assert torch.equal(torch.get_rng_state(), state)


def test_many_labels_hold_some_out(monkeypatch):
    monkeypatch.setattr("ectype.uses.classifier.MANY_LABELS", 100)
    assert classifier().fit(X, Y).train_.validation == 0.1 and classifier().fit(X, PARTLY).train_.validation == 0
    assert classifier(train=SHORT(validation=0.3)).fit(X, PARTLY).train_.validation == 0.3


# -- what it is for ------------------------------------------------------------------------------------------------------------------


def test_pretraining_and_neighbours_help_where_labels_are_few():
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.images))
    train, test = order[:1200], order[1200:]
    y = np.full(1200, -1)
    rows = balanced_draw(digits.target[train], 10, 30, np.random.default_rng(1))
    y[rows] = digits.target[train][rows]
    start = ectype.Autoencoder(latent_dim=16, net=Net(kind="mlp", width=(128,)), train=Train(budget="600steps", patience=0.0), random_state=0)
    start.fit(digits.images[train])
    settings = {"prefit": True, "train": Train(budget="200steps"), "random_state": 0}
    score = {name: PretrainedClassifier(start, **settings, **more).fit(digits.images[train], y).score(digits.images[test], digits.target[test])
             for name, more in {"untrained": {"pretrain": False}, "pretrained": {},
                                "agreed": {"neighbours": 10, "agreement": Train(budget="800steps")}}.items()}
    assert score["agreed"] >= 0.85 and score["agreed"] >= score["pretrained"] + 0.03 >= score["untrained"] + 0.04, score


def test_the_learning_curve():
    base = classifier()
    curve = learning_curve(base, X[:90], np.where(np.arange(90) % 7, Y[:90], -1), [3, 30], X_test=X[90:], y_test=Y[90:], draws=2)
    assert list(curve.columns) == ["labels", "draw", "pretrained", "error"] and len(curve) == 8
    assert curve["error"].between(0, 1).all() and curve["labels"].tolist() == [3, 3, 30, 30] * 2
    assert not hasattr(base, "classes_")
    again = learning_curve(base, X[:90], Y[:90], [30], X_test=X[90:], y_test=Y[90:], draws=1, untrained=False)
    assert again["pretrained"].tolist() == [True]
    start = encoder().fit(X)
    fitted = learning_curve(classifier(start, prefit=True), X, Y, [3], X_test=X, y_test=Y, draws=1)
    assert fitted["pretrained"].tolist() == [True, False]
    with pytest.raises(InvalidParameterError, match="expected 3"):
        learning_curve(base, X, Y, [2], X_test=X, y_test=Y)


def test_the_learning_curve_of_random_weights_says_so():
    never = learning_curve(classifier(pretrain=False), X, Y, [3], X_test=X, y_test=Y, draws=1)
    beside = learning_curve(classifier(), X, Y, [3], X_test=X, y_test=Y, draws=1)
    assert never["pretrained"].tolist() == [False]
    assert never["error"].tolist() == beside.loc[~beside["pretrained"], "error"].tolist()


def test_the_learning_curve_encodes_the_labelled_rows_only(monkeypatch):
    encode, sizes, kinds = Schema.encode, [], []
    fit = Schema.fit
    monkeypatch.setattr(Schema, "encode", lambda self, rows: sizes.append(len(rows)) or encode(self, rows))
    monkeypatch.setattr(Schema, "fit", lambda rows, **given: kinds.append(given["kinds"]) or fit(rows, **given))
    learning_curve(classifier(pretrain=False), TABLE, Y, [3, 6], X_test=TABLE[:7], y_test=Y[:7], draws=2, kinds={"weight": "numeric"})
    assert sizes == [120, 3, 7, 3, 7, 6, 7, 6, 7] and kinds == [{"weight": "numeric"}]


def test_draws_have_every_class_in_equal_shares():
    indices = np.array([0] * 50 + [1] * 30 + [2] * 2 + [-1] * 20)
    for count, expected in ((3, [1, 1, 1]), (6, [2, 2, 2]), (10, [4, 4, 2])):
        rows = balanced_draw(indices, 3, count, np.random.default_rng(0))
        assert len(set(rows)) == count and np.bincount(indices[rows]).tolist() == expected


# -- data and labels -----------------------------------------------------------------------------------------------------------------


TABLE = pd.DataFrame({"amount": X[:, 0], "weight": X[:, 1], "city": np.array(["Rome", "Oslo", None], dtype=object)[np.arange(120) % 3]})
PICTURES = np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8)


@pytest.mark.parametrize(("rows", "kinds", "name"), [(TABLE, None, "stacked"), (PICTURES, None, "autoencoder"), (X, "signal", "autoencoder"),
                                                     (np.repeat(PICTURES[..., None], 3, axis=3), None, "vae")])
def test_tables_images_signals(rows, kinds, name):
    y = np.array(["ant", "bee"])[np.arange(len(rows)) % 2].astype(object)
    y[::3] = None
    model = classifier(encoder(name)).fit(rows, y, kinds=kinds)
    p = model.predict_proba(rows)
    assert p.shape == (len(rows), 2) and model.classes_.tolist() == ["ant", "bee"]
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-12)
    np.testing.assert_allclose(model.predict_proba(rows[:3]), p[:3], atol=1e-6)
    np.testing.assert_array_equal(model.predict(rows), model.classes_[p.argmax(1)])
    assert model.score(rows, y) == pytest.approx(np.mean(model.predict(rows)[y != None] == y[y != None]))     # noqa: E711


@pytest.mark.parametrize(("y", "classes"), [
    ([0, 1, -1, 1], [0, 1]), (["a", "b", None, "b"], ["a", "b"]), (np.array(["a", "b", -1, "b"]), ["a", "b"]),
    (pd.Series(["a", "b", np.nan, "b"]), ["a", "b"]), ([0.0, 1.0, np.nan, 1.0], [0.0, 1.0]), (pd.Series([3, 4, None, 4], dtype="Int64"), [3, 4]),
    (pd.Series(["a", "b", None, "b"], dtype="category"), ["a", "b"]), (np.array([0, 1, None, 1], dtype=object), [0, 1]),
])
def test_labels(y, classes):
    found, indices = indices_of(y, 4)
    assert found.tolist() == classes and indices.tolist() == [0, 1, -1, 1]


def test_many_classes_of_few_rows_are_learnt_without_a_word():
    """Where half of the labels are different, scikit-learn would warn of a regression; warnings are errors here."""
    for y in ([f"key {i}" for i in range(60)], np.arange(60)):
        assert len(indices_of(y, 60)[0]) == 60


def test_many_whole_numbers_are_classes_if_they_have_rows():
    assert len(indices_of(np.repeat(np.arange(150), 4), 600)[0]) == 150
    with pytest.raises(DataError, match="quantities"):
        indices_of(np.arange(150), 150)


@pytest.mark.parametrize(("y", "said"), [
    (np.full(120, -1), "no row is labelled"), (np.where(Y == 0, 0, -1), "one class only"), (Y[:50], "differ in length"),
    (X[:, 0], r"quantities, and classification needs classes: .*at most 100 different whole numbers, or more .*, got 120 different numbers"), (None, "requires y"), (np.column_stack([Y, Y]), "1d array"),
    (["a", 1, None] * 40, "labels of one type.*: expected texts only, or numbers only, got int and text\\nhint: "),
    ([True, "a", None] * 40, "labels of one type.*got bool and text"),
    (pd.Series(np.arange(120) * 50, name="price"), r"got 120 different numbers, such as 0, 50, 100\nhint: .*--kind price=categorical\)"),
])
def test_labels_that_cannot_be_learnt(y, said):
    model = classifier()
    with pytest.raises(DataError, match=said):
        model.fit(X, y)
    assert not hasattr(model, "schema_")         # found before anything was trained


def test_score_leaves_unlabelled_rows_out():
    model = classifier().fit(X, PARTLY)
    assert model.score(X, PARTLY) == pytest.approx(np.mean(model.predict(X[:60]) == Y[:60]))
    with pytest.raises(DataError, match="no row is labelled"):
        model.score(X, np.full(120, -1))
    with pytest.raises(DataError, match="labels of one type"):
        model.score(X, ["a", 1, None] * 40)


def test_score_counts_classes_that_fit_never_saw_as_errors():
    model = classifier().fit(X, PARTLY)
    hits = (model.predict(X) == Y) & (Y != 1)
    assert 0 < hits.mean() < 1
    with pytest.warns(UserWarning, match=r"not there in fit \(7\).*fit saw 0, 1, 2"):
        assert model.score(X, np.where(Y == 1, 7, Y)) == pytest.approx(hits.mean())
    with pytest.warns(UserWarning, match=r"not there in fit \(a, b\)"):
        assert model.score(X[:3], ["a", "b", None]) == 0
    late = np.where(np.arange(120) < 60, Y, Y % 2)              # the third class is in the first half only
    with pytest.warns(UserWarning, match=r"not there in fit \(2\)"):
        scores = cross_val_score(classifier(), X, late, cv=KFold(2), error_score="raise")
    first = classifier().fit(X[60:], late[60:])
    assert scores[0] == pytest.approx(np.mean(first.predict(X[:60]) == Y[:60]))


def test_score_weighs_rows_as_scikit_learn_does():
    model = classifier().fit(X, PARTLY)
    w = np.random.default_rng(0).random(120)
    assert model.score(X, Y, w) == pytest.approx(accuracy_score(Y, model.predict(X), sample_weight=w))
    assert model.score(X, PARTLY, sample_weight=w) == pytest.approx(accuracy_score(Y[:60], model.predict(X[:60]), sample_weight=w[:60]))
    assert model.score(X, Y, w) != model.score(X, Y)
    for bad, said in ((w[:5], "expected 120 weights, got 5"), (-w, "finite numbers >= 0"), (np.where(PARTLY < 0, 1.0, 0.0), "has a weight"),
                      (["x"] * 120, "a number for each row")):
        with pytest.raises(DataError, match=said):
            model.score(X, PARTLY, sample_weight=bad)


def test_encoders_that_cannot_be_used():
    with pytest.raises(CapabilityError, match="GAN cannot encode\nhint: these can: autoencoder"):
        classifier(ectype.GAN()).fit(X, Y)
    with pytest.raises(InvalidParameterError, match="conditional"):
        classifier(encoder(conditional=True)).fit(X, Y)
    with pytest.raises(InvalidParameterError, match="encoder is no model"):
        classifier(LogisticRegression()).fit(X, Y)
    with pytest.raises(NotFittedError, match="FrozenEstimator"):
        classifier(prefit=True).fit(X, Y)
    with pytest.raises(InvalidParameterError, match="no kinds with prefit"):
        classifier(encoder().fit(X), prefit=True).fit(X, Y, kinds={"0": "categorical"})
    with pytest.raises(DataError):
        classifier(encoder().fit(X[:, :3]), prefit=True).fit(X, Y)
    with pytest.raises(InvalidParameterError, match="'neighbours' parameter of PretrainedClassifier"):
        classifier(neighbours=-1).fit(X, Y)


def test_ctrl_c_leaves_a_usable_classifier(monkeypatch):
    monkeypatch.setattr("ectype.train.loop.REPORT_EVERY_S", 0.0)

    pressed = []

    def press(event):
        if event["part"] == "classes" and event["step"] == 12 and not pressed:
            pressed.append(12)
            signal.raise_signal(signal.SIGINT)

    model = classifier()
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, PARTLY, progress=press)
    assert model.interrupted_ and model.n_steps_ == 12 and model.predict(X).shape == (120,)


def test_progress_names_the_part(monkeypatch):
    monkeypatch.setattr("ectype.train.loop.REPORT_EVERY_S", 0.0)
    parts = []
    classifier(neighbours=3, agreement=SHORT).fit(X, PARTLY, progress=lambda e: parts.append(e["part"]))
    assert list(dict.fromkeys(parts)) == ["encoder", "neighbours", "classes"]


# -- files ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("labels", [Y, np.array(["ant", "bee", "cow"])[Y], Y / 1.0, np.array(["ant", "bee", "cow"], dtype=object)[Y]])
def test_save_and_load(tmp_path, labels):
    model = classifier(encoder("stacked"), neighbours=2, agreement=SHORT).fit(TABLE, labels)
    model.save(tmp_path / "m")
    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == ["model.json", "model.safetensors"]
    back = PretrainedClassifier.load(tmp_path / "m", device="cpu")
    np.testing.assert_array_equal(back.predict_proba(TABLE), model.predict_proba(TABLE))
    assert back.classes_.dtype == model.classes_.dtype and back.predict(TABLE).tolist() == model.predict(TABLE).tolist()
    assert back.get_params(deep=False).keys() == model.get_params(deep=False).keys() and back.neighbours == 2
    assert type(back.encoder) is type(model.encoder) and back.encoder.net == model.encoder.net
    assert back.history_ == model.history_ and back.feature_names_in_.tolist() == list(TABLE.columns)
    back.save(tmp_path / "again")
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == (tmp_path / "m" / "model.safetensors").read_bytes()


def test_folders_that_hold_no_classifier(tmp_path):
    model = classifier().fit(X, PARTLY)
    with pytest.raises(SavedModelError, match="is not a folder"):
        PretrainedClassifier.load(tmp_path / "nowhere")
    encoder().fit(X).save(tmp_path / "encoder")
    with pytest.raises(SavedModelError, match="holds no classifier"):
        PretrainedClassifier.load(tmp_path / "encoder")
    folder = model.save(tmp_path / "m")
    described = json.loads((folder / "model.json").read_text())
    for change, said in (({"format": 99}, "newer version"), ({"weights_sha256": "0"}, "truncated"), ({"classes": [0]}, "damaged"), ({"schema": {}}, "damaged")):
        (folder / "model.json").write_text(json.dumps(described | change))
        with pytest.raises(SavedModelError, match=said):
            PretrainedClassifier.load(folder)
    (folder / "model.json").write_text("{")
    with pytest.raises(SavedModelError, match="damaged"):
        PretrainedClassifier.load(folder)
    with pytest.raises(NotFittedError):
        classifier().save(tmp_path / "x")


# -- scikit-learn's grammar -----------------------------------------------------------------------------------------------------------


UNFIT = {"check_classifiers_classes": "its labels are -1 and 1, and -1 means unlabelled here"}


@pytest.mark.filterwarnings("ignore:Estimator's parameters changed")
@parametrize_with_checks([PretrainedClassifier(encoder(latent_dim=None), train=Train(budget="200steps", lr=5e-3),
                                               dropout=0.0, random_state=0)], expected_failed_checks=lambda estimator: UNFIT)
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


def test_settings_from_outside():
    model = classifier().set_params(train__lr=1e-2, agreement__budget="3steps", encoder__latent_dim=3, encoder__train__lr=1e-2, neighbours=2)
    assert model.train == SHORT(lr=1e-2) and model.agreement.budget == "3steps" and model.encoder.latent_dim == 3 and model.encoder.train.lr == 1e-2
    assert clone(model).get_params(deep=False)["train"] == model.train
    with pytest.raises(ValueError):
        model.set_params(nothing=1)


def test_in_a_search_with_a_fitted_encoder():
    start = encoder().fit(X)
    with pytest.raises(NotFittedError):
        clone(classifier(start, prefit=True)).fit(X, Y)
    search = GridSearchCV(classifier(FrozenEstimator(start), prefit=True), {"train__lr": [1e-4, 1e-2]}, cv=2, error_score="raise").fit(X, Y)
    assert search.best_params_["train__lr"] == 1e-2 and search.score(X, Y) > 0.6
    unlabelled = GridSearchCV(classifier(), {"dropout": [0.0, 0.5]}, cv=2, error_score="raise").fit(X, PARTLY)
    assert np.isfinite(unlabelled.cv_results_["mean_test_score"]).all()
