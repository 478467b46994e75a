"""The normalizing flow beside zuko's, on targets of known truth, and on MNIST.

``python -m bench.flow speed PYTHON``
    Steps a second of processor time, and the log-likelihood of held-out rows after the same seconds, of our coupling flow and of zuko's
    ``NSF(passes=2)`` at the same architecture (3 transforms, 8 bins, hidden 64-64, ReLU, batch 256, one thread) on two moons and on digits.
    PYTHON is the interpreter of an environment with zuko. Runs alternate. Steps are counted by processor time, since other programs may
    share the processor; ours has everything in it that a fit does. zuko gets the digits with uniform noise and standardised, as its users
    train it; both likelihoods are bounds of the same thing, the mass of the picture of 17 levels. Bars: 3 times the steps a second, a
    higher log-likelihood. More arguments are the names of the data, where not both are wanted.
``python -m bench.flow truth [BUDGET]``
    How far the held-out negative log-likelihood is above the entropy of targets of known truth. Bar: 0.02 nats.
``python -m bench.flow mnist ARCHITECTURE [BUDGET]``
    Bits per dimension of MNIST's 256 levels on the test file after training on the training file, and the speed of sampling; one seed.
    MNIST is read from ``ECTYPE_DATA_DIR``. Bar: 1.25 after 20 minutes.

Each writes a part of ``bench/results/flow.json`` and leaves the others as they are.
"""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image

from bench.record import ROOT, machine, write
from ectype.data.sources import load
from ectype.data.toy import TRUTHS
from ectype.models.flow import Flow
from ectype.rng import numpy_generator
from ectype.spec import Net, Train

SIZE = {"transforms": 3, "hidden": (64, 64), "batch_size": 256, "lr": 1e-3, "threads": 1}
SEEDS, SECONDS, HELD_OUT, DATA = 3, 60.0, 500, ("moons", "digits")
TARGETS, TRAINED_ON = ("moons", "ring8", "gaussians25"), 100_000
FLOWS = {"coupling from a mixture": {"base": "mixture"}, "autoregressive from N(0, I)": {"architecture": "autoregressive", "bins": 16}}
TRAIN, BLOCKS = Train(validation=0.01, patience=0.0, threads=1), {"coupling": 4, "autoregressive": 6}


def ours(X: Any, held_out: Any, seed: int, budget: str) -> dict[str, Any]:
    """A fit of the family's defaults at the common size."""
    settings = Train(budget=budget, batch_size=SIZE["batch_size"], lr=SIZE["lr"], patience=0.0, threads=SIZE["threads"])
    net = Net(kind="mlp", width=SIZE["hidden"], activation="relu")
    began = time.process_time()
    model = Flow(transforms=SIZE["transforms"], bins=8, net=net, train=settings, random_state=seed).fit(X)
    processor_s = time.process_time() - began
    return {"steps": model.n_steps_, "seconds": round(model.fit_s_, 3), "processor_s": round(processor_s, 3),
            "steps_per_s": round(model.n_steps_ / processor_s, 2),
            "log_likelihood": round(float(model.log_likelihood(held_out).mean()), 4), "inverse_error": model.stages_[0]["measured"]}


