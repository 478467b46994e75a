"""How much of the novelty score the memory gets, chosen on data that :mod:`bench.novelty` does not judge by.

Four groups, with anomalies that are known: the classes of scikit-learn's iris, wine and breast cancer (one class is normal, the others are
novel); the classes of MNIST and of Fashion-MNIST as tables, 24 principal components of 2,000 training pictures of a class against 1,000 of
the others; and three targets of known density against uniform noise in their box. Of the normal rows one half is learnt from. The rule was
fixed before it was run: of the shares below, the one with the largest mean over the groups of their mean AUROC, defaults otherwise.

``python -m bench.novelty_share`` with ECTYPE_DATA_DIR, one seed. Writes ``results/novelty_share.json``.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator

import numpy as np
from sklearn.datasets import load_breast_cancer, load_iris, load_wine
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score

from bench.gan import pictures
from bench.record import write
from ectype import NoveltyDetector
from ectype.data.sources import load
from ectype.uses import neighbours

SHARES = (0.25, 0.5, 2 / 3, 0.75, 0.875, 1.0)
COMPONENTS, NORMAL, NOVEL = 24, 2000, 1000


def tasks() -> Iterator[tuple[str, str, np.ndarray, np.ndarray]]:
    """Group, name, normal rows and novel rows."""
    rng = np.random.default_rng(0)
    for read in (load_iris, load_wine, load_breast_cancer):
        X, y = read(return_X_y=True)
        for k in np.unique(y):
            yield "scikit-learn", f"{read.__name__} {k}", X[y == k], X[y != k]
    for part in ("mnist", "fashion"):
        X, y, _, _ = pictures(part)
        X = X.reshape(len(X), -1).astype(np.float64)
        for k in range(10):
            normal, novel = (X[rng.choice(np.flatnonzero(rows), n, replace=False)] for rows, n in ((y == k, NORMAL), (y != k, NOVEL)))
            axes = PCA(COMPONENTS, random_state=0).fit(normal[: NORMAL // 2])
            yield part, str(k), axes.transform(normal), axes.transform(novel)
    for name in ("moons", "ring8", "gaussians25"):
        X = load(name).X.to_numpy()[:NORMAL]
        yield "known densities", name, X, rng.uniform(X.min(0), X.max(0), (NOVEL, X.shape[1]))


def main() -> None:
    found: dict[str, dict[str, list[float]]] = {}
    for group, name, normal, novel in tasks():
        rows = np.random.default_rng(0).permutation(len(normal))
        half = len(rows) // 2
        detector = NoveltyDetector(random_state=0).fit(normal[rows[:half]])
        X, truth = np.concatenate([normal[rows[half:]], novel]), np.repeat([0, 1], [len(rows) - half, len(novel)])
        values = []
        for share in SHARES:
            neighbours.MEMORY_SHARE = share
            values.append(round(float(roc_auc_score(truth, -detector.score_samples(X))), 5))
        found.setdefault(group, {})[name] = values
    means = {group: [round(statistics.mean(v), 5) for v in zip(*runs.values(), strict=True)] for group, runs in found.items()}
    overall = [round(statistics.mean(v), 5) for v in zip(*means.values(), strict=True)]
    write("novelty_share", {"shares": [round(s, 4) for s in SHARES], "chosen": round(SHARES[int(np.argmax(overall))], 4), "mean": overall,
                            "groups": means, "tasks": found})


if __name__ == "__main__":
    main()
