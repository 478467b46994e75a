"""Novelty detection with defaults only, beside PyOD's detectors in the same run: twelve tables of ADBench, and UCI mushrooms.

Each detector learns from a random half of the normal rows (identical rows on one side) and ranks the other rows, anomalies included.
The figure is the AUROC; nothing is tuned for any set. Ours is ``NoveltyDetector(random_state=seed)``, calibration included, on the columns
as they are. PyOD gets standardised columns (of mushrooms: one-hot), its defaults, and the seed where it takes one.

``python -m bench.novelty PYTHON [--seeds 5] [--peer-seeds 3] [--neural-seeds 3] [--peers NAME …] [--sets NAME …]``: PYTHON is the
interpreter of an environment with pyod and torch; the peers that train networks may have fewer seeds. Data are read from
``ECTYPE_DATA_DIR``. Bars: mean AUROC over the twelve 0.965, fit and score of a set 20 s, mushrooms 0.999. The share of normal rows called
novel, which should be near 0.05, is recorded too, and the processor time of ours, since the processor may be shared.
``results/novelty.json`` is written after every seed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from bench.record import write
from ectype import NoveltyDetector

DATA = Path(os.environ.get("ECTYPE_DATA_DIR", "data"))
SETS = ("2_annthyroid", "4_breastw", "6_cardio", "20_letter", "23_mammography", "25_musk", "26_optdigits", "28_pendigits", "31_satimage-2",
        "32_shuttle", "38_thyroid", "40_vowels")
MUSHROOMS = "mushrooms"
PEER = Path(__file__).parent / "pyod_peer.py"
PEERS, NEURAL = ("KNN", "LOF", "ECOD", "IForest", "PCA"), ("AutoEncoder", "VAE", "DeepSVDD")
BARS = {"mean_auroc": 0.965, "seconds": 20.0, "mushrooms_auroc": 0.999}


def read(name: str) -> tuple[pd.DataFrame, np.ndarray]:
    """The columns, and which rows are anomalies. Mushrooms declare every letter that a column may have."""
    if name == MUSHROOMS:
        frame = pd.read_csv(DATA / "mushroom" / "mushroom.csv", dtype=str).fillna("?")
        label = frame.columns[0]
        return frame.drop(columns=label).astype("category"), frame[label].str.startswith("p").to_numpy()
    with np.load(DATA / "adbench" / f"{name}.npz", allow_pickle=False) as d:
        return pd.DataFrame(d["X"].astype(np.float64)).rename(columns=str), d["y"].astype(bool)


def split(X: pd.DataFrame, novel: np.ndarray, seed: int) -> np.ndarray:
    """Which rows to learn from, ``(N,)``: groups of identical rows in random order until they hold half of the normal ones."""
    groups = X.groupby(list(X.columns), observed=True, sort=False).ngroup().to_numpy()
    order = np.random.default_rng(seed).permutation(groups.max() + 1)
    normal = np.bincount(groups, weights=~novel, minlength=len(order))[order].cumsum()
    return np.isin(groups, order[normal <= normal[-1] / 2]) & ~novel


def ours(X: pd.DataFrame, novel: np.ndarray, train: np.ndarray, seed: int) -> dict[str, float]:
    """AUROC, seconds of fitting and scoring by the clock and of the processor, share of the normal rows that were called novel."""
    start, cpu = time.perf_counter(), time.process_time()
    detector = NoveltyDetector(random_state=seed).fit(X[train].to_numpy() if X.dtypes.iloc[0].kind == "f" else X[train])
    scores = detector.score_samples(X[~train].to_numpy() if X.dtypes.iloc[0].kind == "f" else X[~train])
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu
    rest = novel[~train]
    return {"auroc": roc_auc_score(rest, -scores), "seconds": seconds, "cpu_seconds": cpu_seconds,
            "false_alarms": float((scores[~rest] < detector.offset_).mean())}


def peers(python: str, names: list[str], X: pd.DataFrame, novel: np.ndarray, train: np.ndarray, seed: int) -> dict[str, dict[str, Any]]:
    """The same of each of PyOD's detectors, in its own environment; ``auroc`` is None where its scores are not finite."""
    numbers = pd.get_dummies(X).to_numpy(np.float64)
    scale = numbers[train].std(0)
    numbers = (numbers - numbers[train].mean(0)) / np.where(scale > 0, scale, 1.0)
    with TemporaryDirectory() as folder:
        job = Path(folder) / "job.npz"
        np.savez(job, train=numbers[train], test=numbers[~train], seed=seed)
        done = subprocess.run([python, str(PEER), str(job), *names], capture_output=True, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        with np.load(job.with_suffix(".scores.npz")) as scores:
            for name, entry in found.items():
                finite = name in scores and np.isfinite(scores[name]).all()
                entry["auroc"] = roc_auc_score(novel[~train], scores[name]) if finite else None
    return found


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over seeds, and every AUROC."""
    every = [r["auroc"] for r in runs]
    keys = [k for k in runs[0] if k != "auroc" and isinstance(runs[0][k], float)]
    return {"auroc": None if None in every else round(statistics.fmean(every), 4),
            "all": [v if v is None else round(v, 4) for v in every], **{k: round(statistics.fmean(r[k] for r in runs), 3) for k in keys}}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("python")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--peer-seeds", type=int, default=3)
    parser.add_argument("--neural-seeds", type=int)
    parser.add_argument("--peers", nargs="*", default=list(PEERS + NEURAL))
    parser.add_argument("--sets", nargs="*", default=[*SETS, MUSHROOMS])
    flags = parser.parse_args()
    n_ours, n_peers, names = flags.seeds, flags.peer_seeds, flags.sets
    n_neural = n_peers if flags.neural_seeds is None else flags.neural_seeds
    runs: dict[str, dict[str, list[dict[str, Any]]]] = {name: {"ectype": []} for name in names}
    results: dict[str, dict[str, Any]] = {}
    for seed in range(max(n_ours, n_peers)):
        for name in names:
            X, novel = read(name)
            train = split(X, novel, seed)
            if seed < n_ours:
                runs[name]["ectype"].append(ours(X, novel, train, seed))
            if seed < n_peers:
                some = [peer for peer in flags.peers if seed < (n_neural if peer in NEURAL else n_peers)]
                for peer, entry in peers(flags.python, some, X, novel, train, seed).items():
                    runs[name].setdefault(peer, []).append(entry)
            results[name] = {"rows": len(X), "columns": X.shape[1], "learnt_from": int(train.sum()),
                             **{k: summary(v) for k, v in runs[name].items()}}
            latest = {k: (v['all'][-1], v['seconds']) for k, v in results[name].items() if isinstance(v, dict)}
            sys.stderr.write(f"{seed} {name} {latest}\n")
        tables = [results[n] for n in SETS if n in results]
        seeds = {k: min(seed + 1, n) for k, n in (("ectype", n_ours), ("peers", n_peers), ("neural peers", n_neural))}
        write("novelty", {"seeds": seeds, "bars": BARS,
                          "mean_over_adbench": {k: mean(tables, k) for k in runs[names[0]]} if tables else {}, "sets": results})


def mean(tables: list[dict[str, Any]], detector: str) -> dict[str, Any] | None:
    """The mean AUROC over the tables on which a detector's scores are finite, and how many those are."""
    finite = [t[detector]["auroc"] for t in tables if t[detector]["auroc"] is not None]
    return {"auroc": round(statistics.fmean(finite), 4), "sets": len(finite)} if finite else None


if __name__ == "__main__":
    main()
