"""Folders as a comparison writes them, made by hand: no model is trained in these tests."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits, make_moons

SEEDS = [0, 1, 2]
FAMILIES = ["autoencoder", "vae", "gan", "flow", "ddpm"]
ROWS = {    # label, C2ST, Fréchet, coverage, recall, rows/s, evaluations, parameters, quality score, coverage score, marks
    "autoencoder": ("Autoencoder", 0.93, 2.1, 0.61, 0.66, 31000, 1, 41_000, 0.41, 0.70, ("no", "yes", "no")),
    "vae": ("VAE", 0.84, 1.3, 0.78, 0.75, 24000, 1, 52_000, 0.61, 0.83, ("yes", "yes", "yes")),
    "gan": ("GAN", 0.81, 1.1, 0.55, 0.52, 28000, 1, 88_000, 0.66, 0.58, ("yes", "yes", "no")),
    "flow": ("Flow", 0.88, 1.6, 0.74, 0.80, 6100, 1, 210_000, 0.55, 0.86, ("uncertain", "yes", "yes")),
    "ddpm": ("DDPM", 0.69, 0.6, 0.88, 0.85, 21, 1000, 260_000, 0.80, 0.95, ("yes", "no", "yes")),
    "ddpm-dpm20": ("DDPM dpm20", 0.72, 0.7, 0.86, 0.83, 410, 50, 260_000, 0.76, 0.93, ("yes", "no", "yes")),
}
DUMMIES = {     # label, C2ST, Fréchet, coverage, recall, memorisation, quality score, coverage score
    "training_copy": ("Training copy", 0.52, 0.05, 0.95, 0.92, 1.0, 0.97, 1.0),
    "marginals": ("Marginals", 0.99, 6.2, 0.2, 0.4, 0.5, 0.0, 0.3),
    "gaussian_mixture": ("Gaussian mixture", 0.80, 0.9, 0.8, 0.82, 0.5, 0.68, 0.90),
    "bootstrap_noise": ("Bootstrap noise", 0.9, 0.8, 0.9, 0.9, 1.0, 0.6, 0.97),
}
FLOOR = {"c2st": 0.51, "frechet_pca": 0.04, "coverage": 0.95, "recall": 0.9, "memorisation": 0.5}
METRICS = {     # title, better, group, unit
    "c2st": ("C2ST", "half", "quality", ""),
    "frechet_pca": ("Fréchet distance, PCA", "lower", "quality", ""),
    "coverage": ("Coverage", "higher", "coverage", ""),
    "recall": ("Recall", "higher", "coverage", ""),
    "memorisation": ("Memorisation", "half", "copying", ""),
    "rows_per_s": ("Rows per second", "higher", "cost", "rows/s"),
    "nfe": ("Evaluations per sample", "lower", "cost", ""),
    "fit_s": ("Fit time", "lower", "cost", "s"),
    "peak_memory_mib": ("Peak memory", "lower", "cost", "MiB"),
    "parameters": ("Parameters", "lower", "cost", ""),
    "log_likelihood": ("Log-likelihood", "higher", "likelihood", "nats/row"),
}


def figures(**means: float) -> dict:
    """Figures that spread by a fiftieth over the seeds, with intervals of a twentieth."""
    return {m: {"mean": v, "std": abs(v) / 50, "low": v - abs(v) / 20, "high": v + abs(v) / 20, "floor": FLOOR.get(m), "n": 3, "better": METRICS[m][1],
                "values": [0.98 * v, v, 1.02 * v]} for m, v in means.items()}


def scores(quality: float, coverage: float) -> dict:
    return {"quality": {"mean": quality, "std": 0.03, "low": quality - 0.06, "high": min(1.0, quality + 0.06)},
            "coverage": {"mean": coverage, "std": 0.02, "low": coverage - 0.05, "high": min(1.0, coverage + 0.05)}}


def steps_curve(n: int) -> list[dict]:
    """Better with every step, the last point left out for time."""
    floor = {"c2st": 0.52, "coverage": 0.94, "frechet_features": 0.04}
    points = [{"steps": k, "sampler": "dpm", "nfe": k, "c2st": 0.5 + 0.5 / k**0.5, "coverage": 0.9 - 0.7 / k, "frechet_features": 1 / k,
               "rows_per_s": 1e4 / k, "samples": n, "floor": floor, "left_out": None} for k in (1, 2, 4, 8, 16, 50)]
    late = {"steps": 1000, "sampler": "ancestral", "nfe": 1000, "samples": n, "floor": floor, "left_out": "would have taken about 80 s"}
    return [*points, late | dict.fromkeys(("c2st", "coverage", "frechet_features", "rows_per_s"))]


def example(data: dict) -> dict:
    """The content of ``results.json`` with plausible figures, for data of any kind."""
    models, dummies, marks = {}, {}, {}
    columns = [c["name"] for c in data["schema"]] if data["kind"] == "table" else []
    for name, (label, c2st, frechet, coverage, recall, rate, nfe, size, quality, covered, earned) in ROWS.items():
        likelihood = {"vae": ("bound", -101.3), "flow": ("exact", -97.8)}.get(name)
        metrics = figures(c2st=c2st, frechet_pca=frechet, coverage=coverage, recall=recall, memorisation=0.51,
                          rows_per_s=rate, nfe=nfe, fit_s=10.2, peak_memory_mib=612.0, parameters=size)
        models[name] = {"label": label, "title": f"{label} in full", "family": name.split("-")[0], "seeds": SEEDS, "error": None,
                        "metrics": metrics | (figures(log_likelihood=likelihood[1]) if likelihood else {}),
                        "options": {"steps": 50} if "-" in name else {}, "steps": [2130, 2096, 2144],
                        "given": {"budget": ["10s"] * 3, "rows": 1200, "threads": 0, "parameters": size},
                        "likelihood": likelihood[0] if likelihood else None,
                        "worst_columns": [{"column": c, "distance": 0.3 / (i + 1)} for i, c in enumerate(columns)]}
        if name == "ddpm":
            models[name]["steps_curve"] = steps_curve(data["split"]["evaluated"])
        marks[name] = dict(zip(("quality", "speed", "coverage"), earned, strict=True)) | {
            "scores": scores(quality, covered),
            "why": {"quality": f"Closes {quality:.0%} of the gap to real data (C2ST {c2st:.2f}, 0.50 is ideal).",
                    "speed": f"{rate:,} rows/s with {nfe:,} network evaluations per sample.",
                    "coverage": f"Reaches {covered:.0%} of what real rows reach."}}
    for name, (label, c2st, frechet, coverage, recall, copied, quality, covered) in DUMMIES.items():
        metrics = figures(c2st=c2st, frechet_pca=frechet, coverage=coverage, recall=recall, memorisation=copied)
        dummies[name] = {"label": label, "title": "No deep learning.", "seeds": SEEDS, "worst_columns": [], "metrics": metrics}
        marks[name] = {"scores": scores(quality, covered), "why": {}}
    return {
        "schema_version": 2, "data": data, "floor": FLOOR, "floor_intervals": {m: {"low": v - 0.01, "high": v + 0.01} for m, v in FLOOR.items()}, "models": models, "dummies": dummies, "marks": marks,
        "settings": {"source": data["name"], "budget": "10s", "seeds": SEEDS, "models": FAMILIES, "interrupted": False,
                     "label": None, "kinds": {}, "drop": [], "size": None, "feature_spaces": {"pca": "21 principal components"}},
        "environment": {"ectype": "0.1.0", "python": "3.11.9", "torch": "2.13.0", "processor": "a processor", "cores": 2},
        "spent_s": {"training": 156.4, "sampling": 1069.0, "metrics": 42.0, "pictures": 9.9},
        "metrics": {m: {"title": title, "better": better, "unit": unit, "group": group, "meaning": f"What {title} says.",
                        "blind_spot": f"What {title} cannot see.", "reference": "Somebody 2020"}
                    for m, (title, better, group, unit) in METRICS.items()},
        "thresholds": {"quality": 0.5, "copying": 0.75, "coverage": 0.75, "evaluations": 10, "slower": 20},
        "rules": {"quality": "Closes half of the gap.", "speed": "At most 10 evaluations.", "coverage": "Reaches three quarters."},
        "known_table": [{"kind": kind, "name": n, **dict(zip(("high_quality", "fast_sampling", "mode_coverage"), ROWS[n][-1], strict=True))}
                        for kind, n in (("GAN", "gan"), ("Diffusion", "ddpm"), ("VAE", "vae"), ("Normalizing flow", "flow"))],
        "pick": {"name": "vae", "family": "vae", "decided": True, "candidates": ["vae"], "try_budget": None, "reason": "VAE earns all three marks, and has the best quality of the 2 that do.",
                 "notes": ["Where quality alone counts, DDPM closes 80% of the gap, at 1,100 times the sampling time."]},
    }


def write_folder(directory, data: dict):
    """``results.json`` and training curves."""
    (directory / "curves").mkdir()
    steps = np.unique(np.geomspace(25, 2100, 30).astype(int)).tolist()
    for i, name in enumerate(FAMILIES):
        runs = [{"seed": s, "history": [{"step": k, "elapsed_s": k / 200, "held_out": 80 * k**-0.6 + i + s} for k in steps]}
                for s in SEEDS]
        (directory / "curves" / f"{name}.json").write_text(json.dumps(runs))
    sizes = {"train": 1200, "holdout": 400, "test": 400, "evaluated": 400}
    whole = {"rows": 2000, "fingerprint": "3f2a9c01" * 8, "label": None, "split": sizes, "notes": []} | data
    (directory / "results.json").write_text(json.dumps(example(whole)))
    return directory


def keep(path, **arrays) -> None:
    path.parent.mkdir(exist_ok=True)
    np.savez_compressed(path, **arrays)


def write_images(directory):
    """Digits beside noisy digits."""
    (directory / "samples").mkdir(parents=True)
    rng = np.random.default_rng(0)
    x = load_digits().images
    np.savez_compressed(directory / "samples" / "real.npz", x=x[:200])
    for i, name in enumerate(ROWS, 1):
        noisy = x[200 * i : 200 * (i + 1)] + rng.normal(0, 1.5, (200, 8, 8))
        np.savez_compressed(directory / "samples" / f"{name}.npz", x=np.clip(np.round(noisy), 0, 16))
        keep(directory / "neighbours" / f"{name}.npz", x=x[:8], ratio=np.linspace(0.1, 2, 8))
    ways = np.stack([x[k : k + 9] for k in range(5)])
    keep(directory / "trajectories" / "ddpm.npz", times=np.linspace(0, 1, 9), reverse_times=np.linspace(1, 0, 9), forward=ways, reverse=ways,
         guess=ways, steps=np.array([1, 2, 4]), step_rows=x[:30].reshape(3, 10, 8, 8))
    image = {"name": "image", "kind": "image", "height": 8, "width": 8, "channels": 1, "levels": 17, "top": 16.0, "missing": False}
    return write_folder(directory, {"name": "digits", "kind": "images", "schema": [image]})


def write_signals(directory):
    """Sines beside noisy sines, in two channels."""
    (directory / "samples").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i, name in enumerate(("real", *ROWS)):
        x = np.sin(np.arange(300) / 9 + 6 * rng.random((40, 1))) + 0.1 * i * rng.normal(size=(40, 300))
        np.savez_compressed(directory / "samples" / f"{name}.npz", x=np.stack([x, 5 - x], axis=-1))
    keep(directory / "neighbours" / "vae.npz", x=np.stack([x, 5 - x], axis=-1)[:8], ratio=np.full(8, 0.9))
    ways = np.stack([x, 5 - x], axis=-1).reshape(5, 8, 300, 2)
    keep(directory / "trajectories" / "ddpm.npz", times=np.linspace(0, 1, 8), reverse_times=np.linspace(1, 0, 8), forward=ways, reverse=ways,
         guess=ways, steps=np.array([1, 4]), step_rows=np.stack([ways[0], ways[1]]))
    signal = {"name": "signal", "kind": "signal", "length": 300, "channels": 2, "rate": 100, "low": -1.0, "high": 6.0, "missing": False}
    return write_folder(directory, {"name": "sines", "kind": "signals", "schema": [signal]})


def people(shift: float, n: int = 400) -> pd.DataFrame:
    """A mixed table with blanks and with a column whose name is markup."""
    rng = np.random.default_rng(0)
    work = ["Private", "Self-employed, not incorporated", "State", None]
    return pd.DataFrame({
        "age": np.round(np.clip(rng.gamma(6, 7, n) + 4 * shift, 17, 90)),
        "income": np.where(rng.random(n) < 0.1, np.nan, np.exp(rng.normal(10, 0.6 + 0.2 * shift, n)).round(2)),
        "workclass": rng.choice(work, n, p=[0.7 - 0.1 * shift, 0.15, 0.1 + 0.1 * shift, 0.05]),
        "joined": pd.Timestamp("2015-01-01") + pd.to_timedelta((rng.random(n) * 2000).round(), "D"),
        "<b>married</b>": rng.random(n) < 0.4 + 0.1 * shift})


def write_table(directory):
    (directory / "samples").mkdir(parents=True)
    people(0).to_csv(directory / "samples" / "real.csv", index=False)
    for i, name in enumerate(ROWS):
        people(1 - 0.15 * i).to_csv(directory / "samples" / f"{name}.csv", index=False)
    columns, *near = csv.reader(io.StringIO(people(0).head(8).to_csv(index=False)))
    (directory / "neighbours").mkdir()
    (directory / "neighbours" / "vae.json").write_text(json.dumps({
        "columns": columns, "rows": [[v or None for v in row] for row in near], "ratio": [1.0] * 8}))
    real = np.full((5, 5), 0.3) + 0.7 * np.eye(5)
    made = real.copy()
    made[0, 1] = made[1, 0] = -0.2
    keep(directory / "associations" / "vae.npz", real=real, generated=made)
    schema = [{"name": "age", "kind": "integer", "low": 17.0, "high": 90.0, "step": 1.0, "missing": False},
              {"name": "income", "kind": "numeric", "low": 2300.5, "high": 190000.25, "step": None, "missing": True},
              {"name": "workclass", "kind": "categorical", "categories": 3, "missing": True,
               "most_frequent": ["Private", "Self-employed, not incorporated", "State"]},
              {"name": "joined", "kind": "datetime", "low": 1.42e9, "high": 1.59e9, "step": 86400.0, "missing": False},
              {"name": "<b>married</b>", "kind": "boolean", "categories": 2, "missing": False, "most_frequent": ["False", "True"]}]
    data = {"name": "people", "kind": "table", "label": "<b>married</b>", "notes": ["joined: read as dates"], "schema": schema}
    return write_folder(directory, data)


def write_plane(directory):
    """A table of two columns."""
    (directory / "samples").mkdir(parents=True)
    for i, name in enumerate(("real", *ROWS)):
        x, _ = make_moons(600, noise=0.06 + 0.05 * i, random_state=i)
        pd.DataFrame(x, columns=["x0", "x1"]).to_csv(directory / "samples" / f"{name}.csv", index=False)
    ways = np.linspace(0, 1, 24)[None, :, None] * x[:40, None] + np.linspace(1, 0, 24)[None, :, None]
    keep(directory / "trajectories" / "ddpm.npz", times=np.linspace(0, 1, 24), reverse_times=np.linspace(1, 0, 24),
         columns=np.array(["x0", "x1"]), forward=ways, reverse=ways, guess=ways, data=x[:100], steps=np.array([1, 8]),
         step_rows=np.stack([x[:50], x[50:100]]))
    grid = np.linspace(-2, 3, 16)
    keep(directory / "trajectories" / "gan.npz", film_steps=np.array([25, 100, 700]), columns=np.array(["x0", "x1"]), axis_0=grid, axis_1=grid,
         film_rows=np.stack([x[:30]] * 3), film_critic=np.full((3, 16, 16), 0.6), film_data=x[:100])
    schema = [{"name": c, "kind": "numeric", "low": -1.5, "high": 2.5, "step": None, "missing": False} for c in ("x0", "x1")]
    return write_folder(directory, {"name": "moons", "kind": "table", "schema": schema})


WRITERS = {"images": write_images, "signals": write_signals, "table": write_table, "plane": write_plane}


@pytest.fixture(scope="session")
def writers():
    """For each kind of data, the function that writes a folder."""
    return WRITERS


@pytest.fixture(scope="session")
def points():
    """A steps curve of points from so many rows."""
    return steps_curve


@pytest.fixture(scope="session", params=WRITERS)
def drawn(request, tmp_path_factory):
    """A folder of each kind, to be read only."""
    return WRITERS[request.param](tmp_path_factory.mktemp(request.param))


@pytest.fixture
def images(tmp_path):
    return write_images(tmp_path)


@pytest.fixture
def signals(tmp_path):
    return write_signals(tmp_path)


@pytest.fixture
def table(tmp_path):
    return write_table(tmp_path)


@pytest.fixture
def plane(tmp_path):
    return write_plane(tmp_path)
