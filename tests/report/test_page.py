"""The page and the terminal table, drawn from folders written by hand: no model is trained here."""

from __future__ import annotations

import html.parser
import io
import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from sklearn.datasets import load_digits, make_moons

from ectype.errors import DataFileError
from ectype.report import render_table, write_report

ROWS = {    # label, C2ST, Fréchet, coverage, recall, rows/s, evaluations, parameters, (quality, coverage) scores, marks
    "autoencoder": ("Autoencoder", 0.93, 2.1, 0.61, 0.66, 31000, 1, 41_000, (0.41, 0.70), (0, 1, 0)),
    "vae": ("VAE", 0.84, 1.3, 0.78, 0.75, 24000, 1, 52_000, (0.61, 0.83), (1, 1, 1)),
    "gan": ("GAN", 0.81, 1.1, 0.55, 0.52, 28000, 1, 88_000, (0.66, 0.58), (1, 1, 0)),
    "flow": ("Flow", 0.88, 1.6, 0.74, 0.80, 6100, 1, 210_000, (0.55, 0.86), (1, 1, 1)),
    "ddpm": ("DDPM", 0.69, 0.6, 0.88, 0.85, 21, 1000, 260_000, (0.80, 0.95), (1, 0, 1)),
    "ddpm-ddim50": ("DDPM ddim50", 0.72, 0.7, 0.86, 0.83, 410, 50, 260_000, (0.76, 0.93), (1, 0, 1)),
}
DUMMY_ROWS = {"training_copy": ("Training copy", 0.52, 0.05, 0.95, 0.92, (0.97, 1.0)), "marginals": ("Marginals", 0.99, 6.2, 0.2, 0.4, (0.0, 0.3)),
              "gaussian_mixture": ("Gaussian mixture", 0.80, 0.9, 0.8, 0.82, (0.68, 0.90)), "bootstrap_noise": ("Bootstrap noise", 0.9, 0.8, 0.9, 0.9, (0.6, 0.97))}
FLOOR = {"c2st": 0.51, "frechet_pca": 0.04, "coverage": 0.95, "recall": 0.9, "memorisation": 0.5}
METRICS = {
    "c2st": ("C2ST", "half", "quality", ""), "frechet_pca": ("Fréchet distance, PCA", "lower", "quality", ""),
    "coverage": ("Coverage", "higher", "coverage", ""), "recall": ("Recall", "higher", "coverage", ""),
    "memorisation": ("Memorisation", "half", "copying", ""), "rows_per_s": ("Rows per second", "higher", "cost", "rows/s"),
    "nfe": ("Evaluations per sample", "lower", "cost", ""), "fit_s": ("Fit time", "lower", "cost", "s"),
    "peak_memory_mib": ("Peak memory", "lower", "cost", "MiB"), "parameters": ("Parameters", "lower", "cost", ""),
    "log_likelihood": ("Log-likelihood", "higher", "likelihood", "nats/row"),
}
SEEDS = [0, 1, 2]


def figure(metric: str, mean: float, spread: float) -> dict:
    values = [mean - spread, mean, mean + spread]
    return {"mean": mean, "std": spread, "floor": FLOOR.get(metric), "n": 3, "better": METRICS[metric][1], "values": values}


