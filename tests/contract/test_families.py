"""What every family promises, on a mixed table with blanks, grey pictures, colour pictures that are not square, and signals."""

from __future__ import annotations

import inspect
import random

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from ectype import impute, load, registry
from ectype.errors import CapabilityError, ConditionWarning, DataError, EctypeError, InvalidParameterError, SchemaMismatchError
from ectype.spec import Corruption, Net, Train, annotations, invalid_examples
from ectype.train.loop import held_out_rows

from .conftest import (
    CONTAINER,
    DATA,
    LABELS,
    NAMES,
    PAIRS,
    QUICK,
    SMALL,
    TINY,
    assert_same,
    curve,
    draw,
    fit,
    fitted,
    has,
    home,
    make_table,
    new,
    same_weights,
    takes,
    weights_of,
)

METHODS = {     # method: capabilities that it needs
    "transform": {"encode"}, "fit_transform": {"encode"}, "get_feature_names_out": {"encode"}, "set_output": {"encode"},
    "inverse_transform": {"encode", "decode"}, "reconstruct": {"encode", "decode"}, "denoise": {"denoise"}, "score_samples": {"score"}, "score": {"score"},
}


# -- samples ------------------------------------------------------------------------------------------------------------------------------

def test_a_sample_is_like_the_data(name, kind):
    model, X = fitted(name, kind), DATA[kind]
    drawn = draw(model, 50, random_state=0)
    assert type(drawn) is type(X) and drawn.shape == (50, *X.shape[1:]) and model.schema_.accepts(drawn).all()
    if kind == "table":
        assert list(drawn.columns) == list(X.columns) and (drawn.dtypes == X.dtypes).all() and drawn.index.equals(pd.RangeIndex(50))
        for column in X.select_dtypes("number"):
            assert drawn[column].dropna().between(X[column].min(), X[column].max()).all()
        np.testing.assert_array_equal(drawn["weight"], drawn["weight"].round(1))
    elif kind == "signal":
        assert drawn.dtype == X.dtype and np.isfinite(drawn).all() and len(np.unique(drawn)) > 1000
    else:
        assert drawn.dtype == X.dtype and drawn.min() >= X.min() and drawn.max() <= X.max()
        assert np.array_equal(drawn, np.round(drawn)) and len(np.unique(drawn)) > 2
    assert len(draw(model, 1)) == 1


def test_samples_repeat_with_a_seed(name, kind):
    model = fitted(name, kind)
    first = draw(model, 40, random_state=5)
    assert_same(first, draw(model, 40, random_state=5), exact=True)
    assert_same(first, draw(model, 40, random_state=np.int64(5)), exact=True)
    as_text = [np.asarray(draw(model, 40, random_state=s)).astype(str).tolist() for s in (5, 6, None, None)]
    assert all(as_text[i] != as_text[j] for i in range(4) for j in range(i))
    assert_same(*(draw(model, 5, random_state=np.random.RandomState(3)) for _ in range(2)), exact=True)
    assert_same(*(draw(model, 5, random_state=np.random.default_rng(3)) for _ in range(2)), exact=True)


def test_the_batch_size_does_not_change_a_sample(name, kind):
    n, model = (1200 if kind == "table" else 600), fitted(name, kind)
    small, large = (draw(model, n, random_state=1, batch_size=b) for b in (256, 1024))
    assert_same(small, large)
    if kind == "table":
        discrete = ["children", "age", "city", "member", "size"]
        pd.testing.assert_frame_equal(small[discrete], large[discrete])
    assert_same(draw(model, n, random_state=1, batch_size=1), small)


def test_the_first_rows_of_many_are_those_of_few(name, kind):
    model = fitted(name, kind)
    many = draw(model, 300, random_state=2)
    for n in (1, 100, 257):
        assert_same(draw(model, n, random_state=2), many[:n])


@pytest.mark.parametrize("bad", [{"n": 0}, {"n": -1}, {"n": 2.5}, {"n": "3"}, {"n": 3, "batch_size": 0}, {"n": 3, "random_state": "seed"}],
                         ids=str)
def test_bad_requests_are_said(name, bad):
    with pytest.raises(InvalidParameterError, match="out of its domain"):
        draw(fitted(name), **bad)
    with pytest.raises(NotFittedError):
        new(name).sample(3)