def peer(python: str, X: np.ndarray, held_out: np.ndarray, cell: int, seed: int, **budget: float) -> dict[str, Any]:
    """A run of the peer on the same rows."""
    with TemporaryDirectory() as folder:
        data, job = Path(folder) / "rows.npz", Path(folder) / "job.json"
        np.savez(data, **{k: v.reshape(len(v), -1).astype(np.float32) for k, v in (("train", X), ("held_out", held_out))})
        job.write_text(json.dumps({"data": str(data), "cell": cell, "seed": seed, **SIZE, **budget}))
        script = Path(__file__).with_name("zuko_peer.py")
        done = subprocess.run([python, str(script), str(job)], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def speed(python: str, names: Sequence[str]) -> dict[str, Any]:
    """Steps a second and likelihood after the same seconds."""
    found: dict[str, Any] = {}
    for name in names:
        X = np.asarray(load(name).X, np.float64)
        X, held_out = (X[rows] for rows in np.split(np.random.default_rng(0).permutation(len(X)), [-HELD_OUT]))
        fits = []
        for seed in range(SEEDS):
            fits.append({"ours": ours(X, held_out, seed, f"{SECONDS:g}s"),
                         "zuko": peer(python, X, held_out, int(name == "digits"), seed, seconds=SECONDS)})
            sys.stderr.write(f"{name} {fits[-1]}\n")
        gains = [f["ours"]["log_likelihood"] - f["zuko"]["log_likelihood"] for f in fits]
        ratios = [round(f["ours"]["steps_per_s"] / f["zuko"]["steps_per_s"], 2) for f in fits]
        found[name] = {"seconds": SECONDS, "machine": machine(),
                       "steps_per_s": {"ratio": statistics.median(ratios), "all": ratios, "bar": ">= 3"},
                       "log_likelihood": {"nats_more": [round(g, 4) for g in gains], "bar": "> 0"}, "fits": fits}
    return found


def truth(budget: str) -> dict[str, Any]:
    """Nats of held-out rows above the entropy."""
    found: dict[str, Any] = {}
    for name, (setting, options) in product(TARGETS, FLOWS.items()):
        target = TRUTHS[name]
        X, test = (target.sample(n, numpy_generator("bench", name, part)) for n, part in ((TRAINED_ON, "train"), (20_000, "test")))
        model = Flow(**options, transforms=4, net=Net(width=(64, 64)), train=Train(budget=budget, batch_size=512, lr=2e-3), random_state=0)
        model.fit(X)
        gap = target.log_prob(test) - model.log_likelihood(test)
        found[f"{name}, {setting}"] = {
            "budget": budget, "steps": model.n_steps_, "entropy": round(target.entropy, 4), "nats_above_truth": round(float(gap.mean()), 4),
            "standard_error": round(float(gap.std() / math.sqrt(len(gap))), 4), "measured": model.stages_[0]["measured"], "bar": "<= 0.02"}
        sys.stderr.write(f"{name}, {setting} {found[f'{name}, {setting}']}\n")
    return found


def mnist(architecture: str, budget: str, picture: Path) -> dict[str, Any]:
    """Bits per dimension of the test file."""
    model = Flow(architecture=architecture, transforms=BLOCKS[architecture], train=TRAIN(budget=budget), random_state=0)
    model.fit(load("mnist").X)
    began = time.perf_counter()
    samples = model.sample(256, random_state=0)
    seconds = time.perf_counter() - began
    grid = samples[:100].reshape(10, 10, 28, 28).swapaxes(1, 2).reshape(280, 280)
    Image.fromarray(grid.astype(np.uint8)).resize((560, 560)).save(picture)
    nats = model.log_likelihood(load("mnist_test").X)
    return {"budget": budget, "steps": model.n_steps_, "train_s": round(model.fit_s_, 1), "parameters": model.n_parameters_,
            "bits_per_dim": round(float(-nats.mean() / (784 * math.log(2))), 4), "nats": round(float(-nats.mean()), 2),
            "likelihood": model.likelihood_, "dequantization": model.dequantization_, "passes": model.evaluations(),
            "samples_per_s": round(256 / seconds, 1), "measured": model.stages_[0]["measured"], "bar": "bits_per_dim <= 1.25",
            "curve": [{"step": r["step"], "s": r["elapsed_s"], "bits_per_dim": round(r["held_out"] / (784 * math.log(2)), 4)}
                      for r in model.history_]}


def main() -> None:
    what, *rest = sys.argv[1:]
    file = ROOT / "bench" / "results" / "flow.json"
    if what == "mnist":
        architecture, budget = rest[0], rest[1] if len(rest) > 1 else "20m"
        part = {f"mnist, {architecture}": mnist(architecture, budget, file.with_name(f"flow_mnist_{architecture}.png"))}
    else:
        part = {what: speed(rest[0], rest[1:] or DATA) if what == "speed" else truth(rest[0] if rest else "120s")}
    kept = {k: v for k, v in json.loads(file.read_text()).items() if k != "machine"} if file.exists() else {}
    write("flow", {**kept, **{k: {**kept.get(k, {}), **v, "machine": machine()} for k, v in part.items()}})


if __name__ == "__main__":
    main()
