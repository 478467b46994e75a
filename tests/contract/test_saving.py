"""A saved model: two files without code, the same samples and scores after loading, and clear words about damage."""

from __future__ import annotations

import json
import os
import signal

import numpy as np
import pytest

import ectype
from ectype import VAE, Flow, Train, load, registry
from ectype.errors import CapabilityError, InvalidParameterError, SavedModelError
from ectype.saved import FORMAT

from .conftest import DATA, LABELS, QUICK, assert_same, draw, fitted, home, new


@pytest.mark.parametrize("conditional", [False, True])
def test_a_loaded_model_is_the_same(name, kind, conditional, tmp_path):
    model, X, y = fitted(name, kind, conditional), DATA[kind], LABELS[kind] if conditional else None
    assert model.save(tmp_path / "deep" / "run") == tmp_path / "deep" / "run"
    twin = load(tmp_path / "deep" / "run")
    assert type(twin) is type(model) and twin.get_params() == model.get_params() and twin.schema_ == model.schema_
    options = {"condition": "bee"} if conditional else {}
    assert_same(draw(twin, 30, random_state=0, **options), draw(model, 30, random_state=0, **options), exact=True)
    np.testing.assert_array_equal(twin.score_samples(X, condition=y), model.score_samples(X, condition=y))
    if hasattr(model, "transform"):
        np.testing.assert_array_equal(twin.transform(X, condition=y), model.transform(X, condition=y))
        assert list(twin.get_feature_names_out()) == list(model.get_feature_names_out())
    for attribute in ("n_steps_", "seed_", "train_", "condition_", "n_parameters_", "interrupted_", "history_", "events_",
                      "n_features_in_", "stages_", "budget_steps_"):
        assert getattr(twin, attribute) == getattr(model, attribute), attribute
    np.testing.assert_array_equal(twin.held_out_scores_, model.held_out_scores_)
    assert getattr(twin, "feature_names_in_", None) is None or list(twin.feature_names_in_) == list(model.feature_names_in_)