def test_an_option_that_there_is_not_is_said_with_those_that_there_are(name):
    """Of every method to which families add options; what is near is suggested."""
    model = fitted(name)
    for method in ("sample", "score_samples", "transform", "log_likelihood"):
        if not hasattr(model, method):
            continue
        options = ", ".join(inspect.signature(getattr(model, method)).parameters)
        given = {} if method == "sample" else {"X": DATA["table"][:2]}
        with pytest.raises(InvalidParameterError, match=rf"^{type(model).__name__}\.{method} has no option 'conditoin': expected one of "
                                                        rf"{options}, got conditoin=3\nhint: did you mean condition\?$"):
            getattr(model, method)(**given, conditoin=3)
    with pytest.raises(InvalidParameterError, match="impute has no option 'mask': .*known.*got mask=1$"):
        impute(model, DATA["table"], mask=1)


# -- capabilities -------------------------------------------------------------------------------------------------------------------------

def test_capabilities_are_the_methods_that_exist(name):
    model = new(name)
    for method, needed in METHODS.items():
        assert hasattr(model, method) == (needed <= model.capabilities), method
        assert hasattr(clone(model), method) == hasattr(model, method)
    assert hasattr(model, "log_likelihood") == bool(model.capabilities & {"exact", "bound"})


CODERS = "autoencoder, linear, stacked, denoising, conv"


@pytest.mark.parametrize(("method", "needed", "able"), [("transform", "encode", f"{CODERS}, vae, flow"), ("denoise", "denoise", "stacked, denoising"),
                                                        ("log_likelihood", "has no likelihood", "vae, flow, ddpm")])
def test_a_missing_capability_says_who_has_it(name, method, needed, able):
    if hasattr(new(name), method):
        return
    with pytest.raises(CapabilityError, match=rf"{registry.load(name).__name__} (cannot .*)?{needed}.*\nhint: these can: {able}"):
        getattr(new(name), method)


def test_codes(name, kind):
    model, X = fitted(name, kind), DATA[kind]
    if not hasattr(model, "transform"):
        return
    codes = model.transform(X)
    assert codes.dtype == np.float32 and codes.shape == (len(X), model.objective_.latent_dim) and np.isfinite(codes).all()
    assert list(model.get_feature_names_out()) == [f"{type(model).__name__.lower()}{i}" for i in range(codes.shape[1])]
    back, again = model.inverse_transform(codes), model.reconstruct(X)
    if name == "conv":                                                  # what unpooling implies: its positions are not in the code
        assert not np.array_equal(back, again)
    else:
        assert_same(back, again)
    assert type(again) is type(X) and again.shape == X.shape
    assert type(back) is type(X) and back.shape == X.shape and model.schema_.accepts(back).all()
    with pytest.raises(SchemaMismatchError, match="codes of another width"):
        model.inverse_transform(codes[:, :-1])


def test_denoising_keeps_the_shape_of_the_data(name, kind):
    model, X = fitted(name, kind), DATA[kind]
    if not hasattr(model, "denoise"):
        return
    clean = model.denoise(X[:10])
    assert type(clean) is type(X) and clean.shape == X[:10].shape and model.schema_.accepts(clean).all()
    assert_same(clean, model.denoise(X)[:10])


def test_scores_belong_to_rows(name, kind):
    """Finite, one for each row, the same at each call, and independent of the other rows."""
    model, X = fitted(name, kind), DATA[kind]
    scores = model.score_samples(X)
    assert scores.shape == (len(X),) and scores.dtype == np.float64 and np.isfinite(scores).all() and len(np.unique(scores)) > 5
    np.testing.assert_array_equal(model.score_samples(X), scores)
    np.testing.assert_allclose(model.score_samples(X[:7]), scores[:7], rtol=1e-5)
    np.testing.assert_allclose(model.score_samples(X[::-1])[::-1], scores, rtol=1e-5)
    assert model.score(X) == pytest.approx(scores.mean()) == pytest.approx(model.score(X, LABELS[kind]))


def test_likelihoods(name, kind):
    model, X = fitted(name, kind), DATA[kind]
    if not hasattr(model, "log_likelihood"):
        return
    values = model.log_likelihood(X)
    assert values.shape == (len(X),) and np.isfinite(values).all()
    if name != "ddpm":                                                  # whose score is the error of restoring, which tells novel rows better
        np.testing.assert_array_equal(values, model.score_samples(X))
    if CONTAINER[kind] == "images":
        assert (values < 0).all()                                       # a probability