def example(data: dict, columns: list[str]) -> dict:
    """The content of ``results.json`` with plausible figures, for data of any kind."""
    models, marks = {}, {}
    for name, (label, c2st, frechet, coverage, recall, rate, nfe, size, scores, earned) in ROWS.items():
        family = name.split("-")[0]
        metrics = {"c2st": figure("c2st", c2st, 0.012), "frechet_pca": figure("frechet_pca", frechet, 0.08), "coverage": figure("coverage", coverage, 0.02),
                   "recall": figure("recall", recall, 0.03), "memorisation": figure("memorisation", 0.51, 0.02), "rows_per_s": figure("rows_per_s", rate, rate / 20),
                   "nfe": figure("nfe", nfe, 0.0), "fit_s": figure("fit_s", 10.2, 0.1), "peak_memory_mib": figure("peak_memory_mib", 612.0, 9.0),
                   "parameters": figure("parameters", size, 0.0)}
        if name in ("vae", "flow"):
            metrics["log_likelihood"] = figure("log_likelihood", -101.3 if name == "vae" else -97.8, 0.4)
        models[name] = {"label": label, "title": f"{label} in full", "seeds": SEEDS, "metrics": metrics, "family": family,
                        "options": {"steps": 50} if "-" in name else {}, "steps": [2130, 2096, 2144], "error": None,
                        "likelihood": {"vae": "bound", "flow": "exact"}.get(name), "worst_columns": [{"column": c, "distance": 0.3 / (i + 1)} for i, c in enumerate(columns)]}
        marks[name] = {**dict(zip(("quality", "speed", "coverage"), map(bool, earned), strict=True)),
                       "scores": {"quality": {"mean": scores[0], "std": 0.03}, "coverage": {"mean": scores[1], "std": 0.02}},
                       "why": {"quality": f"Closes {scores[0]:.0%} of the gap to real data (C2ST {c2st:.2f}, 0.50 is ideal).",
                               "speed": f"{rate:,} rows/s with {nfe} network evaluations per sample.",
                               "coverage": f"Reaches {scores[1]:.0%} of real data (coverage {coverage} of 0.95, recall {recall} of 0.90)."}}
    dummies = {}
    for name, (label, c2st, frechet, coverage, recall, scores) in DUMMY_ROWS.items():
        dummies[name] = {"label": label, "title": "Dummy", "seeds": SEEDS, "worst_columns": [],
                         "metrics": {m: figure(m, v, 0.01) for m, v in (("c2st", c2st), ("frechet_pca", frechet), ("coverage", coverage), ("recall", recall),
                                                                      ("memorisation", 1.0 if name == "training_copy" else 0.5))}}
        marks[name] = {"scores": {"quality": {"mean": scores[0], "std": 0.01}, "coverage": {"mean": scores[1], "std": 0.01}}}
    return {
        "schema_version": 1, "data": data, "floor": FLOOR, "models": models, "dummies": dummies, "marks": marks,
        "settings": {"source": data["name"], "budget": "10s", "seeds": SEEDS, "models": ["autoencoder", "vae", "gan", "flow", "ddpm"], "interrupted": False, "feature_spaces": {"pca": "21 principal components", "features": "48 features of a CNN"},
                     "label": None, "kinds": {}, "drop": [], "size": None},
        "environment": {"ectype": "0.1.0", "python": "3.11.9", "torch": "2.13.0", "numpy": "2.4.6", "processor": "a processor", "cores": 2},
        "metrics": {m: {"title": t, "better": b, "unit": u, "group": g, "meaning": f"What {t} says in one sentence.", "blind_spot": f"What {t} cannot see.",
                        "reference": "Somebody 2020"} for m, (t, b, g, u) in METRICS.items()},
        "thresholds": {"quality": 0.5, "copying": 0.75, "coverage": 0.75, "evaluations": 10, "slower": 20},
        "rules": {"quality": "Closes at least half of the gap.", "speed": "At most 10 evaluations.", "coverage": "Reaches at least 75%."},
        "pick": {"name": "vae", "family": "vae", "reason": "VAE earns all three marks, and the best quality of the 2 that do.",
                 "notes": ["Where quality alone counts, DDPM closes 80% of the gap to real data (against 61%), at 1,140 times the sampling time."]},
    }


def write_curves(directory) -> None:
    (directory / "curves").mkdir()
    steps = np.unique(np.geomspace(25, 2100, 30).astype(int))
    for i, name in enumerate(("autoencoder", "vae", "gan", "flow", "ddpm")):
        runs = [{"seed": s, "history": [{"step": int(k), "elapsed_s": k / 200, "held_out": 20 + 80 * (k / 25) ** -0.6 + i + s} for k in steps]} for s in SEEDS]
        (directory / "curves" / f"{name}.json").write_text(json.dumps(runs))


