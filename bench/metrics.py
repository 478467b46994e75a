"""Our figures beside those of public implementations on the same arrays, and what judging 10,000 × 10,000 MNIST images costs.

``python -m bench.metrics PYTHON [mnist]``: ``PYTHON`` is an interpreter with ``prdc``, ``POT`` and ``torch-fidelity``; ``mnist`` adds the
timed evaluation (one thread; the images are in ``$ECTYPE_DATA_DIR/mnist``). ``bench/results/metrics.json`` holds the outcome.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from bench.record import ROOT, write

AGREES = 1e-6           # difference up to which two figures are one, relative to figures above 1
ROWS = 600
NOTES = {
    "frechet": "The comparison's own covariances are divided by N, those of the Gaussians that fit best (`frechet_over_n`), the peer's by "
               "N − 1; what is compared is ours with N − 1.",
    "precision, recall, density, coverage": "Balls are closed here and open there. Where rows repeat, as in tables, radii are zero, and "
                                            "an open ball leaves exact copies of the data outside.",
    "sliced_wasserstein": "The directions are given to both; with p = 1 the peer's mean of powers is the mean.",
}


def cases() -> dict[str, dict[str, np.ndarray]]:
    """Pairs of samples: Gaussians of 8 and 64 dimensions, unequal tails, and whole numbers that repeat."""
    rng = np.random.default_rng(0)
    pairs = {
        "gaussian 8": (rng.normal(size=(ROWS, 8)), rng.normal(0.2, 1.2, size=(ROWS, 8))),
        "gaussian 64": (rng.normal(size=(ROWS, 64)), rng.normal(0.1, 1.1, size=(ROWS, 64))),
        "heavy tails": (rng.standard_t(3, size=(ROWS, 5)), rng.laplace(size=(ROWS, 5))),
        "repeated rows": (rng.integers(0, 3, (ROWS, 3)).astype(float), rng.integers(0, 3, (ROWS, 3)).astype(float)),
    }
    out = {}
    for name, (x, y) in pairs.items():
        directions = rng.normal(size=(x.shape[1], 50))
        scores = np.round(np.concatenate([rng.normal(size=len(x)), rng.normal(0.5, 1, len(y))]), 2)       # with ties
        out[name] = {"x": x, "y": y, "directions": directions / np.linalg.norm(directions, axis=0), "scores": scores}
    return out


def ours(x: np.ndarray, y: np.ndarray, directions: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """The same figures from this library; ``frechet`` with covariances divided by N − 1 too."""
    from ectype.metrics.c2st import auroc
    from ectype.metrics.frechet import Gaussian, fit_gaussian, frechet_distance
    from ectype.metrics.mmd import kernel_distance
    from ectype.metrics.neighbours import fidelity_and_coverage
    from ectype.metrics.wasserstein import sliced_wasserstein, wasserstein_1d

    a, b = fit_gaussian(x), fit_gaussian(y)
    unbiased = [Gaussian(g.mean, g.covariance * len(s) / (len(s) - 1)) for g, s in ((a, x), (b, y))]
    return {**fidelity_and_coverage(x, y, 5), "frechet": frechet_distance(*unbiased), "frechet_over_n": frechet_distance(a, b),
            "kernel_distance": kernel_distance(x, y).value, "sliced_wasserstein": sliced_wasserstein(x, y, directions),
            "wasserstein_1d": float(wasserstein_1d(x[:, :1], y[:, :1])[0]),
            "auroc": auroc(scores, np.repeat([False, True], [len(x), len(y)]))}


def compare(python: str) -> dict[str, dict]:
    """Both sides of every figure."""
    pairs = cases()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "arrays.npz"
        np.savez(path, **{f"{case}:{part}": a for case, parts in pairs.items() for part, a in parts.items()})
        answer = subprocess.run([python, str(ROOT / "bench" / "metrics_peer.py"), str(path)], capture_output=True, text=True, check=True)
    theirs = json.loads(answer.stdout)
    found: dict[str, dict] = {"peers": theirs.pop("versions"), "cases": {}}
    for case, parts in pairs.items():
        mine, rows = ours(**parts), {}
        for figure, value in theirs[case].items():
            difference = abs(mine[figure] - value)
            rows[figure] = {"ours": mine[figure], "theirs": value, "difference": difference,
                            "equal": difference <= AGREES * max(1.0, abs(value))}
        found["cases"][case] = rows | {"frechet_over_n": mine["frechet_over_n"]}
    return found


def mnist() -> dict[str, float]:
    """Seconds of the processor and the peak of memory of judging 10,000 images against 10,000, spaces included."""
    import torch

    from ectype.data.schema import Schema
    from ectype.data.sources import load
    from ectype.metrics import Evaluator

    torch.set_num_threads(1)
    data = load(Path(os.environ["ECTYPE_DATA_DIR"]) / "mnist" / "train-images-idx3-ubyte.gz")
    X, y = np.asarray(data.X), np.asarray(data.y)
    order = np.random.default_rng(0).permutation(len(X))
    schema = Schema.fit(X[order[:30000]])
    train, holdout, test, made = (schema.encode(X[order[a:b]]) for a, b in ((0, 30000), (30000, 40000), (40000, 50000), (50000, 60000)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    start = time.process_time()
    evaluator = Evaluator(schema, train, holdout, test, labels=y[order[:30000]].astype(int))
    spaces = time.process_time() - start
    figures = evaluator.estimate(made)
    return {"rows": evaluator.n, "spaces_s": round(spaces, 1), "processor_s": round(time.process_time() - start, 1),
            "memory_before_mib": round(before), "peak_memory_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
            "figures": {name: {"value": e.value, "low": e.low, "high": e.high} for name, e in figures.items()}}


def main() -> None:
    result = compare(sys.argv[1])
    if "mnist" in sys.argv[2:]:
        result["mnist 10,000 x 10,000"] = mnist()
    write("metrics", {"agrees": AGREES, "notes": NOTES, **result})


if __name__ == "__main__":
    main()
