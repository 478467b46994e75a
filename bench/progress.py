"""Each family now and before, at the same budget, judged alike.

``python -m bench.progress SOURCES [DATA …] [--budget 60s]`` with ECTYPE_DATA_DIR: ``SOURCES`` is the ``src`` folder of an older checkout,
DATA some of ``digits``, ``mnist``, ``adult``. For each of four families, and in turns, a process of the older sources and one of
these fit the training rows with the default settings (one thread, one seed) and draw rows with the default sampler, but those of a DDPM of
pictures in 20 steps of DPM-Solver++. Both are judged by
these metrics, beside as many rows that were held out, and with as many more for the floor. Bar: quality (Fréchet distance and C2ST AUROC)
and coverage no worse than before. ``results/progress.json`` keeps the data that are not named.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.record import machine, read, write

FAMILIES = ("VAE", "GAN", "Flow", "DDPM")
JUDGED, SEED = 2000, 0
KEPT = ("c2st", "frechet_pca", "frechet_features", "precision", "recall", "coverage")
DRAW = """
import sys, time
import numpy as np, pandas as pd, torch
import ectype
torch.set_num_threads(1)
family, data, made, budget, n, source = sys.argv[1:]
X = np.load(data) if data.endswith(".npy") else pd.read_pickle(data)
assert ectype.__file__.startswith(source), (ectype.__file__, source)
model = getattr(ectype, family)(train=ectype.Train(budget=budget, threads=1), random_state=0).fit(X)
S = model.sample(int(n), random_state=0, **({"sampler": "dpm", "steps": 20} if family == "DDPM" and data.endswith(".npy") else {}))
np.save(made, S) if data.endswith(".npy") else S.to_pickle(made)
print(model.n_steps_)
"""


def rows(name: str) -> tuple[Any, Any, Any]:
    """Training rows, and two parts of those that are held out."""
    from ectype.data.sources import load

    if name == "mnist":
        from bench.gan import pictures

        X, _, held, _ = pictures("mnist")
    elif name == "digits":
        X, held = np.split(load("digits").X[np.random.default_rng(SEED).permutation(1797)], [1197])
    else:
        X, held = (load(Path(os.environ["ECTYPE_DATA_DIR"]) / "adult" / f"adult_{part}.csv.gz").X for part in ("train", "test"))
    k, order = min(JUDGED, len(held) // 2), np.random.default_rng(SEED).permutation(len(held))
    parts = (order[:k], order[k : 2 * k])
    return X, *(held.iloc[p].reset_index(drop=True) if isinstance(held, pd.DataFrame) else held[p] for p in parts)


def judged(name: str, sources: dict[str, Path], budget: str) -> dict[str, Any]:
    """Every family by every version, on one data set."""
    from ectype.data.schema import Schema
    from ectype.metrics import Evaluator

    X, *held = rows(name)
    schema = Schema.fit(X)
    held = [h[schema.accepts(h)] for h in held]
    evaluator = Evaluator(schema, schema.encode(X), *(schema.encode(h) for h in held), seed=SEED)
    floor = evaluator.floor()
    found: dict[str, Any] = {"floor": {k: round(float(floor[k]), 4) for k in KEPT if k in floor}}
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / ("rows.pkl" if isinstance(X, pd.DataFrame) else "rows.npy")
        X.to_pickle(kept) if isinstance(X, pd.DataFrame) else np.save(kept, X)
        for family in FAMILIES:
            found[family] = {}
            for version, source in sources.items():
                made = kept.with_stem(f"{family}-{version}")
                env = {**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"}
                words = [family, kept, made, budget, len(held[0]), source]
                done = subprocess.run([sys.executable, "-c", DRAW, *map(str, words)], check=True, env=env, text=True,
                                      stdout=subprocess.PIPE)
                S = pd.read_pickle(made) if made.suffix == ".pkl" else np.load(made)
                values = evaluator.evaluate(schema.encode(S), SEED)
                found[family][version] = {"steps": int(done.stdout.split()[-1]),
                                          **{k: round(float(values[k]), 4) for k in KEPT if k in values}}
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("sources", type=Path)
    parser.add_argument("data", nargs="*", default=["digits", "adult", "mnist"])
    parser.add_argument("--budget", default="60s")
    flags = parser.parse_args()
    git = subprocess.run(["git", "-C", str(flags.sources), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
    sources = {"before": flags.sources, "now": Path(__file__).parent.parent / "src"}
    found = read("progress")
    for name in flags.data:
        found[name] = {"machine": machine(), "budget": flags.budget, "before": git.stdout.strip(), **judged(name, sources, flags.budget)}
        write("progress", {"threads": 1, **found})


if __name__ == "__main__":
    main()