def test_units_of_the_likelihood(tabular):
    """In other units a density has another value: metres in place of centimetres add log 100 for each row."""
    r = np.random.default_rng(0)
    X = pd.DataFrame({"height": r.normal(170, 10, 100), "skew": np.exp(1.5 * r.normal(size=100))})
    if not hasattr(new(tabular), "log_likelihood"):
        return
    in_cm, in_m = new(tabular).fit(X), new(tabular).fit(X / [100, 1])
    np.testing.assert_allclose(in_m.log_likelihood(X / [100, 1]) - in_cm.log_likelihood(X), np.log(100), atol=1e-3)


# -- training -----------------------------------------------------------------------------------------------------------------------------

def test_losses_are_finite_and_named(name, kind):
    model = fitted(name, kind)
    assert model.n_steps_ == 20 == model.history_[-1]["step"] and model.events_ == [] and not model.interrupted_ and model.fit_s_ > 0
    assert np.isfinite(curve(model)).all()
    model.objective_.stage = model.history_[-1].get("stage")
    turns, model.objective_.stage = model.objective_.turns, None
    assert {"loss"} <= set(model.history_[-1]) if len(turns) == 1 else {f"{p}.loss" for p in turns} <= set(model.history_[-1])


def test_every_parameter_of_every_player_has_a_gradient(name, kind):
    model = fitted(name, kind)
    objective, x = model.objective_, torch.from_numpy(model.schema_.encode(DATA[kind]))
    owned = set()
    for player, module in objective.players().items():
        named = [(n, p) for n, p in module.named_parameters() if p.requires_grad]      # the others are fitted when training has ended
        owned |= {id(p) for _, p in named}
        gradients = torch.autograd.grad(objective.loss(x, None, player)["loss"], [p for _, p in named])
        silent = [n for (n, _), g in zip(named, gradients, strict=True) if not (torch.isfinite(g).all() and g.any())]
        assert silent == [], player
    trained = [p for p in objective.parameters() if p.requires_grad]
    assert owned == {id(p) for p in trained} and tuple(objective.players()) == objective.turns
    assert model.n_parameters_ == sum(p.numel() for p in trained)
    assert all(n.startswith("faint.") for n, p in objective.named_parameters() if not p.requires_grad)


def test_training_changes_every_weight(name):
    """Also with fewer rows than the batch size."""
    kind = home(name)
    X = DATA[kind].dropna()[:9] if kind == "table" else DATA[kind][:9]
    after = new(name, train=TINY(batch_size=512)).fit(X)
    before = new(name, train=TINY(batch_size=512, lr=1e-12)).fit(X)
    named = [(k, p) for k, p in after.objective_.named_parameters() if p.requires_grad]
    still = [k for k, p in named if torch.equal(p, before.objective_.get_parameter(k))]
    assert still == [] and after.n_steps_ == 20


def test_the_same_seed_gives_the_same_bits(name, kind):
    again = fit(new(name), kind)
    assert same_weights(again, fitted(name, kind))
    assert_same(draw(again, 20, random_state=0), draw(fitted(name, kind), 20, random_state=0), exact=True)
    if kind == home(name):
        assert not same_weights(fit(new(name, random_state=1), kind), again)
        a, b = (fit(new(name, random_state=None), kind) for _ in range(2))
        assert a.seed_ != b.seed_ and not same_weights(a, b)
        assert same_weights(fit(new(name, random_state=a.seed_), kind), a)


@pytest.mark.parametrize("seed", [0, None])
def test_the_global_generators_are_left_alone(name, seed):
    torch_state, numpy_state, python_state = torch.get_rng_state(), np.random.get_state(), random.getstate()
    X = DATA[home(name)]
    model = new(name, random_state=seed).fit(X)
    draw(model, 20, random_state=seed), model.score_samples(X)
    assert torch.equal(torch.get_rng_state(), torch_state) and random.getstate() == python_state
    assert all(np.array_equal(a, b) for a, b in zip(np.random.get_state(), numpy_state, strict=True))


def test_bfloat16(name, kind):
    model = fit(new(name, train=TINY(precision="bfloat16")), kind)
    assert np.isfinite(curve(model)).all() and np.isfinite(model.score_samples(DATA[kind])).all()
    assert model.schema_.accepts(draw(model, 20)).all()
    assert all(p.dtype == torch.float32 for p in model.objective_.parameters())
    assert same_weights(model, fitted(name, kind)) == (name == "linear")                # whose few rows are in float64 whatever is asked


