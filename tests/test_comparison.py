"""The comparison, with families that need no training: what matters here is what is measured, marked, kept and said."""

from __future__ import annotations

import json
import math
import sys
import time
import types
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from ectype import registry
from ectype.comparison import compare
from ectype.comparison.marks import (
    CLOSED,
    COPYING,
    EVALUATIONS,
    REACHED,
    RULES,
    SLOWER,
    award_marks,
    choose,
    coverage_scores,
    gap_closed,
    quality_scores,
)
from ectype.comparison.memory import PeakMemory
from ectype.data.schema import Schema
from ectype.data.sources import load
from ectype.errors import DataError, DataFileError, EctypeError, InvalidParameterError, UnknownNameError
from ectype.estimator import load as load_model
from ectype.report import render_table, write_report


class Normal:
    """The interface of an estimator around one Gaussian with full covariance, fitted in closed form."""

    capabilities = frozenset({"sample", "exact"})
    likelihood_ = "exact"
    sampling_presets: dict = {}
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
    return compare(correlated(), models=models, seeds=2, out=tmp_path_factory.mktemp("compare"), progress=events.append), events


@pytest.fixture
def quick(monkeypatch):
    """Without the classifiers, which take most of the time and have tests of their own."""
    monkeypatch.setattr("ectype.metrics.evaluator.c2st", lambda test, rows, schema, seed: 0.5)


def entry(seeds=(0, 1), **metrics):
    """A row of results with the same figure at every seed: ``c2st=(0.7, floor)``."""
    better = {"c2st": "half", "memorisation": "half", "coverage": "higher", "recall": "higher", "rows_per_s": "higher"}
    figures = {m: {"mean": v, "std": 0.0, "floor": f, "n": len(seeds), "better": better.get(m, "lower"), "values": [v] * len(seeds)}
               for m, (v, f) in metrics.items()}
    return {"label": "Some", "title": "Some model", "family": "some", "seeds": list(seeds), "metrics": figures, "error": None}


MARGINALS = {"marginals": entry(c2st=(0.9, 0.5), frechet_pca=(4.0, 0.04))}


# -------------------------------------------------------------------------------------------------------------------- the folder


def test_results_follow_their_documented_form(finished):
    done, _ = finished
    text = (done.directory / "results.json").read_text()
    results = json.loads(text, parse_constant=lambda c: pytest.fail(f"{c} is not JSON"))
    assert results == done.results and results["schema_version"] == 1 and not done.interrupted
    assert set(results) == {"schema_version", "data", "settings", "environment", "metrics", "floor", "models", "dummies", "marks",
                            "rules", "thresholds", "pick"}
    assert set(results["dummies"]) == {"training_copy", "marginals", "gaussian_mixture", "bootstrap_noise"}
    for e in (*results["models"].values(), *results["dummies"].values()):
        for metric, figure in e["metrics"].items():
            assert set(figure) == {"mean", "std", "floor", "n", "better", "values"} and metric in results["metrics"]
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
    assert marks["normal"]["quality"] and marks["normal"]["coverage"] and marks["normal"]["speed"]
    assert not marks["collapsed"]["coverage"] and marks["collapsed"]["speed"]
    assert marks["collapsed-wide"]["coverage"] and not marks["collapsed-wide"]["speed"]
    assert not marks["copier"]["quality"] and "copies" in marks["copier"]["why"]["quality"]
    assert finished[0].results["pick"]["name"] == "normal"


def test_other_samplers_of_the_same_weights_are_rows(finished):
    models = finished[0].results["models"]
    wide, base = models["collapsed-wide"], models["collapsed"]
    assert wide["family"] == "collapsed" and wide["options"] == {"scale": 10.0}
    assert (wide["metrics"]["nfe"]["mean"], base["metrics"]["nfe"]["mean"]) == (1000, 1)
    assert wide["metrics"]["fit_s"]["values"] == base["metrics"]["fit_s"]["values"]
    assert wide["metrics"]["coverage"]["mean"] > base["metrics"]["coverage"]["mean"] + 0.2


def test_progress_counts_to_the_end(finished):
    _, events = finished
    assert events[0] == {"stage": "data"} and events[-1] == {"stage": "done", "done": 16, "total": 16}
    counts = [e["done"] for e in events if "done" in e]
    assert counts == sorted(counts) and {"fraction", "step", "row", "seed"} <= set(next(e for e in events if "fraction" in e))


def test_the_report_and_the_table_can_be_drawn(finished):
    done, _ = finished
    assert "ZeroDivisionError" in write_report(done.directory).read_text()
    assert render_table(done.results) is not None


def test_the_same_call_gives_the_same_figures(tmp_path):
    timed = {"rows_per_s", "fit_s", "peak_memory_mib"}
    X, settings = correlated(60), dict(models=["normal"], seeds=1, budget={"normal": [7]})
    runs = [compare(X, out=tmp_path / name, **settings).results for name in "ab"]
    first, second = ({m: f["values"] for m, f in run["models"]["normal"]["metrics"].items() if m not in timed} for run in runs)
    assert first == second and runs[0]["data"] == runs[1]["data"]


def test_a_family_that_cannot_be_sampled_keeps_its_fit_and_gets_no_marks(tmp_path, quick):
    results = compare(correlated(60), models=["mute"], seeds=1, out=tmp_path).results
    mute = results["models"]["mute"]
    assert set(mute["metrics"]) == {"fit_s", "parameters"} and mute["steps"] == [7] and "nothing to say" in mute["error"]
    assert "mute" not in results["marks"] and results["pick"]["name"] is None
    assert "nothing to say" in write_report(tmp_path).read_text()


