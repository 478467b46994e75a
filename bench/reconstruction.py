"""A 30-number code of MNIST: how well are the 10,000 test pictures rebuilt after some minutes on this machine?

The figure is Σₖ (x_hatₖ − xₖ)² over the 784 pixels in [0, 1], averaged over the test pictures, with reconstructions as pixel levels. Rows:

* PCA with 30 components, exact;
* ours, ``Autoencoder(latent_dim=30)`` with the settings below, chosen on a part of the training file;
* pythae's autoencoder on the same pictures with the same threads for the same time (batches of 128, rate 1e-3): its default perceptron,
  and its convolutional network for MNIST; of the last model and the best on held-out pictures the better counts.

The test file is read once, after training. ``python -m bench.reconstruction PYTHON [BUDGET] [NETWORK …]`` (10m, mlp conv): PYTHON is the
interpreter of an environment with pythae and torch; MNIST is read from ``ECTYPE_DATA_DIR``. One seed. Ours and the first network of pythae
run side by side with one thread each, so that both have the same minutes of the same machine; a second network then runs alone, with
one thread as well. Bars: at most 2.3, and at most 0.9 times pythae.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from sklearn.decomposition import PCA

from bench.record import write
from ectype import Autoencoder
from ectype.data.sources import load
from ectype.spec import Budget, Net, Train

CODE, SEED, THREADS = 30, 0, 1
NET = Net(kind="conv", width=(32, 64, 128))
TRAIN = Train(lr=3e-3, batch_size=64, threads=THREADS)


def error(x_hat: np.ndarray, x: np.ndarray) -> float:
    """Σₖ (x_hatₖ − xₖ)² of a picture, levels 0 … 255 as [0, 1], on average."""
    return float(np.square((x_hat.reshape(len(x), -1) - x.reshape(len(x), -1)) / 255).sum(1).mean())


def principal_components(train: np.ndarray, test: np.ndarray) -> dict[str, Any]:
    start = time.perf_counter()
    pca = PCA(CODE, svd_solver="covariance_eigh").fit(train.reshape(len(train), -1).astype(np.float64))
    x_hat = pca.inverse_transform(pca.transform(test.reshape(len(test), -1).astype(np.float64)))
    return {"test_error": round(error(x_hat, test), 4), "seconds": round(time.perf_counter() - start, 1)}


def ours(train: np.ndarray, test: np.ndarray, budget: str) -> dict[str, Any]:
    start = time.perf_counter()
    model = Autoencoder(latent_dim=CODE, net=NET, train=TRAIN(budget=budget), random_state=SEED).fit(train)
    fitted = time.perf_counter() - start
    x_hat = model.inverse_transform(model.transform(test)).astype(np.float64)
    curve = [{k: round(r[k], 4) for k in ("step", "elapsed_s", "recon", "held_out")} for r in model.history_]
    return {"test_error": round(error(x_hat, test.astype(np.float64)), 4), "seconds": round(fitted, 1), "steps": model.n_steps_,
            "images": model.n_steps_ * model.train_.batch_size, "curve": curve}


def pythae(python: str, network: str, train: np.ndarray, test: np.ndarray, seconds: float) -> dict[str, Any]:
    held_out = 2000                                     # as many as our loop holds out
    with TemporaryDirectory() as folder:
        data, job = Path(folder) / "mnist.npz", Path(folder) / "job.json"
        np.savez(data, train=train[held_out:], held_out=train[:held_out], test=test)
        job.write_text(json.dumps({"data": str(data), "network": network, "latent_dim": CODE, "batch_size": 128, "lr": 1e-3,
                                   "threads": THREADS, "seed": SEED, "seconds": seconds}))
        script = Path(__file__).with_name("pythae_peer.py")
        done = subprocess.run([python, str(script), str(job)], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    return {"test_error": min(v for k, v in found.items() if k.startswith("test_error")), **found}


def main() -> None:
    python, budget, *networks = [*sys.argv[1:], "10m"][:2] + (sys.argv[3:] or ["mlp", "conv"])
    train, test = (np.asarray(load(name).X).reshape(-1, 28, 28) for name in ("mnist", "mnist_test"))
    rows, seconds = {"pca": principal_components(train, test)}, Budget.parse(budget).seconds
    with ThreadPoolExecutor(1) as pool:
        peer = pool.submit(pythae, python, networks[0], train, test, seconds)
        rows["ectype"] = ours(train, test, budget)
        rows[f"pythae {networks[0]}"] = peer.result()
    for network in networks[1:]:
        rows[f"pythae {network}"] = pythae(python, network, train, test, seconds)
    best = min(row["test_error"] for name, row in rows.items() if name.startswith("pythae"))
    write("reconstruction", {"code": CODE, "budget": budget, "seed": SEED, "threads": THREADS, "net": NET.get_params(),
                             "train": {k: v for k, v in TRAIN.get_params().items() if v is not None},
                             "bar": "test error <= 2.3 and ratio <= 0.9", "ratio": round(rows["ectype"]["test_error"] / best, 3),
                             "rows": rows})


if __name__ == "__main__":
    main()