def test_scores_of_the_rows_that_were_held_out_are_kept(name, tmp_path):
    X = DATA[home(name)]
    model = new(name, train=TINY(validation=0.3)).fit(X)
    held = held_out_rows(len(X), model.train_, model.seed_).numpy()
    expected = np.sort(model.score_samples(X.iloc[held] if hasattr(X, "iloc") else X[held]))
    assert len(held) == int(0.3 * len(X)) == len(model.held_out_scores_) and (np.diff(model.held_out_scores_) >= 0).all()
    np.testing.assert_allclose(model.held_out_scores_, expected, rtol=1e-5)
    np.testing.assert_array_equal(load(model.save(tmp_path)).held_out_scores_, model.held_out_scores_)
    assert len(new(name, train=TINY(validation=0.0)).fit(X).held_out_scores_) == 0


def test_stages_are_told(name):
    """The steps of the stages are those of the run; where something is measured after a stage, it is finite."""
    model = fitted(name)
    assert sum(s["steps"] for s in model.stages_) == model.n_steps_ and sum(s["seconds"] for s in model.stages_) == pytest.approx(model.fit_s_)
    assert all(np.isfinite(list(s["measured"].values())).all() for s in model.stages_)
    names = [s["stage"] for s in model.stages_]
    assert names == {"linear": ["moments"], "stacked": ["layer 1", "layer 2", "layer 3", "fine-tuning"],
                     }.get(name, [""])
    assert {r.get("stage", "") for r in model.history_} == set(names) and model.objective_.stage is None


def test_labels_are_ignored_unless_conditional(name):
    assert same_weights(new(name).fit(DATA[home(name)], LABELS[home(name)]), fitted(name))


# -- parameters ---------------------------------------------------------------------------------------------------------------------------

OTHER = {   # another value for every constructor parameter
    "latent_dim": 3, "components": 2, "beta": 3.0, "likelihood": "logistic", "prior": "mixture", "free_bits": 0.5, "kl_warmup": 10,
    "importance": 3, "noise_dim": 3, "game": "minimax", "penalty": 0.0, "clusters": 3, "transforms": 2, "bins": 4, "architecture": "autoregressive",
    "base": "student", "dequantization": "variational",
    "schedule": "linear", "sparsity": 1.0, "tied": False, "greedy": False, "corruption": Corruption(kind="masking", level=0.5),
    "prediction": "noise", "loss": "bound", "log_snr": (8.0, -8.0), "drop_condition": 0.6, "pairing": "random",
    "consistency": 0.6, "start": 0.5,
    "upsampling": "resize", "conditional": True, "net": Net(width=(9,)), "train": TINY(lr=0.02), "random_state": 1,
}


OF_CONDITIONAL = {"drop_condition"}         # what makes a difference to conditional models only
OF_FILES = {"teacher"}                      # what names a saved model: tested with its family


@pytest.mark.parametrize(("family", "param"), [(n, p) for n in NAMES for p in inspect.signature(registry.load(n)).parameters
                                               if p not in OF_FILES])
def test_every_parameter_changes_the_samples(family, param):
    assert param in OTHER, f"give the new parameter {param!r} another value here"
    kind = home(family)
    given = {"conditional": True} if param in OF_CONDITIONAL else {}
    model, y = new(family, **given, **{param: OTHER[param]}), LABELS[kind] if param in {*OF_CONDITIONAL, "conditional"} else None
    drawn = draw(fit(model, kind, y), 30, random_state=0, **({"condition": "ant"} if y is not None else {}))
    plain = draw(fitted(family, conditional=bool(given)), 30, random_state=0, **({"condition": "ant"} if given else {}))
    assert not (drawn.equals(plain) if kind == "table" else np.array_equal(drawn, plain))


SETTINGS = [("kind", "mlp", "grey"), ("dropout", 0.5, "grey"), ("dropout", 0.5, "table"), ("activation", "tanh", "grey"),
            ("activation", "tanh", "table"), ("width", (4, 8), "grey"), ("dropout", 0.5, "signal"), ("kind", "mlp", "signal")]
ONE_KIND = {"flow", "stacked", "conv"}      # of networks, for such small data: perceptrons, or convolutions


@pytest.mark.parametrize(("family", "setting", "value", "kind"), [
    (n, *s) for n in NAMES if has(n, "net") for s in SETTINGS if takes(n, s[2]) and not (s[0] == "kind" and n in ONE_KIND)])
