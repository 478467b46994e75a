"""The comparison, with families that need no training: what matters here is what is measured, marked, kept and said."""

from __future__ import annotations

import json
import math
import os
import platform
import shutil
import sys
import time
import types
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from joblib import parallel_config

from ectype import registry
from ectype.comparison import compare
from ectype.comparison.book import label_of
from ectype.comparison.fits import affordable
from ectype.comparison.intervals import ALIKE, Moderation, interval, moderation, separate, student
from ectype.comparison.marks import (
    BETTER,
    CLOSED,
    COPYING,
    EVALUATIONS,
    REACHED,
    RULES,
    SLOWER,
    WORSE,
    award_marks,
    coverage_scores,
    gap_closed,
    quality_scores,
)
from ectype.comparison.memory import PeakMemory
from ectype.comparison.run import _Pool
from ectype.comparison.verdict import choose, is_ahead, known_table, larger
from ectype.data.schema import Schema
from ectype.data.sources import load
from ectype.errors import DataError, DataFileError, EctypeError, InvalidParameterError, UnknownNameError
from ectype.estimator import load as load_model
from ectype.metrics import Estimate
from ectype.models.diffusion import DDPM
from ectype.models.truncated import TruncatedDiffusion
from ectype.report import render_table, write_report
from ectype.spec import PRESET, Net, Train


class Normal:
    """The interface of an estimator around one Gaussian with full covariance, fitted in closed form."""

    capabilities = frozenset({"sample", "exact"})
    likelihood_ = "exact"
    sampling_presets: dict = {}
    objective_, train_ = torch.nn.Identity(), PRESET
    spread = 1.0

    def __init__(self, *, train, random_state):
        self.train, self.random_state = train, random_state

    def fit(self, X, y=None, *, kinds=None, progress=None):
        self.schema_ = Schema.fit(X, kinds=kinds)
        stored = self.schema_.encode(X)
        flat = stored.reshape(len(stored), -1).astype(np.float64)
        self.shape, self.mean, self.cov = stored.shape[1:], flat.mean(0), np.cov(flat.T) + 1e-6 * np.eye(flat.shape[1])
        self.n_steps_ = self.budget_steps_ = 7
        self.n_parameters_ = flat.shape[1] * (flat.shape[1] + 3) // 2
        self.history_ = [{"step": 7, "elapsed_s": 0.0, "held_out": 1.0}]
        if progress is not None:
            progress({"step": 7, "fraction": 1.0, "elapsed_s": 0.0, "held_out": 1.0})
        return self

    def sample(self, n, *, random_state=None, scale=1.0):
        draws = np.random.default_rng(random_state).multivariate_normal(self.mean, (self.spread * scale) ** 2 * self.cov, size=n)
        if self.schema_.is_image:
            draws = np.clip(np.round(draws), 0, self.schema_.blocks[0].levels - 1).astype(np.uint8)
        return self.schema_.decode(draws.reshape(n, *self.shape).astype(np.uint8 if self.schema_.is_image else np.float32))

    def evaluations(self, **options):
        return 1

    def log_likelihood(self, X):
        return np.full(len(X), -3.5)

    def save(self, path):
        path.mkdir(parents=True, exist_ok=True)
        (path / "model.json").write_text("{}")


class Collapsed(Normal):
    """Keeps to a tenth of the spread; it has a second sampler that does not, in a thousand evaluations."""

    capabilities = frozenset({"sample"})
    sampling_presets = {"wide": {"scale": 10.0}}
    spread = 0.1

    def evaluations(self, **options):
        return 1000 if options else 1


class Broken(Normal):
    """Fails while it is fitted."""

    def fit(self, X, y=None, *, kinds=None, progress=None):
        raise ZeroDivisionError("no luck")


class Copier(Normal):
    """Gives the training rows back."""

    def fit(self, X, y=None, *, kinds=None, progress=None):
        self.rows = X
        return super().fit(X, kinds=kinds)

    def sample(self, n, *, random_state=None):
        return self.rows.sample(n, random_state=random_state).reset_index(drop=True)


class Mute(Normal):
    """Can be fitted, and cannot be sampled."""

    def sample(self, n, *, random_state=None, **options):
        raise RuntimeError("nothing to say")


class Impatient(Normal):
    """Is interrupted at its second fit."""

    fits = 0

    def fit(self, X, y=None, *, kinds=None, progress=None):
        type(self).fits += 1
        if type(self).fits == 2:
            raise KeyboardInterrupt
        return super().fit(X, kinds=kinds)


@pytest.fixture(autouse=True, scope="module")
def families():
    """The registry holds the families of this file."""
    module = types.ModuleType("families_of_the_test")
    classes = (Normal, Collapsed, Broken, Copier, Mute, Impatient)
    entries = {}
    for cls in classes:
        name = cls.__name__
        entries[name.lower()] = registry.Entry(name.lower(), f"{module.__name__}:{name}", f"{name} model", "")
        setattr(module, name, cls)
    entries |= {name: registry.FAMILIES[name] for name in ("autoencoder", "flow")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, module.__name__, module)
        patch.setattr(registry, "FAMILIES", entries)
        yield


def correlated(n: int = 300, d: int = 3) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    return pd.DataFrame(rng.normal(size=(n, 1)) + 0.3 * rng.normal(size=(n, d)), columns=list("abcdef"[:d]))


