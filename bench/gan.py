"""The GAN against its bars, one thread, defaults unless said.

* ``grid``: 25 Gaussians on a 5 × 5 grid, σ = 0.05, 3,000 training rows, five seeds, 60 s each. Bar: 25 of 25 modes and at least 95 % of
  1,000 samples within 3 σ of a centre, in every seed.
* ``mnist``, ``fashion``: 15 minutes on the 60,000 training pictures, one seed since a seed takes over five minutes. The samples are judged
  against the test file as ``ectype compare`` judges them, 2,000 against 2,000, with 2,000 more test pictures for the floor. Bars: coverage
  at least 0.9 of its floor, C2ST AUROC at most 0.80, 10,000 samples within 3 s (of two cores; trained in one thread).
* ``conditional``: the same on MNIST with its labels. A small CNN is trained on 60,000 generated pictures and another on the real ones; both
  name the test file. Bar: at least 97 %. Beside it what conditioning changes: agreement of the samples with the digit that was asked for
  (by the CNN that was trained on real pictures), coverage within each digit, and the shares of the digits.

``python -m bench.gan [grid|mnist|fashion|conditional …] [--budget 15m] [--save FOLDER] [--trained FOLDER]`` with ECTYPE_DATA_DIR, a folder
that holds ``mnist/`` and ``fashion_mnist/``. Each part writes ``results/gan_PART.json``. Settings were chosen on parts of the
training files.
"""

from __future__ import annotations

import argparse
import gzip
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.record import write
from ectype import GAN, Train
from ectype import load as load_model
from ectype.data.schema import Schema
from ectype.data.sources import load
from ectype.data.toy import mode_report
from ectype.metrics import Evaluator
from ectype.metrics.convnet import in_batches, train_classifier
from ectype.metrics.neighbours import fidelity_and_coverage
from ectype.metrics.spaces import Pixels, PrincipalComponents

SEEDS, GRID_S, JUDGED, MANY, CNN_STEPS = 5, 60, 2000, 10_000, 6000
FOLDERS = {"mnist": "mnist", "fashion": "fashion_mnist", "conditional": "mnist"}


def grid() -> dict[str, Any]:
    """Modes and precision on the grid, for every seed."""
    data, runs = load("gaussians25"), []
    for seed in range(SEEDS):
        rows = np.random.default_rng(seed).permutation(data.n_rows)
        start = time.process_time()
        model = GAN(train=Train(budget=f"{GRID_S}s", threads=1), random_state=seed).fit(data.X.iloc[rows[:3000]].reset_index(drop=True))
        cpu_s = time.process_time() - start
        report = mode_report(model.sample(1000, random_state=seed), data.truth)
        runs.append({"steps": model.n_steps_, "wall_s": round(model.fit_s_, 1), "cpu_s": round(cpu_s, 1), "modes": report.hit,
                     "share": round(report.share, 4), "smallest": min(report.counts), "largest": max(report.counts)})
    return {"bar": "25 modes, share >= 0.95, five of five seeds", "passed": sum(r["modes"] == 25 and r["share"] >= 0.95 for r in runs),
            "runs": runs}