def test_every_setting_of_the_network_changes_the_model(family, setting, value, kind):
    model = fit(new(family, net=SMALL(**{setting: value})), kind)
    assert not same_weights(model, fitted(family, kind))


@pytest.mark.parametrize(("family", "kind", "message"), [("conv", "mlp", "has no perceptron"),
                                                         ("stacked", "conv", "layers of a stacked autoencoder are perceptrons")])
def test_another_kind_of_network_is_refused(family, kind, message):
    with pytest.raises(InvalidParameterError, match=message):
        new(family, net=Net(kind=kind)).fit(DATA["grey"])


def test_convolutions_cannot_be_asked_of_a_table(tabular):
    if has(tabular, "net"):
        with pytest.raises(InvalidParameterError, match="convolutional"):
            new(tabular, net=Net(kind="conv")).fit(DATA["table"])


@pytest.mark.parametrize(("family", "kind"), [(n, k) for n in NAMES for k in DATA if (n, k) not in PAIRS])
def test_data_that_a_family_does_not_take_are_refused(family, kind):
    """In words that name the families that do."""
    able = ", ".join(n for n in NAMES if takes(n, kind))
    with pytest.raises(InvalidParameterError, match=rf"{registry.load(family).__name__} cannot learn from .*\nhint: these can: {able}$"):
        fit(new(family), kind)


@pytest.mark.parametrize("family", NAMES)
def test_invalid_parameters_are_refused_at_fit(family):
    hints = annotations(registry.load(family).__init__)
    assert set(hints) == set(inspect.signature(registry.load(family)).parameters)
    tried = 0
    for param, hint in hints.items():
        for value in invalid_examples(hint):
            model = new(family, **{param: value})                       # the constructor only stores
            assert getattr(model, param) is value
            with pytest.raises(InvalidParameterError, match=rf"The '{param}' parameter of {type(model).__name__} is out of its domain"):
                model.fit(DATA[home(family)])
            tried += 1
    assert tried > 3


def test_clones_and_parameters(name):
    model = fitted(name)
    twin = clone(model)
    assert twin.get_params() == model.get_params() and not hasattr(twin, "objective_") and repr(twin) == repr(model)
    assert twin.set_params(train__lr=0.5, random_state=3) is twin
    assert twin.train == TINY(lr=0.5) and twin.random_state == 3 and model.train == TINY
    if has(name, "net"):
        assert twin.set_params(net__dropout=0.1).net == SMALL(dropout=0.1) and model.net == SMALL
    assert twin.get_params()["train__lr"] == 0.5
    for bad in ({"train__learning_rate": 1.0}, {"nett__width": (3,)}, {"no_such": 1}, {"random_state__x": 1}):
        with pytest.raises((EctypeError, ValueError)):
            twin.set_params(**bad)
    with pytest.raises(InvalidParameterError):
        twin.set_params(train__lr=-1.0)


def test_the_preset_fills_what_is_not_set(name):
    model = fitted(name)
    assert model.train_ == TINY.over(model.preset) and None not in model.train_.get_params().values()
    assert model.get_params()["train"] is TINY                          # fit does not change parameters
    assert isinstance(inspect.signature(type(model)).parameters["train"].default, Train)


def test_the_cost_of_a_sample_is_told(name):
    model, calls = fitted(name), []
    options = QUICK.get(name, {})
    network = {"ddpm": "network", "flow_matching": "network", "shortcut": "network", "truncated": "network",
               "gan": "generator", "flow": None, "stacked": None}.get(name, "decoder")
    if network is None:                                                 # one pass backwards through every layer
        assert model.evaluations(**options) == 1
        return
    handle = getattr(model.objective_, network).register_forward_hook(lambda *_: calls.append(1))
    draw(model, 5, random_state=0)
    handle.remove()
    assert len(calls) == model.evaluations(**options)


def test_presets_of_the_sampler_are_options_of_sample(name):
    cls = registry.load(name)
    for preset in cls.sampling_presets.values():
        assert set(preset) <= set(inspect.signature(cls.sample).parameters)
        assert isinstance(new(name).evaluations(**preset), int)


# -- conditions ---------------------------------------------------------------------------------------------------------------------------