@pytest.fixture(scope="module")
def finished(tmp_path_factory, families):
    """One whole comparison: two seeds, four families, one of them broken; and the progress it told."""
    events: list[dict] = []
    models = ["normal", "collapsed", "copier", "broken"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ectype.metrics.c2st.TREES", 10)
        return compare(correlated(), models=models, seeds=2, out=tmp_path_factory.mktemp("compare"), progress=events.append), events


@pytest.fixture
def quick(monkeypatch):
    """Without the classifiers, which take most of the time and have tests of their own."""
    monkeypatch.setattr("ectype.metrics.evaluator.c2st_estimate", lambda test, rows, schema, seed: Estimate(0.5, 0.45, 0.55))


def entry(seeds=(0, 1), half: float = 0.0, **metrics):
    """A row of results with the same figure at every seed, ``c2st=(0.7, floor)``; the evaluation is sure of it but for ``half``."""
    better = {"c2st": "half", "memorisation": "half", "coverage": "higher", "recall": "higher", "rows_per_s": "higher"}
    figures = {m: {"mean": v, "std": 0.0, "low": v - half, "high": v + half, "evaluation": [v - half, v + half], "floor": f,
                   "n": len(seeds), "better": better.get(m, "lower"), "values": [v] * len(seeds)}
               for m, (v, f) in metrics.items()}
    return {"label": "Some", "title": "Some model", "family": "some", "options": {}, "seeds": list(seeds), "metrics": figures, "error": None}


MARGINALS = {"marginals": entry(c2st=(0.9, 0.5), frechet_pca=(4.0, 0.04))}


# -------------------------------------------------------------------------------------------------------------------- the folder


def test_results_follow_their_documented_form(finished):
    done, _ = finished
    text = (done.directory / "results.json").read_text()
    results = json.loads(text, parse_constant=lambda c: pytest.fail(f"{c} is not JSON"))
    assert results == done.results and results["schema_version"] == 2 and not done.interrupted
    assert set(results) == {"schema_version", "data", "settings", "environment", "metrics", "floor", "floor_intervals", "models",
                            "dummies", "marks", "rules", "thresholds", "known_table", "pick", "spent_s"}
    assert set(results["spent_s"]) == {"training", "sampling", "metrics", "pictures"} and all(s > 0 for s in results["spent_s"].values())
    assert results["floor_intervals"].keys() == results["floor"].keys()
    assert all(results["floor_intervals"][m]["low"] <= v <= results["floor_intervals"][m]["high"] for m, v in results["floor"].items())
    assert set(results["dummies"]) == {"training_copy", "marginals", "gaussian_mixture", "bootstrap_noise"}
    for e in (*results["models"].values(), *results["dummies"].values()):
        for metric, figure in e["metrics"].items():
            assert set(figure) == {"mean", "std", "low", "high", "evaluation", "floor", "n", "better", "values"}
            assert metric in results["metrics"] and figure["low"] <= figure["mean"] <= figure["high"]
            assert figure["n"] == 2 and figure["mean"] == pytest.approx(np.mean(figure["values"]))
            assert figure["std"] == pytest.approx(np.std(figure["values"], ddof=1))
    assert results["data"]["rows"] == 300 and results["data"]["split"] == {"train": 180, "holdout": 60, "test": 60, "evaluated": 60}
    assert results["models"]["normal"]["steps"] == [7, 7] and results["settings"]["seeds"] == [0, 1]


def test_every_figure_stands_beside_a_floor(finished):
    results = finished[0].results
    costs = {"rows_per_s", "nfe", "fit_s", "peak_memory_mib", "parameters", "log_likelihood"}
    for metric, figure in results["models"]["normal"]["metrics"].items():
        assert (figure["floor"] is None) == (metric in costs), metric


def test_samples_curves_and_models_are_kept(finished):
    folder = finished[0].directory
    assert {p.stem for p in (folder / "samples").iterdir()} == {
        "real", "normal", "collapsed", "collapsed-wide", "copier", "training_copy", "marginals", "gaussian_mixture",
        "bootstrap_noise"}
    assert list(pd.read_csv(folder / "samples" / "normal.csv").columns) == ["a", "b", "c"]
    assert [run["seed"] for run in json.loads((folder / "curves" / "normal.json").read_text())] == [0, 1]
    assert {p.name for p in (folder / "models").iterdir()} == {"normal", "collapsed", "copier"}


def test_a_family_that_fails_is_a_row_and_the_others_go_on(finished):
    done, _ = finished
    broken = done.results["models"]["broken"]
    assert broken["seeds"] == [] and broken["metrics"] == {} and broken["error"] == "seed 0: ZeroDivisionError: no luck"
    assert "broken" not in done.results["marks"] and any("Broken failed" in note for note in done.results["pick"]["notes"])
    assert "ZeroDivisionError: no luck" in (done.directory / "errors" / "broken-seed0.txt").read_text()
    assert done.results["models"]["normal"]["metrics"]["c2st"]["n"] == 2


def test_marks_tell_a_good_model_from_a_collapsed_one_and_from_a_copy(finished):
    marks = finished[0].results["marks"]
    assert marks["normal"]["quality"] != "no" and marks["normal"]["coverage"] != "no" and marks["normal"]["speed"] == "yes"
    assert marks["collapsed"]["coverage"] == "no" and marks["collapsed"]["speed"] == "yes"
    assert marks["collapsed-wide"]["coverage"] != "no" and marks["collapsed-wide"]["speed"] == "no"
    assert marks["copier"]["quality"] == "no" and "copies" in marks["copier"]["why"]["quality"]
    assert finished[0].results["pick"]["candidates"][0] == "normal"


def test_other_samplers_of_the_same_weights_are_rows(finished):
    models = finished[0].results["models"]
    wide, base = models["collapsed-wide"], models["collapsed"]
    assert wide["family"] == "collapsed" and wide["options"] == {"scale": 10.0}
    assert (wide["metrics"]["nfe"]["mean"], base["metrics"]["nfe"]["mean"]) == (1000, 1)
    assert wide["metrics"]["fit_s"]["values"] == base["metrics"]["fit_s"]["values"]
    assert wide["metrics"]["coverage"]["mean"] > base["metrics"]["coverage"]["mean"] + 0.2


def test_rows_are_named_in_words():
    assert [label_of(family) for family in (DDPM, TruncatedDiffusion)] == ["DDPM", "Truncated diffusion"]


def test_progress_counts_to_the_end(finished):
    _, events = finished
    assert events[0] == {"stage": "data"} and events[-1] == {"stage": "done", "done": 16, "total": 16}
    counts = [e["done"] for e in events if "done" in e]
    assert counts == sorted(counts) and {"fraction", "step", "row", "seed"} <= set(next(e for e in events if "fraction" in e))


def test_the_report_and_the_table_can_be_drawn(finished):
    done, _ = finished
    assert "ZeroDivisionError" in write_report(done.directory).read_text()
    assert render_table(done.results) is not None


def test_the_same_call_gives_the_same_results(tmp_path, quick):
    X, settings = correlated(60), dict(models=["normal", "collapsed"], seeds=1, budget={"normal": [7], "collapsed": "7steps"})
    first, second = (compare(X, out=tmp_path / name, **settings).results for name in "ab")
    assert without_times(first) == without_times(second)


def test_a_family_that_cannot_be_sampled_keeps_its_fit_and_gets_no_marks(tmp_path, quick):
    results = compare(correlated(60), models=["mute"], seeds=1, out=tmp_path).results
    mute = results["models"]["mute"]
    assert set(mute["metrics"]) == {"fit_s", "parameters"} and mute["steps"] == [7] and "nothing to say" in mute["error"]
    assert "mute" not in results["marks"] and results["pick"]["name"] is None
    assert "nothing to say" in write_report(tmp_path).read_text()


def test_a_sampler_of_many_evaluations_is_drawn_for_as_many_seeds_as_training_would_take(tmp_path, monkeypatch, quick):
    model = DDPM(train=Train(budget="30steps", batch_size=16), net=Net(width=(8,)), random_state=0).fit(correlated(60))
    monkeypatch.setattr("ectype.comparison.fits.LONG_FLOP", 0.0)
    allowance = 3 * 30 * 16                                     # evaluations of a row that the training of a seed is worth
    ddim = {"sampler": "ddim", "steps": 20}
    assert affordable(model, 40, ddim, 3) == (ddim, 3 * allowance // (40 * 20))
    assert affordable(model, 40, {"sampler": "ddim", "steps": 10}, 3)[1] == 3
    assert affordable(model, 40, {}, 3) == ({"steps": 250}, 1)          # 500 steps would be 4.6 times the training of three seeds
    monkeypatch.setattr("ectype.comparison.fits.LONG_FLOP", 1e18)
    assert affordable(model, 40, {}, 3)[0] == {} and affordable(model, 40, {}, 3)[1] >= 3
    monkeypatch.setattr("ectype.comparison.fits.affordable", lambda model, n, options, n_seeds: ({"scale": 0.1}, 1))
    slow = compare(correlated(60), models=["normal"], seeds=2, out=tmp_path).results["models"]["normal"]
    assert slow["seeds"] == [0, 1] and slow["steps"] == [7, 7] and slow["metrics"]["fit_s"]["n"] == 2
    made, real = (pd.read_csv(tmp_path / "samples" / f"{name}.csv") for name in ("normal", "real"))
    assert slow["options"] == {"scale": 0.1} and (made.std() < 0.3 * real.std()).all()              # so it was drawn
    assert slow["metrics"]["c2st"]["n"] == 1 and slow["metrics"]["c2st"]["values"][1] is None


def test_images_have_bits_per_dimension(tmp_path, quick):
    X = np.random.default_rng(0).integers(0, 17, size=(40, 3, 2)).astype(np.float64)
    done = compare(X, models=["normal"], seeds=1, out=tmp_path)
    figures = done.results["models"]["normal"]["metrics"]
    assert figures["log_likelihood"]["mean"] == -3.5
    assert figures["bits_per_dim"]["mean"] == pytest.approx(3.5 / (6 * math.log(2)))
    assert np.load(tmp_path / "samples" / "normal.npz")["x"].shape == (8, 3, 2)


def test_what_codes_keep_is_kept_with_the_first_seed(tmp_path, quick):
    X = correlated(120, 4).assign(kind=["x", "y", "x"] * 40)
    results = compare(X, models=["autoencoder", "flow"], seeds=2, budget="6steps", label="kind", out=tmp_path).results
    code = results["models"]["autoencoder"]["code"]
    assert results["models"]["flow"]["code"] is None and results["models"]["autoencoder"]["error"] is None
    assert code["width"] == 2 and code["features"] == 5 and code["from_code_error"] is None and code["coloured_by"] == "kind"
    assert [p.name for p in (tmp_path / "features").iterdir()] == ["autoencoder.npz"]
    arrays = dict(np.load(tmp_path / "features" / "autoencoder.npz", allow_pickle=False))
    real = pd.read_csv(tmp_path / "samples" / "real.csv")
    n = len(real)
    assert arrays["map"].shape == (n, 2) and arrays["filters"].shape[1] == 5 and arrays["rebuilt"].shape == arrays["pca"].shape == (n, 5)
    assert [str(arrays["classes"][i]) for i in arrays["colours"]] == list(real["kind"])
    assert arrays["column_errors_rebuilt"].sum() == pytest.approx(code["error"])
    assert arrays["column_errors_pca"].sum() == pytest.approx(code["pca_error"]) and code["pca_error"] < code["error"]
    made = load_model(tmp_path / "models" / "autoencoder").reconstruct(real)
    np.testing.assert_allclose(arrays["rebuilt"][:, 0], made["a"], rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(arrays["rebuilt"][:, 4], made["kind"] == real["kind"])
    assert "What the code keeps" in write_report(tmp_path).read_text()


def test_the_density_of_a_known_truth_is_the_floor_of_the_likelihood(tmp_path, quick):
    data = load("ring8")
    done = compare(replace(data, X=data.X[:400], y=None), models=["normal"], seeds=1, out=tmp_path)
    floor = done.results["models"]["normal"]["metrics"]["log_likelihood"]["floor"]
    assert floor == pytest.approx(-data.truth.entropy, abs=4 / math.sqrt(done.results["data"]["split"]["test"]))


def test_a_family_of_two_names_is_taken_once(tmp_path, quick, monkeypatch):
    monkeypatch.setitem(registry.ALIASES, "bell", "normal")
    results = compare(correlated(60), models=["bell", "normal"], seeds=1, out=tmp_path).results
    assert list(results["models"]) == results["settings"]["models"] == ["normal"]


def test_an_interruption_keeps_what_is_finished(tmp_path, quick):
    Impatient.fits = 0
    done = compare(correlated(60), models=["impatient"], seeds=3, out=tmp_path)
    assert done.interrupted and done.results["settings"]["interrupted"] and done.results["models"]["impatient"]["seeds"] == [0]
    assert done.results["pick"]["name"] == "impatient" and any("trained once" in note for note in done.results["pick"]["notes"])
    assert "interrupted" in write_report(tmp_path).read_text()


def test_an_interruption_before_anything_is_finished_is_raised(tmp_path, quick):
    Impatient.fits = 1
    with pytest.raises(KeyboardInterrupt):
        compare(correlated(60), models=["impatient"], seeds=1, out=tmp_path)


def test_rows_of_unseen_categories_are_left_out_of_the_measurement(tmp_path, quick):
    X = correlated(100).assign(d=["x", "y"] * 50)
    X.loc[::10, "d"] = [f"only-{i}" for i in range(10)]
    sizes = compare(X, models=["broken"], seeds=1, out=tmp_path).results["data"]["split"]
    assert sizes["evaluated"] < sizes["test"] == 20


# -------------------------------------------------------------------------------------------------------------------- once more


def without_times(results: dict) -> dict:
    """What two runs of one command share."""
    results = json.loads(json.dumps({k: v for k, v in results.items() if k not in ("environment", "spent_s")}))
    for name, e in {**results["models"], **results["dummies"]}.items():
        for metric in ("rows_per_s", "fit_s", "peak_memory_mib"):
            e["metrics"].pop(metric, None)
        e.pop("steps_curve", None)
        for speed in (results["marks"].get(name, {}), results["marks"].get(name, {}).get("why", {})):
            speed.pop("speed", None)
    for cells in results["known_table"]:
        cells.pop("fast_sampling")
    results.pop("pick")         # it says who is fast
    return results


def counted(patch: pytest.MonkeyPatch) -> list[str]:
    """The fits that are made from here on."""
    made: list[str] = []
    fit = Normal.fit
    patch.setattr(Normal, "fit", lambda self, *args, **kwargs: (made.append(f"{type(self).__name__} {self.random_state}"),
                                                               fit(self, *args, **kwargs))[1])
    return made


def test_the_same_command_goes_on_where_it_stopped(tmp_path, quick, monkeypatch):
    made, X = counted(monkeypatch), correlated(60)
    first = compare(X, models=["normal"], seeds=1, out=tmp_path).results
    assert made == ["Normal 0"]
    stages: list[str] = []
    again = compare(X, models=["normal"], seeds=1, out=tmp_path, progress=lambda event: stages.append(event["stage"]))
    assert made == ["Normal 0"] and {**again.results, "spent_s": {}} == {**first, "spent_s": {}} and stages.count("kept") == 5 and "fit" not in stages
    more = compare(X, models=["normal", "collapsed"], seeds=2, out=tmp_path).results
    assert made == ["Normal 0", "Collapsed 0", "Normal 1", "Collapsed 1"] and more["models"]["normal"]["seeds"] == [0, 1]
    fresh = compare(X, models=["normal", "collapsed"], seeds=2, out=tmp_path / "fresh").results
    assert without_times(more) == without_times(fresh)


def test_an_interrupted_comparison_goes_on(tmp_path, quick):
    Impatient.fits = 0
    assert compare(correlated(60), models=["impatient"], seeds=2, out=tmp_path).interrupted
    done = compare(correlated(60), models=["impatient"], seeds=2, out=tmp_path)
    assert Impatient.fits == 3 and not done.interrupted and done.results["models"]["impatient"]["seeds"] == [0, 1]


@pytest.mark.parametrize("gone", ["samples/normal.csv", "models/normal", "fits/normal-seed0.json"])
def test_what_is_missing_from_the_folder_is_made_again(tmp_path, quick, monkeypatch, gone):
    first = compare(correlated(60), models=["normal"], seeds=1, out=tmp_path).results
    path = tmp_path / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    made = counted(monkeypatch)
    second = compare(correlated(60), models=["normal"], seeds=1, out=tmp_path).results
    assert made == ["Normal 0"] and path.exists() and without_times(first) == without_times(second)


def test_half_a_file_counts_as_missing(tmp_path, quick, monkeypatch):
    compare(correlated(60), models=["normal"], seeds=1, out=tmp_path)
    path = tmp_path / "fits" / "normal-seed0.json"
    path.write_text(path.read_text()[:100])
    made = counted(monkeypatch)
    compare(correlated(60), models=["normal"], seeds=1, out=tmp_path)
    assert made == ["Normal 0"]


def test_what_failed_is_tried_again(tmp_path, quick, monkeypatch):
    compare(correlated(60), models=["normal", "broken"], seeds=1, out=tmp_path)
    monkeypatch.setattr(Broken, "fit", Normal.fit)
    again = compare(correlated(60), models=["normal", "broken"], seeds=1, out=tmp_path).results
    assert again["models"]["broken"]["error"] is None and "broken" in again["marks"]


@pytest.mark.parametrize(("changed", "flag"), [
    (dict(budget="9steps"), "--budget differs: expected 8s, as there, got 9steps"), (dict(seed=5), "--seed differs"),
    (dict(models=["collapsed"]), "--models differs"), (dict(drop=["c"]), "the data differs|--drop differs"),
    (dict(seeds=1), "--seeds differs: expected seeds 0, 1 among them, got seeds 0")])
def test_other_settings_in_the_same_folder_are_refused_and_nothing_is_lost(tmp_path, quick, changed, flag):
    compare(correlated(60), models=["normal"], seeds=2, out=tmp_path)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(DataFileError, match=flag) as raised:
        compare(correlated(60), out=tmp_path, **{"models": ["normal"], "seeds": 2, **changed})
    assert "--out" in str(raised.value) and {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_other_data_in_the_same_folder_are_refused(tmp_path, quick):
    compare(correlated(60), models=["normal"], seeds=1, out=tmp_path)
    with pytest.raises(DataFileError, match="the data differs"):
        compare(correlated(61), models=["normal"], seeds=1, out=tmp_path)


def test_one_folder_has_one_writer(tmp_path, quick):
    busy = tmp_path / "fits" / "busy"
    busy.parent.mkdir()
    busy.write_text(f"{os.getppid()} {platform.node()}")
    with pytest.raises(DataFileError, match=f"another run is writing into .*got process {os.getppid()}"):
        compare(correlated(60), models=["normal"], seeds=1, out=tmp_path)
    busy.write_text(f"99999999 {platform.node()}")          # a run that died
    assert compare(correlated(60), models=["normal"], seeds=1, out=tmp_path).results["marks"] and not busy.exists()


def test_side_by_side_gives_what_one_after_another_gives(tmp_path):
    X, settings = correlated(60), dict(models=["autoencoder"], seeds=1, budget="5steps")
    events: list[dict] = []
    one = compare(X, out=tmp_path / "one", **settings).results
    two = compare(X, out=tmp_path / "two", jobs=2, progress=events.append, **settings).results
    assert two["environment"]["jobs"] == 2 and [e["done"] for e in events if e["stage"] == "finished"] == [1, 2, 3, 4, 5]
    assert without_times(one) == without_times(two)


@pytest.mark.parametrize("backend", ["loky", "multiprocessing", "sequential"])
def test_a_configured_backend_is_respected(backend):
    with parallel_config(backend=backend, n_jobs=2):
        pool = _Pool(None)
    assert pool.n_jobs == 2 and type(pool.parallel._backend).__name__.lower().startswith(backend)
    assert _Pool(None).n_jobs == 1 and _Pool(3).n_jobs == 3


# -------------------------------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(("settings", "error"), [
    (dict(models=["norml"]), UnknownNameError), (dict(label="z"), UnknownNameError), (dict(models=[]), InvalidParameterError),
    (dict(seeds=0), InvalidParameterError), (dict(jobs=0), InvalidParameterError), (dict(seeds=1.5), InvalidParameterError), (dict(budget="soon"), InvalidParameterError), (dict(budget="5"), InvalidParameterError),
    (dict(budget={"broken": "5s"}), InvalidParameterError), (dict(budget={"normal": ["5s"]}, seeds=2), InvalidParameterError)])
def test_mistakes_are_told_before_any_work(tmp_path, settings, error):
    with pytest.raises(error) as raised:
        compare(correlated(60), out=tmp_path / "out", **{"models": ["normal"], **settings})
    assert isinstance(raised.value, EctypeError) and not (tmp_path / "out").exists()


def test_too_few_rows_say_how_many_are_needed(tmp_path):
    with pytest.raises(DataError, match="at least 20"):
        compare(correlated(12), models=["normal"], out=tmp_path)


def test_a_column_of_identifiers_is_named(tmp_path):
    X = correlated(60).assign(key=[f"u{i}" for i in range(60)])
    with pytest.raises(DataError, match=r"column 'key' differs from row to row: .* got 0 of 12\nhint: leave it out with --drop key"):
        compare(X, models=["normal"], out=tmp_path)


def test_a_folder_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataFileError, match="--out"):
        compare(correlated(60), models=["normal"], out=tmp_path / "file" / "below")


# -------------------------------------------------------------------------------------------------------------------- marks


@pytest.mark.parametrize("better", ["half", "lower"])
def test_the_gap_is_closed_at_the_floor_and_open_at_the_reference(better):
    floor, reference = (0.5, 0.9) if better == "half" else (0.04, 4.0)
    assert gap_closed(floor, floor, reference, better) == 1 and gap_closed(reference, floor, reference, better) == 0
    assert gap_closed(0.0, floor, reference, better) == 1 and gap_closed(1e9, floor, reference, better) == 0


def test_the_gap_is_halved_halfway():
    assert gap_closed(0.7, 0.5, 0.9, "half") == pytest.approx(0.5)
    assert gap_closed(((0.2 + 2.0) / 2) ** 2, 0.04, 4.0, "lower") == pytest.approx(0.5)     # halfway in distance, not in its square


def test_noise_does_not_decide_where_the_reference_is_as_good_as_real_data():
    assert gap_closed(0.54, 0.52, 0.53, "half") == pytest.approx(0.8)
    assert gap_closed(0.0441, 0.04, 0.04, "lower") == pytest.approx(0.95)


def test_scores_average_what_is_known():
    e = entry(c2st=(0.7, 0.5), frechet_pca=(0.04, 0.04), coverage=(0.45, 0.9), recall=(1.0, 0.9))
    assert quality_scores(e, MARGINALS) == pytest.approx([0.75, 0.75])
    assert coverage_scores(e, MARGINALS) == pytest.approx([0.75, 0.75])
    e["metrics"]["c2st"]["values"] = [None, 0.7]
    assert quality_scores(e, MARGINALS) == pytest.approx([1.0, 0.75])


def test_an_unlucky_holdout_lowers_no_bar():
    e = entry(seeds=[0], c2st=(0.7, 0.7), coverage=(0.6, 0.6))
    copy = {"training_copy": entry(c2st=(0.5, None), coverage=(0.8, None))}
    assert quality_scores(e, MARGINALS) == [1.0] and coverage_scores(e, MARGINALS) == [1.0]
    assert quality_scores(e, MARGINALS | copy) == pytest.approx([0.5])
    assert coverage_scores(e, MARGINALS | copy) == pytest.approx([0.75])


def test_marks_turn_at_their_thresholds():
    def marks(c2st=0.5, copied=0.5, coverage=1.0, nfe=1, rate=100.0):
        some = entry(c2st=(c2st, 0.5), memorisation=(copied, 0.5), coverage=(coverage, 1.0), rows_per_s=(rate, None),
                     nfe=(nfe, None))
        return award_marks({"fast": entry(rows_per_s=(100.0, None), nfe=(1, None)), "some": some}, MARGINALS)["some"]

    step = 0.01
    at = 0.9 - CLOSED * 0.4
    assert (marks(c2st=at - step)["quality"], marks(c2st=at + step)["quality"]) == ("yes", "no")
    assert (marks(copied=COPYING - step)["quality"], marks(copied=COPYING)["quality"]) == ("yes", "no")
    assert "copies" in marks(copied=1.0)["why"]["quality"] and "copies" not in marks(copied=1.0, c2st=1.0)["why"]["quality"]
    assert (marks(coverage=REACHED)["coverage"], marks(coverage=REACHED - step)["coverage"]) == ("yes", "no")
    assert (marks(nfe=EVALUATIONS)["speed"], marks(nfe=EVALUATIONS + 1)["speed"]) == ("yes", "no")
    assert (marks(rate=100 / SLOWER)["speed"], marks(rate=99 / SLOWER)["speed"]) == ("yes", "no")
    assert all(len(text) > 10 for text in marks()["why"].values()) and set(RULES) <= set(marks())


def test_a_mark_is_uncertain_where_the_interval_holds_the_threshold():
    dummies = {"marginals": entry(c2st=(0.9, 0.5), memorisation=(0.5, 0.5))}

    def mark(half: float, **figures: tuple) -> dict:
        return award_marks({"some": entry(half=half, **figures)}, dummies)["some"]

    near = 0.9 - (CLOSED + 0.05) * 0.4
    assert [mark(half, c2st=(near, 0.5))["quality"] for half in (0.01, 0.05)] == ["yes", "uncertain"]
    assert mark(0.05, c2st=(near, 0.5))["why"]["quality"].endswith("uncertain: 43% to 68%, and 50% is asked for.")
    both = mark(0.05, c2st=(near, 0.5), memorisation=(COPYING - 0.03, 0.5))["why"]["quality"]
    assert "; uncertain: 43% to 68%, and 50% is asked for; but it may copy: 72%" in both
    assert both.endswith("; uncertain: 67% to 77%, and less than 75% is asked for.")
    assert [mark(half, c2st=(0.5, 0.5), memorisation=(COPYING - 0.03, 0.5))["quality"] for half in (0.01, 0.05)] == ["yes", "uncertain"]
    assert [mark(half, c2st=(0.5, 0.5), memorisation=(COPYING + 0.03, 0.5))["quality"] for half in (0.01, 0.05)] == ["no", "uncertain"]
    assert [mark(half, c2st=(0.5, 0.5), coverage=(REACHED + 0.03, 1.0))["coverage"] for half in (0.01, 0.05)] == ["yes", "uncertain"]


def test_the_ends_of_a_score_are_those_of_its_figures():
    e = entry(half=0.04, c2st=(0.7, 0.5), coverage=(0.5, 1.0))
    assert quality_scores(e, MARGINALS, WORSE) == pytest.approx([0.4, 0.4]) and quality_scores(e, MARGINALS, BETTER) == pytest.approx([0.6] * 2)
    assert coverage_scores(e, MARGINALS, WORSE) == pytest.approx([0.46] * 2) and coverage_scores(e, MARGINALS, BETTER) == pytest.approx([0.54] * 2)


# -------------------------------------------------------------------------------------------------------------------- intervals


def test_the_interval_adds_training_and_evaluation_in_squares():
    low, high = interval([0.6, 0.7, 0.8], (0.65, 0.75))
    half = math.hypot(4.302653 * 0.1 / math.sqrt(3), 0.05)
    assert (low, high) == (pytest.approx(0.7 - half), pytest.approx(0.7 + half)) and student(2) == pytest.approx(4.302653)
    assert interval([0.7], (0.6, 0.75)) == (pytest.approx(0.6), pytest.approx(0.75))
    assert interval([0.7], (None, None)) == interval([], (0.0, 1.0)) == (None, None)
    assert interval([0.9, 1.0], (0.9, 1.0), (0.0, 1.0))[1] == 1.0
    assert interval([2.0, 2.0], (None, None)) == (2.0, 2.0)


def test_the_interval_holds_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    held = []
    for _ in range(2000):
        values = rng.normal(size=3) + 0.5 * rng.normal()        # training differs by seed, the test rows are the same for all
        low, high = interval(list(values), (values.mean() - 0.98, values.mean() + 0.98))
        held.append(low <= 0 <= high)
    assert 0.94 < np.mean(held) < 0.985


def test_families_that_vary_alike_share_what_they_say_of_the_variance():
    """Scaled inverse χ² variances with ν₀ and s₀² are drawn; both are found again, and the moderated interval holds as often as it says."""
    rng = np.random.default_rng(1)
    for freedom, seeds in ((4.0, 3), (20.0, 8)):
        variances = 0.3 * freedom / rng.chisquare(freedom, size=4000)
        values = rng.normal(size=(4000, seeds)) * np.sqrt(variances)[:, None]
        found = moderation(values.tolist())
        assert found.freedom == pytest.approx(freedom, rel=0.25) and found.variance == pytest.approx(0.3, rel=0.1)
        held = [low <= 0 <= high for low, high in (interval(list(v), (None, None), others=found) for v in values)]
        assert np.mean(held) == pytest.approx(0.95, abs=0.012)
    same = moderation((rng.normal(size=(500, 3)) * 2).tolist())
    assert same.freedom > 50 and same.variance == pytest.approx(4, rel=0.15)
    widths = [np.diff(interval([0.0, 1.0, 2.0], (None, None), others=o))[0] for o in (Moderation(), Moderation(ALIKE, 1.0))]
    assert widths[0] / widths[1] == pytest.approx(student(2) / student(ALIKE + 2))
    assert moderation([[1.0, 2.0], [1.0, 3.0]]) == moderation([[1.0]] * 5) == moderation([[2.0, 2.0]] * 5) == Moderation()


def test_intervals_are_separate_or_not():
    assert separate((0.5, 0.6), (0.3, 0.4)) and not separate((0.5, 0.6), (0.3, 0.5)) and not separate((None, None), (0.1, 0.2))


# -------------------------------------------------------------------------------------------------------------------- verdict


def row(title: str, marks: str, quality: float, c2st: float = 0.7, rate: float = 100.0, half: float = 0.02) -> tuple[dict, dict]:
    """A row with the marks of these letters, in capitals where they are uncertain."""
    e = entry(c2st=(c2st, 0.5), rows_per_s=(rate, None)) | {"label": title, "family": title}
    why = {m: f"{m}." for m in RULES}
    scores = {"quality": {"mean": quality, "std": 0.01, "low": quality - half, "high": quality + half},
              "coverage": {"mean": 0.9, "std": 0.01, "low": 0.8, "high": 1.0}}
    return e, {**{m: "yes" if m[0] in marks else "uncertain" if m[0].upper() in marks else "no" for m in RULES}, "why": why, "scores": scores}


def pick(rows: dict[str, tuple[dict, dict]], mixture: float = 0.3, marginals: float = 0.0, n_test: int = 500, budget: str = "8s", jobs: int = 1) -> dict:
    dummies = {"gaussian_mixture": entry(c2st=(0.8, 0.5))}
    models, marks = {n: e for n, (e, _) in rows.items()}, {n: m for n, (_, m) in rows.items()}
    marks = marks | {n: {"scores": {"quality": {"mean": q, "std": 0.0}}} for n, q in (("gaussian_mixture", mixture), ("marginals", marginals))}
    return choose(models, dummies, marks, n_test, budget, jobs)


def test_most_marks_win_and_quality_breaks_ties():
    assert pick({"a": row("A", "qs", 0.6), "b": row("B", "q", 0.9)})["name"] == "a"
    assert pick({"a": row("A", "qs", 0.6), "b": row("B", "qc", 0.7)})["name"] == "b"
    assert "best quality of the 2" in pick({"a": row("A", "qs", 0.6), "b": row("B", "qc", 0.7)})["reason"]


def test_what_overlaps_is_not_told_apart():
    close = pick({"a": row("A", "qs", 0.6), "b": row("B", "qs", 0.62, rate=300.0), "c": row("C", "q", 0.9)})
    assert close["name"] is close["family"] is None and not close["decided"] and close["candidates"] == ["b", "a"]
    assert close["try_budget"] == "40s" and "Cannot tell B and A apart with this budget, try --budget 40s." in close["reason"]
    assert "B 62% (60% to 64%)" in close["reason"] and "fastest of them to sample is B (300 rows/s)" in close["reason"]
    far = pick({"a": row("A", "qs", 0.6), "b": row("B", "qs", 0.7)})
    assert far["decided"] and far["candidates"] == ["b"] and far["try_budget"] is None


def test_an_uncertain_mark_counts_for_the_other_side():
    sure, maybe = row("A", "qs", 0.6)[1], row("B", "qS", 0.6)[1]
    assert not is_ahead(sure, maybe) and not is_ahead(maybe, sure)
    assert is_ahead(row("A", "qsc", 0.6)[1], maybe) and not is_ahead(row("A", "q", 0.9)[1], maybe)
    assert is_ahead(row("A", "qs", 0.9)[1], maybe)          # as many marks in any case, and better


def test_coverage_decides_where_quality_cannot():
    a, b = row("A", "qs", 0.6), row("B", "qs", 0.61)
    b[1]["scores"]["coverage"] = {"mean": 0.6, "std": 0.01, "low": 0.5, "high": 0.7}
    assert pick({"a": a, "b": b})["name"] == "a"


def test_samplers_of_the_same_weights_need_not_be_told_apart():
    slow, fast = row("D", "q", 0.9), row("D", "q", 0.89, rate=900.0)
    found = pick({"d": slow, "d-fast": fast, "b": row("B", "q", 0.5)})
    assert (found["name"], found["family"], found["decided"]) == ("d-fast", "D", True)
    better = pick({"d": row("D", "q", 0.9, half=0.2), "d-fast": row("D", "q", 0.8, rate=900.0, half=0.2), "b": row("B", "q", 0.5)})
    assert better["name"] == "d"                            # a tenth of the gap is worth waiting for, though intervals overlap


@pytest.mark.parametrize(("budget", "more"), [("8s", "40s"), ("1m", "5m"), ("20s", "100s"), ("300steps", "1500steps"), ({"vae": "8s"}, None)])
def test_a_larger_budget(budget, more):
    assert larger(budget) == more


def test_the_known_table_has_what_was_asked_for_and_the_few_step_model_last():
    models = {n: entry() for n in ("truncated", "gan", "ddpm", "ddpm-dpm20", "autoencoder")}
    table = known_table(models, {"gan": row("G", "sQ", 0.5)[1], "truncated": row("S", "qsc", 0.5)[1]})
    assert [r["kind"] for r in table] == ["GAN", "Diffusion", "Few-step model"]
    assert table[0] == {"kind": "GAN", "name": "gan", "high_quality": "uncertain", "fast_sampling": "yes", "mode_coverage": "no"}
    assert table[1]["high_quality"] is None


def test_the_notes_say_what_speaks_against_the_choice():
    rows = {"a": row("A", "qsc", 0.6, rate=1000.0), "b": row("B", "qc", 0.9, rate=10.0)}
    assert any("B closes 90%" in n and "100 times the sampling time" in n for n in pick(rows)["notes"])
    assert not any("Gaussian mixture" in n for n in pick(rows)["notes"])
    assert any("as good as A" in n and "70%" in n for n in pick(rows, mixture=0.7)["notes"])
    assert any("No family beats the Gaussian mixture" in n and "95%" in n and "B, 90%" in n for n in pick(rows, mixture=0.95)["notes"])
    found = pick(rows, mixture=0.5, marginals=0.95)["notes"]
    assert "No family beats independent marginals here: they close 95% of the gap to real data, the best family, B, 90%. Take them, or give " \
           "the families a larger budget." in found
    assert any(n.startswith("Independent marginals are as good as A: they close 70%") for n in pick(rows, marginals=0.7)["notes"])
    assert any("only 30 test rows" in n and "0.15" in n for n in pick(rows, n_test=30)["notes"])
    assert not any("test rows" in n for n in pick(rows)["notes"])
    shorter = {**rows, "a": (rows["a"][0] | {"family": "a", "options": {"steps": 100}}, rows["a"][1])}
    assert any("A was sampled in 100 steps" in n for n in pick(shorter)["notes"])
    cut = rows | {"c": (entry(seeds=()) | {"metrics": {}, "label": "C", "family": "c", "error": None}, {})}
    models, marks = {n: e for n, (e, _) in cut.items()}, {n: m for n, (_, m) in rows.items()}
    assert any("Not measured yet: C;" in n for n in choose(models, {}, marks, 500)["notes"])
    alike = {"a": row("A", "qs", 0.6), "b": row("B", "qs", 0.6)}
    more = "More rows would tell the families apart"
    assert [any(more in n for n in pick(r, n_test=30)["notes"]) for r in (rows, alike)] == [pick(r)["name"] is None for r in (rows, alike)]
    assert pick(alike)["name"] is None
    assert any("2 fits ran side by side" in n for n in pick(rows, jobs=2)["notes"])
    assert not any("side by side" in n for n in pick(rows, jobs=2, budget="9steps")["notes"] + pick(rows)["notes"])


def test_nothing_is_picked_where_nothing_was_trained():
    failed = entry(seeds=()) | {"metrics": {}, "error": "seed 0: Error: no"}
    nothing = choose({"some": failed}, MARGINALS, {}, 100)
    assert nothing["name"] is None and nothing["notes"] == ["Some failed (seed 0: Error: no)."]


def test_peak_memory_sees_what_is_gone_at_the_end():
    before = PeakMemory()
    with before:
        pass
    with PeakMemory() as memory:
        block = np.ones(256 * 2**17)     # 256 MiB
        time.sleep(5 * PeakMemory.INTERVAL_S)
        del block
    assert memory.mib >= before.mib + 192
