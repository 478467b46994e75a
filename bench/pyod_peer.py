"""PyOD's detectors with their defaults on a given table; runs in an environment of its own, without ectype.

``python bench/pyod_peer.py JOB.npz [DETECTOR …]`` with the arrays ``train``, ``test`` (standardised columns) and ``seed``; all detectors
unless named. Writes one JSON object to stdout, seconds of fitting and scoring by detector (or the error that it raised), and the scores to
``JOB.scores.npz``: higher = more novel.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pyod.models.auto_encoder import AutoEncoder
from pyod.models.deep_svdd import DeepSVDD
from pyod.models.ecod import ECOD
from pyod.models.iforest import IForest
from pyod.models.knn import KNN
from pyod.models.lof import LOF
from pyod.models.pca import PCA
from pyod.models.vae import VAE

DETECTORS: dict[str, Callable[[int, int], Any]] = {       # of the number of columns and the seed
    "KNN": lambda d, seed: KNN(), "LOF": lambda d, seed: LOF(), "ECOD": lambda d, seed: ECOD(),
    "IForest": lambda d, seed: IForest(random_state=seed), "PCA": lambda d, seed: PCA(random_state=seed),
    "AutoEncoder": lambda d, seed: AutoEncoder(random_state=seed, verbose=0), "VAE": lambda d, seed: VAE(random_state=seed, verbose=0),
    "DeepSVDD": lambda d, seed: DeepSVDD(n_features=d, random_state=seed, verbose=0),
}


def main() -> None:
    job = Path(sys.argv[1])
    with np.load(job) as d:
        train, test, seed = d["train"], d["test"], int(d["seed"])
    torch.set_num_threads(1)
    scores, found = {}, {}
    for name, build in {name: DETECTORS[name] for name in sys.argv[2:] or DETECTORS}.items():
        torch.manual_seed(seed)
        np.random.seed(seed)
        start = time.perf_counter()
        try:
            with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
                warnings.simplefilter("ignore")
                scores[name] = build(train.shape[1], seed).fit(train).decision_function(test)
        except Exception as error:          # a detector that fails on a table is a result too
            found[name] = {"seconds": time.perf_counter() - start, "error": f"{type(error).__name__}: {error}"[:200]}
            continue
        found[name] = {"seconds": time.perf_counter() - start}
    np.savez(job.with_suffix(".scores.npz"), **scores)
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