def pictures(part: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Training pictures and labels, test pictures and labels."""
    folder = Path(os.environ["ECTYPE_DATA_DIR"]) / FOLDERS[part]

    def read(name: str, offset: int) -> np.ndarray:
        return np.frombuffer(bytearray(gzip.decompress((folder / name).read_bytes())), np.uint8, offset=offset)

    return (read("train-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28), read("train-labels-idx1-ubyte.gz", 8).astype(int),
            read("t10k-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28), read("t10k-labels-idx1-ubyte.gz", 8).astype(int))


def judged(part: str, budget: str, save: Path | None, trained: Path) -> dict[str, Any]:
    """A GAN on pictures, judged as ``ectype compare`` judges; ``trained`` is a folder that models of an earlier run were kept in."""
    X, y, X_test, y_test = pictures(part)
    conditional = part == "conditional"
    start = time.process_time()
    known = (trained / part).exists()
    model = load_model(trained / part) if known else GAN(conditional=conditional, train=Train(budget=budget, threads=1), random_state=0)
    if not known:
        model.fit(X, y)
    found: dict[str, Any] = {"steps": model.n_steps_, "wall_s": round(model.fit_s_, 1), "parameters": model.n_parameters_,
                             "events": model.events_, "curve": model.history_[-1]}
    if not known:
        found["cpu_s"] = round(time.process_time() - start, 1)
    if save is not None:
        model.save(save / part)
    asked = np.random.default_rng(0).permutation(y)[:MANY] if conditional else None
    for threads in (2, 1):
        model.train_ = replace(model.train_, threads=threads)
        start, cpu = time.perf_counter(), time.process_time()
        S = model.sample(MANY, condition=asked, random_state=0)
        found[f"samples_10000_in_{threads}_threads"] = {"wall_s": round(time.perf_counter() - start, 2),
                                                        "cpu_s": round(time.process_time() - cpu, 2)}
    schema = Schema.fit(X)
    rows = np.random.default_rng(1).permutation(len(X_test))
    parts = (schema.encode(v) for v in (X, X_test[rows[JUDGED : 2 * JUDGED]], X_test[rows[:JUDGED]]))
    evaluator = Evaluator(schema, *parts, labels=y, seed=0)
    values, floor = evaluator.evaluate(schema.encode(S[:JUDGED]), 0), evaluator.floor()
    found |= {"values": {k: round(float(v), 4) for k, v in values.items()}, "floor": {k: round(float(v), 4) for k, v in floor.items()},
              "coverage_of_floor": round(values["coverage"] / floor["coverage"], 4)}
    return found | agreement(model, S, asked, (X, y, X_test, y_test))


def agreement(model: GAN, S: np.ndarray, asked: np.ndarray | None, data: tuple[np.ndarray, ...]) -> dict[str, Any]:
    """What a classifier that knows the real pictures says of the samples: their digits, and the coverage within each."""
    X, y, X_test, y_test = data
    judge = train_classifier(X[:, None], y, CNN_STEPS, 0, "judge")

    def named(images: np.ndarray) -> np.ndarray:
        return in_batches(judge, images[:, None].astype(np.uint8)).argmax(1)

    seen, wanted = named(S), None if asked is None else asked
    shares = np.bincount(seen, minlength=10) / len(seen)
    space = PrincipalComponents(Pixels(Schema.fit(X)), X[:, None], 64, 0)
    labels = seen if wanted is None else wanted
    within = []
    for k in range(10):
        real, made = X_test[y_test == k][:500, None], S[labels == k][:500, None].astype(np.uint8)
        n = min(len(real), len(made))
        within.append(round(fidelity_and_coverage(space(real[:n]), space(made[:n]))["coverage"], 3) if n > 10 else 0.0)
    found = {"judge_accuracy": round(float((named(X_test) == y_test).mean()), 4), "shares": [round(float(v), 3) for v in shares],
             "real_shares": [round(float(v), 3) for v in np.bincount(y, minlength=10) / len(y)], "coverage_within": within}
    if wanted is not None:
        found["agreement"] = round(float((seen == wanted).mean()), 4)
        found["trained_on_generated"] = learnt_from(model, y, X_test, y_test)
    return found


def learnt_from(model: GAN, y: np.ndarray, X_test: np.ndarray, y_test: np.ndarray) -> float:
    """Accuracy on real test pictures of a classifier trained on as many generated ones as there are real ones."""
    made = model.sample(len(y), condition=y, random_state=1)[:, None].astype(np.uint8)
    net = train_classifier(made, y, CNN_STEPS, 1, "learnt from samples")
    return round(float((in_batches(net, X_test[:, None]).argmax(1) == y_test).mean()), 4)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*", choices=["grid", *FOLDERS], default=["grid", *FOLDERS])
    parser.add_argument("--budget", default="15m", help="of a model of pictures; in steps where other programs share the processor")
    parser.add_argument("--save", type=Path, help="a folder to keep the trained models in")
    parser.add_argument("--trained", type=Path, default=Path("none"), help="the folder of an earlier --save: judge its models again")
    flags = parser.parse_args()
    torch.set_num_threads(1)
    for part in flags.parts:
        result = grid() if part == "grid" else judged(part, flags.budget, flags.save, flags.trained)
        write(f"gan_{part}", {"threads": 1, "budget": f"{GRID_S}s" if part == "grid" else flags.budget, **result})


if __name__ == "__main__":
    main()