def test_a_sampler_slower_than_training_is_drawn_for_the_first_seed_only(tmp_path, monkeypatch, quick):
    monkeypatch.setattr("ectype.comparison.run.LONG_S", 0.0)
    monkeypatch.setattr("ectype.comparison.run._timed_sample", lambda model, n, seed, options: (model.sample(n, random_state=seed), 0.1))
    slow = compare(correlated(60), models=["normal"], seeds=2, out=tmp_path).results["models"]["normal"]
    assert slow["seeds"] == [0, 1] and slow["steps"] == [7, 7] and slow["metrics"]["fit_s"]["n"] == 2
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


def test_an_interruption_keeps_what_is_finished(tmp_path, quick):
    Impatient.fits = 0
    done = compare(correlated(60), models=["impatient"], seeds=3, out=tmp_path)
    assert done.interrupted and done.results["settings"]["interrupted"] and done.results["models"]["impatient"]["seeds"] == [0]
    assert done.results["pick"]["name"] == "impatient"
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


# -------------------------------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(("settings", "error"), [
    (dict(models=["norml"]), UnknownNameError), (dict(label="z"), UnknownNameError), (dict(models=[]), InvalidParameterError),
    (dict(seeds=0), InvalidParameterError), (dict(seeds=1.5), InvalidParameterError), (dict(budget="soon"), InvalidParameterError),
    (dict(budget={"broken": "5s"}), InvalidParameterError), (dict(budget={"normal": ["5s"]}, seeds=2), InvalidParameterError)])
def test_mistakes_are_told_before_any_work(tmp_path, settings, error):
    with pytest.raises(error) as raised:
        compare(correlated(60), out=tmp_path / "out", **{"models": ["normal"], **settings})
    assert isinstance(raised.value, EctypeError) and not (tmp_path / "out").exists()


def test_too_few_rows_say_how_many_are_needed(tmp_path):
    with pytest.raises(DataError, match="at least 20"):
        compare(correlated(12), models=["normal"], out=tmp_path)


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
    assert marks(c2st=at - step)["quality"] and not marks(c2st=at + step)["quality"]
    assert marks(copied=COPYING - step)["quality"] and not marks(copied=COPYING)["quality"]
    assert "copies" in marks(copied=1.0)["why"]["quality"] and "copies" not in marks(copied=1.0, c2st=1.0)["why"]["quality"]
    assert marks(coverage=REACHED)["coverage"] and not marks(coverage=REACHED - step)["coverage"]
    assert marks(nfe=EVALUATIONS)["speed"] and not marks(nfe=EVALUATIONS + 1)["speed"]
    assert marks(rate=100 / SLOWER)["speed"] and not marks(rate=99 / SLOWER)["speed"]
    assert all(len(text) > 10 for text in marks()["why"].values()) and set(RULES) <= set(marks())


def row(title: str, marks: str, quality: float, c2st: float = 0.7, rate: float = 100.0) -> tuple[dict, dict]:
    e = entry(c2st=(c2st, 0.5), rows_per_s=(rate, None)) | {"label": title, "family": title}
    why = {m: f"{m}." for m in RULES}
    scores = {"quality": {"mean": quality, "std": 0.01}, "coverage": {"mean": 0.9, "std": 0.01}}
    return e, {**{m: m[0] in marks for m in RULES}, "why": why, "scores": scores}


def pick(rows: dict[str, tuple[dict, dict]], mixture: float = 0.3, n_test: int = 500) -> dict:
    dummies = {"gaussian_mixture": entry(c2st=(0.8, 0.5))}
    models, marks = {n: e for n, (e, _) in rows.items()}, {n: m for n, (_, m) in rows.items()}
    return choose(models, dummies, marks | {"gaussian_mixture": {"scores": {"quality": {"mean": mixture, "std": 0.0}}}}, n_test)


def test_most_marks_win_and_quality_breaks_ties():
    assert pick({"a": row("A", "qs", 0.6), "b": row("B", "q", 0.9)})["name"] == "a"
    assert pick({"a": row("A", "qs", 0.6), "b": row("B", "qc", 0.7)})["name"] == "b"
    assert "best quality of the 2" in pick({"a": row("A", "qs", 0.6), "b": row("B", "qc", 0.7)})["reason"]
    assert pick({"a": row("A", "qs", 0.6), "b": row("B", "qs", 0.601, rate=200.0)})["name"] == "b"


def test_the_notes_say_what_speaks_against_the_choice():
    rows = {"a": row("A", "qsc", 0.6, rate=1000.0), "b": row("B", "qc", 0.9, rate=10.0)}
    assert any("B closes 90%" in n and "100 times the sampling time" in n for n in pick(rows)["notes"])
    assert not any("Gaussian mixture" in n for n in pick(rows)["notes"])
    assert any("as good as the pick" in n and "70%" in n for n in pick(rows, mixture=0.7)["notes"])
    assert any("No family beats the Gaussian mixture" in n and "95%" in n and "B, 90%" in n for n in pick(rows, mixture=0.95)["notes"])
    assert any("only 30 test rows" in n and "0.15" in n for n in pick(rows, n_test=30)["notes"])
    assert not any("test rows" in n for n in pick(rows)["notes"])


def test_nothing_is_picked_where_nothing_was_trained():
    failed = entry(seeds=()) | {"metrics": {}, "error": "seed 0: Error: no"}
    nothing = choose({"some": failed}, MARGINALS, {}, 100)
    assert nothing["name"] is None and nothing["notes"] == ["Some failed (seed 0: Error: no)."]


def test_peak_memory_sees_what_is_gone_at_the_end():
    before = PeakMemory()
    with before:
        pass
    with PeakMemory() as memory:
        block = np.ones(64 * 2**17)      # 64 MiB
        time.sleep(5 * PeakMemory.INTERVAL_S)
        del block
    assert memory.mib >= before.mib + 48