def write_images(directory):
    """Digits beside noisy digits."""
    (directory / "samples").mkdir(parents=True)
    rng = np.random.default_rng(0)
    x = load_digits().images
    np.savez_compressed(directory / "samples" / "real.npz", x=x[:200])
    for i, name in enumerate(ROWS):
        np.savez_compressed(directory / "samples" / f"{name}.npz", x=np.clip(np.round(x[200 * (i + 1) : 200 * (i + 2)] + rng.normal(0, 1.5, (200, 8, 8))), 0, 16))
    write_curves(directory)
    data = {"name": "digits", "rows": 1797, "fingerprint": "3f2a9c", "label": None, "kind": "images", "notes": [],
            "split": {"train": 1077, "holdout": 360, "test": 360, "evaluated": 360},
            "schema": [{"name": "image", "kind": "image", "height": 8, "width": 8, "channels": 1, "levels": 17, "top": 16.0}]}
    (directory / "results.json").write_text(json.dumps(example(data, [])))
    return directory


def write_table(directory):
    """A mixed table, with blanks, and a column whose name is markup."""
    (directory / "samples").mkdir(parents=True)
    rng = np.random.default_rng(0)

    def draw(shift: float) -> pd.DataFrame:
        n = 400
        age = np.round(np.clip(rng.gamma(6, 7, n) + 4 * shift, 17, 90))
        return pd.DataFrame({
            "age": age, "income": np.where(rng.random(n) < 0.1, np.nan, np.exp(rng.normal(10, 0.6 + 0.2 * shift, n)).round(2)),
            "workclass": rng.choice(["Private", "Self-employed, not incorporated", "State", None], n, p=[0.7 - 0.1 * shift, 0.15, 0.1 + 0.1 * shift, 0.05]),
            "joined": pd.Timestamp("2015-01-01") + pd.to_timedelta((rng.random(n) * 2000).round(), "D"),
            "<b>married</b>": rng.random(n) < 0.4 + 0.1 * shift})
    draw(0).to_csv(directory / "samples" / "real.csv", index=False)
    for i, name in enumerate(ROWS):
        draw(1 - 0.15 * i).to_csv(directory / "samples" / f"{name}.csv", index=False)
    write_curves(directory)
    schema = [{"name": "age", "kind": "integer", "low": 17.0, "high": 90.0, "step": 1.0, "missing": False},
              {"name": "income", "kind": "numeric", "low": 2300.5, "high": 190000.25, "step": None, "missing": True},
              {"name": "workclass", "kind": "categorical", "categories": 3, "missing": True, "most_frequent": ["Private", "Self-employed, not incorporated", "State"]},
              {"name": "joined", "kind": "datetime", "low": 1.42e9, "high": 1.59e9, "step": 86400.0, "missing": False},
              {"name": "<b>married</b>", "kind": "boolean", "categories": 2, "missing": False, "most_frequent": ["False", "True"]}]
    data = {"name": "people", "rows": 2000, "fingerprint": "77e1", "label": "<b>married</b>", "kind": "table", "notes": ["joined: read as dates"],
            "split": {"train": 1200, "holdout": 400, "test": 400, "evaluated": 400}, "schema": schema}
    (directory / "results.json").write_text(json.dumps(example(data, [c["name"] for c in schema])))
    return directory


def write_plane(directory):
    """A table of two columns."""
    (directory / "samples").mkdir(parents=True)
    for i, name in enumerate(("real", *ROWS)):
        x, _ = make_moons(600, noise=0.06 + 0.05 * i, random_state=i)
        pd.DataFrame(x, columns=["x0", "x1"]).to_csv(directory / "samples" / f"{name}.csv", index=False)
    write_curves(directory)
    schema = [{"name": c, "kind": "numeric", "low": -1.5, "high": 2.5, "step": None, "missing": False} for c in ("x0", "x1")]
    data = {"name": "moons", "rows": 3000, "fingerprint": "0b", "label": None, "kind": "table", "notes": [],
            "split": {"train": 1800, "holdout": 600, "test": 600, "evaluated": 600}, "schema": schema}
    (directory / "results.json").write_text(json.dumps(example(data, ["x0", "x1"])))
    return directory