def test_a_condition_is_needed_and_used(name, kind):
    model = fitted(name, kind, conditional=True)
    drawn = draw(model, 30, condition="bee", random_state=0)
    assert model.schema_.accepts(drawn).all() and type(drawn) is type(DATA[kind])
    assert_same(draw(model, 30, condition=["bee"] * 30, random_state=0), drawn, exact=True)
    assert_same(draw(model, 30, condition=pd.Series(["bee"] * 30, index=range(30, 60)), random_state=0), drawn, exact=True)
    many, other = (np.asarray(draw(model, 300, condition=c, random_state=0)) for c in ("bee", "cow"))
    assert (many != other).any()                                            # hardly trained, and levels of training pictures: in some
    other = draw(model, 30, condition="cow", random_state=0)
    mixed = draw(model, 30, condition=np.array(["bee"] * 10 + ["cow"] * 20), random_state=0)
    assert_same(mixed[:10], drawn[:10])
    assert_same(mixed[10:].reset_index(drop=True) if kind == "table" else mixed[10:],
                other[10:].reset_index(drop=True) if kind == "table" else other[10:])


def test_conditions_that_do_not_fit_are_said(name):
    model = fitted(name, conditional=True)
    with pytest.raises(InvalidParameterError, match=r"is conditional: expected a condition \(label, one of .*ant.*\), got None"):
        draw(model, 3)
    with pytest.raises(SchemaMismatchError, match=r"categories that the training data did not have.* got 'dog'"):
        draw(model, 3, condition="dog")
    with pytest.raises(SchemaMismatchError, match="blank"):
        draw(model, 3, condition=[None, "ant", "bee"])
    with pytest.raises(InvalidParameterError, match="another length: expected one value, or 3, got 2"):
        draw(model, 3, condition=["ant", "bee"])
    with pytest.raises(InvalidParameterError, match="is not conditional"):
        draw(fitted(name), 3, condition="ant")
    with pytest.raises(InvalidParameterError, match="needs labels"):
        new(name, conditional=True).fit(DATA[home(name)])
    with pytest.raises(DataError, match="X and y differ in length"):
        new(name, conditional=True).fit(DATA[home(name)], LABELS[home(name)][:-1])
    with pytest.raises(InvalidParameterError, match="is conditional"):
        model.score_samples(DATA[home(name)])


def test_conditional_scores_and_codes(name):
    model, X, y = fitted(name, conditional=True), DATA[home(name)], LABELS[home(name)]
    other = np.where(y == "ant", "bee", "ant")
    assert not np.isclose(model.score_samples(X, condition=y), model.score_samples(X, condition=other)).all()
    assert model.score(X, y) == pytest.approx(model.score_samples(X, condition=y).mean())
    if hasattr(model, "transform"):
        codes = model.transform(X, condition=y)
        if name != "conv":                                              # whose reconstructions know more than the code
            assert_same(model.inverse_transform(codes, condition=y), model.reconstruct(X, condition=y))
        np.testing.assert_array_equal(clone(model).fit_transform(X, y), codes)


@pytest.mark.parametrize(("labels", "value", "text"), [
    (np.arange(120) % 4, 3, "3"), (np.arange(120) % 2 == 0, True, "True"), (np.random.default_rng(0).normal(size=120), 0.25, None),
    (pd.Series(np.arange(120) % 3, index=range(500, 620)).astype("category"), 2, "2"), (np.arange(120.0) * 1.5, 30.0, None)],
    ids=["classes", "flags", "numbers", "category", "grid"])
def test_kinds_of_labels(tabular, labels, value, text):
    model = new(tabular, conditional=True, train=TINY(budget="5steps")).fit(DATA["table"], labels)
    assert model.condition_.blocks[0].type == ("number" if text is None else "category")
    drawn = draw(model, 5, condition=value, random_state=0)
    assert len(drawn) == 5
    if text is not None:                                                # as a command line says it
        assert_same(draw(model, 5, condition=text, random_state=0), drawn, exact=True)


def test_a_condition_is_called_as_its_column(tabular):
    labels = pd.Series(np.arange(120) % 3, name="storey")
    model = new(tabular, conditional=True, train=TINY(budget="1steps")).fit(DATA["table"], labels)
    with pytest.raises(InvalidParameterError, match=r"expected a condition \(storey, one of 0, 1, 2\)"):
        draw(model, 2)
    with pytest.raises(SchemaMismatchError, match="column 'storey' has categories"):
        draw(model, 2, condition=7)