def test_the_folder(name, tmp_path):
    fitted(name).save(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.json", "model.safetensors"]
    d = json.loads((tmp_path / "model.json").read_text(), parse_constant=lambda c: pytest.fail(f"{c} is no JSON"))
    assert d["model"] == name and d["format"] == FORMAT and d["ectype"] == ectype.__version__ and d["steps"] == 20 and d["seed"] == 0
    fitted(name, "grey").save(tmp_path)                                 # replaces the other
    assert load(tmp_path).schema_.is_image
    load(tmp_path).save(tmp_path)                                       # over itself
    assert_same(draw(load(tmp_path), 5, random_state=0), draw(fitted(name, "grey"), 5, random_state=0), exact=True)


def test_what_cannot_be_saved_is_an_unfitted_model(name, tmp_path):
    from sklearn.exceptions import NotFittedError

    with pytest.raises(NotFittedError):
        new(name).save(tmp_path)


def test_a_family_that_is_not_registered_cannot_be_saved(tmp_path):
    class Mine(type(fitted("vae"))):
        """A family of one's own."""

    model = Mine(net=new("vae").net, train=new("vae").train(budget="1steps")).fit(DATA["table"])
    with pytest.raises(ectype.errors.CapabilityError, match=r"Mine is not in the registry.*\n.*ectype\.registry"):
        model.save(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_generator_as_random_state_is_saved_as_its_seed(name, tmp_path):
    for state in (np.random.default_rng(0), np.random.RandomState(0), np.int64(3)):
        model = new(name, random_state=state, train=new(name).train(budget="1steps")).fit(DATA[home(name)])
        model.save(tmp_path)
        twin = load(tmp_path)
        assert twin.seed_ == model.seed_
        assert_same(draw(twin, 5, random_state=0), draw(model, 5, random_state=0), exact=True)


@pytest.fixture
def folder(tmp_path):
    fitted("vae").save(tmp_path / "run")
    return tmp_path / "run"


def edit(folder, **changes):
    path = folder / "model.json"
    d = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in d.items() if v is not ...}))


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGE = {
    "no folder": (lambda f: [p.unlink() for p in f.iterdir()] and f.rmdir(), "is not a folder.*written by save"),
    "no description": (lambda f: (f / "model.json").unlink(), "has no model.json"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "has no model.safetensors"),
    "half a description": (lambda f: truncate(f / "model.json"), "model.json is damaged"),
    "another file": (lambda f: (f / "model.json").write_text("[1, 2]"), "model.json is damaged"),
    "not text": (lambda f: (f / "model.json").write_bytes(b"\xff\xfe\x00"), "model.json is damaged"),
    "half of the weights": (lambda f: truncate(f / "model.safetensors"), "truncated or was changed"),
    "a newer format": (lambda f: edit(f, format=FORMAT + 1), f"newer version: expected format {FORMAT} or older.*\n.*pip install -U"),
    "no schema": (lambda f: edit(f, schema=...), "is damaged.*schema"),
    "an unknown setting": (lambda f: edit(f, params={"no_such": 1}), "is damaged"),
    "a setting out of its domain": (lambda f: edit(f, train={"lr": -1}), "is damaged"),
    "another network": (lambda f: edit(f, params={"latent_dim": 5}), "is damaged"),
    "an unknown family": (lambda f: edit(f, model="vea"), "is damaged.*unknown model 'vea'"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_said(folder, case):
    damage, message = DAMAGE[case]
    damage(folder)
    with pytest.raises(SavedModelError, match=message):
        load(folder)


def test_a_write_that_fails_leaves_the_old_model(folder, monkeypatch):
    """A full disk while the new weights are written."""
    before = draw(load(folder), 5, random_state=0)

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ectype.saved.save_file", full)
    with pytest.raises(OSError, match="No space left"):
        fitted("vae", "grey").save(folder)
    assert_same(draw(load(folder), 5, random_state=0), before, exact=True)


def test_files_are_read_without_executing_anything(folder):
    import pickle

    (folder / "model.safetensors").write_bytes(pickle.dumps({"weights": 1}))
    with pytest.raises(SavedModelError, match="truncated or was changed"):
        load(folder)


def test_the_options_of_samplers_work_after_loading(tmp_path):
    for family in registry.names():
        fitted(family).save(tmp_path / family)
        twin = load(tmp_path / family)
        for options in ({}, *type(twin).sampling_presets.values()):
            assert len(twin.sample(2, random_state=0, **{**QUICK.get(family, {}), **options})) == 2


def test_numbers_of_numpy_in_a_spec_are_saved_as_numbers(tmp_path):
    model = VAE(train=Train(budget="3steps", batch_size=np.int64(16), lr=np.float64(1e-3)), random_state=0).fit(np.eye(30)[:, :3])
    assert type(model.train.batch_size) is int
    assert load(model.save(tmp_path)).get_params()["train__batch_size"] == 16


def test_a_class_outside_of_the_registry_is_not_saved(tmp_path):
    class Mine(VAE):
        pass

    model = Mine(train=Train(budget="3steps")).fit(np.random.default_rng(0).normal(size=(30, 3)))
    with pytest.raises(CapabilityError, match="not in the registry"):
        model.save(tmp_path)


def test_a_device_that_is_not_there_is_said_so():
    with pytest.raises(InvalidParameterError, match="device cannot be used"):
        VAE(train=Train(budget="3steps", device="banana")).fit(np.random.default_rng(0).normal(size=(30, 3)))


def test_an_unfinished_run_without_a_seed_goes_on(tmp_path):
    X = np.random.default_rng(0).normal(size=(60, 3))
    model = VAE(train=Train(budget="60steps"), random_state=None)

    def stop(event):
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        model.fit(X, run=tmp_path, progress=stop)
    seed = model.seed_
    model.fit(X, run=tmp_path)
    assert model.seed_ == seed and model.n_steps_ == 60 and not (tmp_path / "checkpoint").exists()


def test_scores_are_likelihoods_where_there_is_one():
    X = np.random.default_rng(0).standard_t(2, size=(300, 2))          # heavy tails: the map to normalised values is not affine
    model = Flow(train=Train(budget="30steps"), random_state=0).fit(X)
    np.testing.assert_array_equal(model.score_samples(X), model.log_likelihood(X))
    assert model.likelihood_ == "exact" and Flow(train=Train(budget="3steps")).fit(np.round(X)).likelihood_ == "bound"


@pytest.mark.parametrize("cut_after", [1, 2])
def test_a_replacement_that_is_cut_between_its_renames_is_finished(tmp_path, monkeypatch, cut_after):
    fitted("vae").save(tmp_path)
    renames, real = [], os.replace

    def cut(source, target):
        if len(renames) == cut_after:
            raise KeyboardInterrupt
        renames.append(target)
        real(source, target)

    monkeypatch.setattr("ectype.saved.os.replace", cut)
    if cut_after == 1:
        with pytest.raises(KeyboardInterrupt):
            fitted("flow").save(tmp_path)
    else:
        fitted("flow").save(tmp_path)
    monkeypatch.undo()
    assert type(load(tmp_path)) is Flow
    assert_same(draw(load(tmp_path), 5, random_state=0), draw(fitted("flow"), 5, random_state=0), exact=True)


def test_the_reader_of_another_kind_is_named(tmp_path):
    from ectype import PretrainedClassifier

    fitted("vae").save(tmp_path)
    with pytest.raises(SavedModelError, match="holds no classifier: expected classifier, got model\nhint: ectype.load reads it"):
        PretrainedClassifier.load(tmp_path)
