"""What the classifier test tells apart, and what it costs, with different settings of its classifiers: on MNIST at 8×8 and on Adult.

``python -m bench.c2st [DRAWS]`` (10); ``bench/results/c2st.json`` holds the outcome. Real rows are judged against fresh ones, against
fresh ones of which 30 % come from a Gaussian mixture, and against some with a little noise, or with one column shuffled. Neither data set
is one that `ectype doctor` or `ectype compare digits` looks at. One thread.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from unittest.mock import patch

import numpy as np

from bench.record import write
from ectype.data.schema import Schema
from ectype.data.sources import load
from ectype.metrics import c2st as judge
from ectype.metrics.dummies import gaussian_mixture
from ectype.metrics.threads import one_thread

SETTINGS = {
    "60 trees, batches of 64": {"TREES": 60, "TREE_RATE": 0.1, "CNN_BATCH": 64, "CNN_STEPS": 24},
    "60 trees, 40 batches of 64": {"TREES": 60, "TREE_RATE": 0.1, "CNN_BATCH": 64, "CNN_STEPS": 40},
    "30 trees, batches of 128": {"TREES": 30, "TREE_RATE": 0.2, "CNN_BATCH": 128, "CNN_STEPS": 20},
    "20 trees, batches of 128": {"TREES": 20, "TREE_RATE": 0.3, "CNN_BATCH": 128, "CNN_STEPS": 20},
}
FITTED, ROWS, SHARE = 1000, {"mnist 8x8": 360, "adult": 600}, 0.3


def small_digits() -> tuple[np.ndarray, Schema]:
    """12,000 images of 8×8 pixels with 17 levels."""
    X = np.asarray(load(Path(os.environ["ECTYPE_DATA_DIR"]) / "mnist" / "train-images-idx3-ubyte.gz").X)[:12_000]
    X = np.round(X[:, 2:26, 2:26].reshape(-1, 8, 3, 8, 3).mean((2, 4)) / 16).clip(0, 16).astype(np.uint8)
    schema = Schema.fit(X[:FITTED])
    return schema.encode(X), schema


def adult() -> tuple[np.ndarray, Schema]:
    """About 12,000 rows in random order."""
    X = load("adult").X
    X = X.iloc[np.random.default_rng(0).permutation(len(X))[:12_000]].reset_index(drop=True)
    schema = Schema.fit(X[:FITTED])
    return schema.encode(X[schema.accepts(X)]), schema


def pairs(stored: np.ndarray, schema: Schema, n: int, draws: int) -> list[dict[str, tuple[np.ndarray, np.ndarray]]]:
    """Real rows, and others that are as good, or bad in a known way, for each draw."""
    mixture, found = gaussian_mixture(stored[:FITTED], schema, 4000, 0), []
    for draw in range(draws):
        rng = np.random.default_rng(draw)
        rows = FITTED + rng.permutation(len(stored) - FITTED)[: 2 * n]
        real, fresh = stored[rows[:n]], stored[rows[n:]]
        mixed, chosen = fresh.copy(), rng.permutation(n)[: int(SHARE * n)]
        mixed[chosen] = mixture[rng.choice(len(mixture), len(chosen), replace=False)]
        other = fresh.copy()
        if schema.is_image:
            noisy = np.round(fresh + 0.04 * 16 * rng.normal(size=fresh.shape)).clip(0, 16)
            other[: n // 2] = noisy[: n // 2]
        else:
            other[:, 3] = rng.permutation(other[:, 3])
        found.append({"fresh": (real, fresh), "mixture": (real, mixed), "noise" if schema.is_image else "shuffled": (real, other)})
    return found


def main() -> None:
    draws = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    outcome: dict[str, dict] = {}
    with one_thread():
        for (name, n), (stored, schema) in zip(ROWS.items(), (small_digits(), adult()), strict=True):
            judged = pairs(stored, schema, n, draws)
            for setting, values in SETTINGS.items():
                start = time.process_time()
                with patch.multiple(judge, **values):
                    scores = {kind: [judge.c2st(*p[kind], schema, draw) for draw, p in enumerate(judged)] for kind in judged[0]}
                took = (time.process_time() - start) / (len(scores) * draws)
                chance = float(np.std(scores["fresh"]))
                outcome.setdefault(name, {})[setting] = {
                    "processor_s": round(took, 3),
                    **{kind: {"auroc": round(float(np.mean(v)), 3), "std": round(float(np.std(v)), 3),
                              "deviations_from_chance": round((float(np.mean(v)) - 0.5) / chance, 1)} for kind, v in scores.items()}}
    write("c2st", {"draws": draws, "rows": ROWS, "share_of_the_mixture": SHARE, "data": outcome})


if __name__ == "__main__":
    main()
