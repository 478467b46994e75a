"""Few labels: what unlabelled rows buy a classifier, and what noise buys a stacked autoencoder. MNIST, no augmentation.

* ``few``: errors on the 10,000 test pictures with 100 and 1,000 labels, 10 draws (every class in equal shares). Ours: a convolutional
  autoencoder on all 60,000 training pictures, its codes made to agree among neighbours, at most 10 minutes for both on two cores; then the
  labelled rows alone, with the encoder fine-tuned and frozen. Beside it the same codes without the agreement, the same network from random
  weights, a support vector machine on pixels and on 50 principal components of all pictures. Bars: at most 6 % at 100 labels and 2.5 % at
  1,000.
* ``denoising``: 10,000 labels, pretraining on the same 10,000 rows. Stacked autoencoder, the same with masking noise, and the same network
  from random weights, each with the same budget in steps; one seed, since a seed takes over five minutes. Bar: noise lowers the error by at
  least 0.6 points. Level and budget were chosen on 10,000 other pictures of the training file with one seed (levels 0.25 and 0.4, widths
  500 and 1000).

``python -m bench.labels [few|denoising] [SCALE]`` with ECTYPE_DATA_DIR, a folder that holds ``mnist/``; SCALE shortens every budget.
"""

from __future__ import annotations

import gzip
import os
import statistics
import sys
import time
from pathlib import Path

import numpy as np
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.svm import SVC

from bench.record import write
from ectype import Autoencoder, PretrainedClassifier, StackedAutoencoder
from ectype.spec import Corruption, Net, Train
from ectype.uses.classifier import balanced_draw

DRAWS, SEEDS = 10, 1
ENCODER_S, AGREEMENT_S = 240, 330


def mnist() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Training pictures and digits, test pictures and digits."""
    folder = Path(os.environ["ECTYPE_DATA_DIR"]) / "mnist"

    def read(name: str, offset: int) -> np.ndarray:
        return np.frombuffer(gzip.decompress((folder / name).read_bytes()), np.uint8, offset=offset)

    return (read("train-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28), read("train-labels-idx1-ubyte.gz", 8).astype(int),
            read("t10k-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28), read("t10k-labels-idx1-ubyte.gz", 8).astype(int))


def summary(errors: list[float]) -> dict[str, object]:
    """Percent: mean, standard deviation, all."""
    percent = [round(100 * e, 2) for e in errors]
    return {"mean": round(statistics.mean(percent), 2), "std": round(statistics.pstdev(percent), 2), "all": percent}


def few(scale: float) -> dict[str, object]:
    X, y, X_test, y_test = mnist()
    counts = (100, 1000)
    rows = {n: [balanced_draw(y, 10, n, np.random.default_rng(draw)) for draw in range(DRAWS)] for n in counts}
    encoder = Autoencoder(latent_dim=32, random_state=0, train=Train(budget=f"{ENCODER_S * scale}s", lr=2e-3, patience=0.0, threads=1))
    started = time.perf_counter()
    encoder.fit(X)
    encoder_s = time.perf_counter() - started
    base = PretrainedClassifier(encoder, prefit=True, random_state=0, train=Train(budget="500steps", threads=1))
    starts = {"ours": changed(base, neighbours=15, agreement=Train(budget=f"{AGREEMENT_S * scale}s", threads=1)),
              "without neighbours": changed(base), "untrained": changed(base, pretrain=False)}
    result: dict[str, object] = {}
    for name, model in starts.items():
        started = time.perf_counter()
        model.fit_codes(X)
        prepared = {"pretraining_s": round(time.perf_counter() - started + encoder_s * model.pretrain, 1)}
        for label, fine_tune in ((name, True), (f"{name}, frozen", False)) if model.pretrain else ((name, True),):
            model.set_params(fine_tune=fine_tune)
            errors = {str(n): summary([error_with(model, X[i], y[i], X_test, y_test) for i in draws]) for n, draws in rows.items()}
            result[label] = errors | prepared | {"classes_s": round(model.fit_s_, 1)}
            sys.stderr.write(f"{label} {result[label]}\n")
    pixels, test_pixels = (a.reshape(len(a), -1) / 255 for a in (X, X_test))
    pca = PCA(50, random_state=0).fit(pixels)
    views = {"svm on pixels": (pixels, test_pixels), "svm on 50 components": (pca.transform(pixels), pca.transform(test_pixels))}
    for name, (a, b) in views.items():
        result[name] = {str(n): summary([1 - SVC(C=10).fit(a[chosen], y[chosen]).score(b, y_test) for chosen in draws])
                        for n, draws in rows.items()}
        sys.stderr.write(f"{name} {result[name]}\n")
    return {"errors_percent": result, "bars": {"100": 6.0, "1000": 2.5}, "draws": DRAWS, "seeds": 1,
            "encoder": {"steps": encoder.n_steps_, "seconds": round(encoder_s, 1)}}


def error_with(model: PretrainedClassifier, X: np.ndarray, y: np.ndarray, X_test: np.ndarray, y_test: np.ndarray) -> float:
    """Share of errors on the test rows, after learning the classes from ``X`` and ``y``."""
    return 1 - model.fit_labels(X, y).score(X_test, y_test)


def changed(base: PretrainedClassifier, **changes: object) -> PretrainedClassifier:
    """The same classifier on the same fitted encoder, with some settings changed."""
    params = base.get_params(deep=False)
    return PretrainedClassifier(params.pop("encoder"), **{**params, **changes})


def denoising(scale: float) -> dict[str, object]:
    X, y, X_test, y_test = mnist()
    runs: dict[str, list[float]] = {"stacked": [], "stacked denoising": [], "untrained": []}
    seconds: dict[str, float] = {}
    stages = "+".join(4 * [str(round(5000 * scale))]) + "steps"         # three layers, then all of them
    for seed in range(SEEDS):
        chosen = balanced_draw(y, 10, 10_000, np.random.default_rng(seed))
        plain = StackedAutoencoder(latent_dim=WIDTH, net=Net(width=(WIDTH, WIDTH), activation="sigmoid"), random_state=seed,
                                   train=Train(budget=stages, lr=1e-3, patience=0.0, validation=0.0))
        noisy = clone(plain).set_params(corruption=Corruption(kind="masking", level=0.4))
        for name, encoder, pretrain in (("stacked", plain, True), ("stacked denoising", noisy, True), ("untrained", plain, False)):
            started = time.perf_counter()
            model = PretrainedClassifier(encoder, pretrain=pretrain, dropout=0.0, random_state=seed,
                                         train=Train(budget=f"{round(3000 * scale)}steps", lr=1e-3, weight_decay=0.0))
            model.fit(X[chosen], y[chosen])
            runs[name].append(1 - model.score(X_test, y_test))
            seconds[name] = round(time.perf_counter() - started, 1)
            sys.stderr.write(f"seed {seed} {name}: {runs[name][-1]:.4f} in {seconds[name]} s\n")
    gain = statistics.mean(a - b for a, b in zip(runs["stacked"], runs["stacked denoising"], strict=True))
    return {"errors_percent": {k: summary(v) for k, v in runs.items()}, "gain_points": round(100 * gain, 2), "bar": "gain >= 0.6 points",
            "seeds": SEEDS, "seconds_of_the_last": seconds}


WIDTH = 500
PARTS = {"few": few, "denoising": denoising}


def main() -> None:
    names = [a for a in sys.argv[1:] if a in PARTS] or list(PARTS)
    scale = float(next((a for a in sys.argv[1:] if a not in PARTS), 1))
    for name in names:
        write(f"labels_{name}", PARTS[name](scale))


if __name__ == "__main__":
    main()