def test_a_blank_condition_is_one_of_its_own(tabular):
    """Also among numbers, and whole numbers stay classes, which pandas keeps as 2.0 beside blanks."""
    classes, numbers = np.arange(120) % 3.0, np.random.default_rng(0).normal(size=120)
    for labels, kind in ((classes, "category"), (numbers, "number")):
        labels = pd.Series(labels, name="storey").where(np.arange(120) % 7 > 0)
        model = new(tabular, conditional=True, train=TINY(budget="5steps", lr=0.1)).fit(DATA["table"], labels)
        block, notes = model.condition_.blocks[0], model.condition_.notes
        assert block.type == kind and block.missing and len(notes) == 1 and notes[0] == "storey: blank in 18 of 120 rows; a blank is learnt as one more condition"
        drawn = draw(model, 30, condition=[None] * 30, random_state=0)
        assert len(drawn) == 30 and np.isfinite(model.score_samples(DATA["table"], condition=labels)).all()
        assert kind == "number" or (set(block.values) == {0, 1, 2} and all(isinstance(v, int) for v in block.values))
        assert_same(draw(model, 30, condition=pd.Series([pd.NA] * 30, dtype="Int64"), random_state=0), drawn, exact=True)
        assert not drawn.equals(draw(model, 30, condition=1.0, random_state=0))


def test_a_condition_far_outside_of_the_training_rows_is_said(tabular):
    prices = pd.Series(np.linspace(10.0, 20.0, 120), name="price")
    model = new(tabular, conditional=True, train=TINY(budget="1steps")).fit(DATA["table"], prices)
    model.sample(3, condition=[9.5, 15.0, 20.9])                                    # warnings are errors here
    with pytest.warns(ConditionWarning, match=r"^price 2000 is far outside of the training rows, 10 to 20: ") as told:
        assert len(model.sample(3, condition=[-5.0, 2000.0, 15.0])) == 3
    assert len(told) == 1 and told[0].filename == __file__
    assert np.isfinite(model.score_samples(DATA["table"][:1], condition=[30.0])).all()     # of a row that is given, the score tells
    if {"encode", "decode"} <= model.capabilities:
        with pytest.warns(ConditionWarning, match="price 2000") as told:
            model.inverse_transform(model.transform(DATA["table"][:2], condition=15.0), condition=2000.0)
        assert told[0].filename == __file__


def test_guidance_that_breaks_rows_is_said(tabular):
    model = new(tabular, conditional=True, train=TINY(budget="1steps"))
    if "guidance" not in inspect.signature(model.sample).parameters:
        pytest.skip("no guidance")
    model.fit(DATA["table"], np.arange(120) % 2)
    model.sample(2, condition=0, steps=2, guidance=20.0)                            # warnings are errors here
    with pytest.warns(ConditionWarning, match=r"^guidance 1000 is beyond 20: ") as told:
        model.sample(2, condition=0, steps=2, guidance=1000.0)
    assert len(told) == 1 and told[0].filename == __file__


# -- awkward data -------------------------------------------------------------------------------------------------------------------------

R = np.random.default_rng(0)
AWKWARD = {
    "one column": pd.DataFrame({"x": R.normal(size=30)}), "two rows": pd.DataFrame({"x": [1.0, 2.5], "c": ["a", "b"]}),
    "a constant": pd.DataFrame({"x": np.full(30, 3.5), "y": R.normal(size=30)}), "one flag": pd.DataFrame({"b": R.random(30) < 0.5}),
    "one category": pd.DataFrame({"c": R.choice(list("abcd"), 30)}), "an empty column": pd.DataFrame({"x": R.normal(size=30), "e": np.nan}),
    "300 categories": pd.DataFrame({"c": [f"c{i % 300}" for i in range(700)]}),
    "nearly all blank": pd.DataFrame({"x": [1.0, 2.0] + [np.nan] * 28}), "60 columns": pd.DataFrame(R.normal(size=(50, 60))),
    "an array": R.normal(size=(30, 3)), "a list": R.normal(size=(30, 3)).tolist(),
    "fortran order": np.asfortranarray(R.normal(size=(30, 3))),
    "huge and tiny": pd.DataFrame({"x": 1e30 * R.normal(size=30), "y": 1e-30 * R.normal(size=30)}),
    "duplicates": pd.DataFrame({"x": [1.0, 2.0] * 30, "c": ["a", "b"] * 30}),
    "an odd index": DATA["table"].set_index(np.arange(120)[::-1] * 7),
    "binary pictures": R.integers(0, 2, (20, 5, 7)), "black pictures": np.zeros((20, 5, 7), np.uint8),
    "tiny pictures": R.random((20, 1, 2)), "two pictures": R.integers(0, 256, (2, 9, 4, 3)).astype(np.uint8),
    "short signals": R.normal(size=(20, 5)), "two signals": R.normal(size=(2, 9, 3)), "a flat channel": R.normal(size=(20, 8, 2)) * [1, 0],
    "whole numbers": R.integers(-99, 99, (20, 30, 1)).astype(np.int16),
}
SIGNALS = {"short signals", "two signals", "a flat channel", "whole numbers"}
SMALLEST = {"conv": {"tiny pictures", "short signals"}}     # what two poolings cannot halve, and five numbers for a code of ten


def container_of(case):
    return "signals" if case in SIGNALS else "images" if np.ndim(AWKWARD[case]) > 2 else "table"


@pytest.mark.parametrize(("family", "case"), [(n, k) for n in NAMES for k in AWKWARD
                                              if container_of(k) in registry.load(n).containers and k not in SMALLEST.get(n, ())])
def test_awkward_data(family, case):
    X = AWKWARD[case]
    model = new(family, train=TINY(budget="3steps")).fit(X, kinds="signal" if case in SIGNALS else None)
    drawn = draw(model, 6, random_state=0)
    assert len(drawn) == 6 and model.schema_.accepts(drawn).all() and np.isfinite(model.score_samples(X)).all()
    if case == "a constant":
        assert (drawn["x"] == 3.5).all()
    if case in ("one category", "300 categories"):
        assert set(drawn["c"]) <= set(X["c"])


@pytest.mark.parametrize(("X", "message"), [
    (pd.DataFrame({"x": [1.0]}), "too few rows"), (pd.DataFrame({"x": [1.0, np.inf]}), "column 'x' has infinite values"),
    (pd.DataFrame({"x": [1.5] * 9, "c": "a", "n": 3}), "nothing to learn.* got 3 such columns"), (np.zeros((0, 3)), "too few rows"),
    (np.zeros(5), "Expected 2D array"), (np.zeros((3, 2, 2)) - 1, "pixels below zero")],
    ids=["one row", "infinity", "constants", "no rows", "one dimension", "negative pixels"])
def test_unusable_data_is_said(name, X, message):
    with pytest.raises(DataError, match=message):
        new(name).fit(X)


def test_other_data_than_at_fit_are_said(tabular):
    model, X = fitted(tabular), DATA["table"]
    for bad, message in ((X.drop(columns="age"), "age"), (X.rename(columns={"age": "years"}), "years"),
                         (X.assign(city="Ulm"), "'city' has categories"), (X.assign(children=np.nan), "'children' has blanks"),
                         (DATA["grey"], "images were given")):
        with pytest.raises(SchemaMismatchError, match=message):
            model.score_samples(bad)
    with pytest.raises(SchemaMismatchError, match="a table was given"):
        fitted(tabular, "grey").score_samples(np.zeros((4, 8)))
    with pytest.raises(DataError, match="0 sample"):
        model.score_samples(X[:0])


def test_what_fit_leaves_behind(tabular):
    model = fitted(tabular)
    assert model.n_features_in_ == 9 and list(model.feature_names_in_) == list(DATA["table"])
    assert model.schema_.columns == list(DATA["table"]) and model.condition_ is None and model.seed_ == 0
    assert not model.objective_.training
    pd.testing.assert_frame_equal(DATA["table"], make_table())         # the data are left as they were


def test_kinds_can_be_overridden(tabular):
    model = new(tabular, train=TINY(budget="2steps")).fit(DATA["table"], kinds={"children": "categorical"})
    assert model.schema_.blocks[3].kind == "categorical" and draw(model, 5)["children"].dtype == DATA["table"]["children"].dtype


def test_weights_do_not_depend_on_the_global_state(name):
    torch.manual_seed(1)
    a = weights_of(new(name).fit(DATA[home(name)]))
    torch.manual_seed(2)
    b = weights_of(new(name).fit(DATA[home(name)]))
    assert all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("family", [n for n in NAMES if {"encode", "decode"} <= registry.load(n).capabilities and n != "conv"])
def test_what_is_rebuilt_keeps_the_index_of_its_rows(family):
    model, X = fitted(family), DATA["table"].iloc[20:30].set_axis(list("abcdefghij"), axis=0)
    assert model.reconstruct(X).index.equals(X.index)
    assert not hasattr(model, "denoise") or model.denoise(X).index.equals(X.index)
