"""Diffusion and the few-step model against their bars, one thread (``--threads`` to train models of pictures in), defaults unless said.

* ``mnist``, ``fashion``: DDPM (``--budget``), and truncated diffusion that begins with its denoiser (``--few-budget`` more; together they
  cost the sum), on the 60,000 training pictures, one seed since a seed takes over five minutes.
  Judged against the test file as ``ectype compare`` judges, 2,000 against 2,000, with three samples or ``--draws`` (figures are
  medians), and with 2,000 more test pictures for the floor: DDPM with 250 ancestral steps and with 20 of DPM-Solver++(2M), truncated
  diffusion in 4, 2 and 1. Bars: Fréchet distances at most twice the
  floor's, C2ST AUROC at most 0.70, coverage at least 0.95 of its floor; 20 steps within 5 % of 250; truncated diffusion in 4 at most 1.25
  times DDPM's Fréchet distance, at least 0.95 times its coverage and recall and 50 times its rows/s, in 1 at most 1.6 times the distance.
* ``grid``: 25 Gaussians, 60 s, three seeds: modes and samples near one at 1, 2 and 4 evaluations. Bar: all modes at 4.
* ``adult``: DDPM, 10 minutes on the training file, judged on the test file: AUROC of boosted trees that tell generated rows from real ones
  (bar 0.70), and of boosted trees that learn the income from as many generated rows as there are real ones (bar: within 0.02 of those that
  learn from the real ones).
* ``hour``: an hour of DDPM in bfloat16 on MNIST (``--budget 60m`` unless said, and all of it: no patience). Bar: no number that is not
  finite.
* ``precision``: DDPM on MNIST in bfloat16 and in float32, as many steps of the same batches; both drawn with 20 steps of DPM-Solver++(2M),
  and judged as above.
* ``speed PYTHON``: a U-Net with as much arithmetic as that of denoising-diffusion-pytorch, and another as that of diffusers, trained and
  sampled on pictures of 32 × 32, in processor time of one thread each, ours with freed memory kept by the process, as ``ectype fit`` and
  ``ectype sample`` keep it (``cli/memory.py``); ``PYTHON`` is an interpreter of an environment that has the peers.

``python -m bench.diffusion PART … [--budget 20m] [--save FOLDER]`` with ECTYPE_DATA_DIR. Each part writes ``results/diffusion_PART.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score

from bench.gan import JUDGED, pictures
from bench.record import ROOT, write
from ectype import DDPM, Train, TruncatedDiffusion
from ectype import load as load_model
from ectype.cli.memory import keep_freed_memory
from ectype.data.schema import Schema
from ectype.data.sources import load
from ectype.data.toy import mode_report
from ectype.metrics import Evaluator

SAMPLERS = {"250 steps": {"sampler": "ancestral", "steps": 250}, "dpm 20": {"sampler": "dpm", "steps": 20}}
FEW = {f"{k} steps": {"steps": k} for k in (4, 2, 1)}
USUAL = {"adult": "10m", "hour": "60m", "precision": "3000steps"}
OF_FLOOR = ("frechet_pca", "frechet_features", "coverage", "recall")
DRAWS = 3               # samples of a model, each judged: figures are medians
ROUNDS, TRAINED, SAMPLED, DDIM_STEPS = 3, 8, 16, 50
PEERS = {"denoising-diffusion-pytorch": ("ddp_peer.py", "training 4 times, sampling 3 times"),
         "diffusers": ("diffusers_peer.py", "training 3 times, sampling 3 times")}


def judged(part: str, budget: dict[str, str], save: Path, trained: Path, threads: int, draws: int) -> dict[str, Any]:
    """Both models on pictures, each with its samplers; ``trained`` is a folder that models of an earlier run were kept in."""
    X, y, X_test, _ = pictures(part)
    schema, rows = Schema.fit(X), np.random.default_rng(1).permutation(len(X_test))
    parts = (schema.encode(v) for v in (X, X_test[rows[JUDGED : 2 * JUDGED]], X_test[rows[:JUDGED]]))
    evaluator = Evaluator(schema, *parts, labels=y, seed=0)
    floor = evaluator.floor()
    found: dict[str, Any] = {"floor": {k: round(float(v), 4) for k, v in floor.items()}}
    taught = None
    for name, samplers in (("ddpm", SAMPLERS), ("truncated", FEW)):
        known, kept = trained / f"{part}-{name}", save / f"{part}-{name}"
        if known.exists():
            model = load_model(known)
        else:
            settings = {"train": Train(budget=budget[name], threads=threads), "random_state": 0}
            start = time.process_time()
            model = (DDPM(**settings) if taught is None else TruncatedDiffusion(teacher=taught, **settings)).fit(X)
            found[f"{name}_cpu_s"] = round(time.process_time() - start, 1)
            model.save(kept)
        taught = str(known if known.exists() else kept)
        found[name] = {"steps": model.n_steps_, "wall_s": round(model.fit_s_, 1), "parameters": model.n_parameters_,
                       "trained_in_threads": model.train_.threads}
        model.train_ = replace(model.train_, threads=1)
        for title, options in samplers.items():
            start, samples = time.process_time(), [model.sample(JUDGED, random_state=draw, **options) for draw in range(draws)]
            seconds = time.process_time() - start
            each = [evaluator.evaluate(schema.encode(S), 0) for S in samples]
            values = {k: statistics.median(float(v[k]) for v in each) for k in each[0]}
            found[name][title] = {"rows_per_cpu_s": round(draws * JUDGED / seconds, 2), **{k: round(v, 4) for k, v in values.items()},
                                  **{f"{k}_of_floor": round(values[k] / floor[k], 3) for k in OF_FLOOR},
                                  "draws": {k: [round(float(v[k]), 4) for v in each] for k in ("c2st", *OF_FLOOR)}}
            write(f"diffusion_{part}", {"threads": 1, "budget": budget, **found})
    teacher = found["ddpm"]["250 steps"]
    found["beside_250_steps"] = {
        title: {k: round(found[model][title][k] / teacher[k], 3) for k in (*OF_FLOOR, "rows_per_cpu_s")}
        for model, title in (("ddpm", "dpm 20"), *(("truncated", t) for t in FEW))}
    return found


def grid() -> dict[str, Any]:
    """The few-step model on 25 Gaussians."""
    data, runs = load("gaussians25"), []
    for seed in range(3):
        rows = np.random.default_rng(seed).permutation(data.n_rows)
        model = TruncatedDiffusion(train=Train(budget="60s", threads=1), random_state=seed)
        model.fit(data.X.iloc[rows[:3000]].reset_index(drop=True))
        for steps in (4, 2, 1):
            report = mode_report(model.sample(1000, random_state=seed, steps=steps), data.truth)
            runs.append({"seed": seed, "fit_steps": model.n_steps_, "evaluations": steps, "modes": report.hit,
                         "share": round(report.share, 4)})
    return {"bar": "25 modes at 4 evaluations", "passed": all(r["modes"] == 25 for r in runs if r["evaluations"] == 4), "runs": runs}


def adult(budget: str) -> dict[str, Any]:
    """DDPM on Adult."""
    folder = Path(os.environ["ECTYPE_DATA_DIR"]) / "adult"
    train, test = (load(folder / f"adult_{part}.csv.gz").X for part in ("train", "test"))
    schema = Schema.fit(train)
    train, test = (X[schema.accepts(X)].reset_index(drop=True) for X in (train, test))
    rows = np.random.default_rng(0).permutation(len(test))
    a, b = (test.iloc[part].reset_index(drop=True) for part in np.array_split(rows, 2))
    start = time.process_time()
    model = DDPM(train=Train(budget=budget, threads=1), random_state=0).fit(train)
    found: dict[str, Any] = {"steps": model.n_steps_, "cpu_s": round(time.process_time() - start, 1), "parameters": model.n_parameters_}
    evaluator = Evaluator(schema, *(schema.encode(X) for X in (train, a, b)), seed=0)
    floor = evaluator.floor()
    found["floor"] = {k: round(float(v), 4) for k, v in floor.items()}
    S = model.sample(len(train), random_state=0, sampler="dpm", steps=50)
    found["values"] = {k: round(float(v), 4) for k, v in evaluator.evaluate(schema.encode(S), 0).items()}
    found["income_auc"] = {"real": income_auc(train, test), "generated": income_auc(S, test)}
    return found


def income_auc(train: Any, test: Any) -> float:
    """AUROC on real test rows of boosted trees that learn the last column from ``train``."""
    schema, target = Schema.fit(train), train.columns[-1]
    j = list(train.columns).index(target)
    test = test[schema.accepts(test)]
    a, b = schema.encode(train), schema.encode(test)
    categorical = [block.type == "category" for i, block in enumerate(schema.blocks) if i != j]
    trees = HistGradientBoostingClassifier(categorical_features=categorical, random_state=0).fit(np.delete(a, j, 1), a[:, j])
    return round(float(roc_auc_score(b[:, j], trees.predict_proba(np.delete(b, j, 1))[:, 1])), 4)


def hour(budget: str) -> dict[str, Any]:
    """DDPM in bfloat16 for long: what was not finite, and the held-out curve."""
    X = pictures("mnist")[0]
    model = DDPM(train=Train(budget=budget, threads=1, precision="bfloat16", patience=0), random_state=0).fit(X)
    broke = [e for e in model.events_ if e["event"] == "not finite"]
    curve = [[r["step"], round(r["held_out"], 5)] for r in model.history_]
    S = np.asarray(model.sample(500, random_state=0, sampler="dpm", steps=20))
    return {"bar": "no number that is not finite", "passed": not broke, "not_finite": broke, "steps": model.n_steps_,
            "wall_s": round(model.fit_s_, 1), "precision": "bfloat16", "held_out": curve, "mean_level": round(float(S.mean()), 2),
            "mean_level_of_data": round(float(X.mean()), 2)}


def precision(budget: str) -> dict[str, Any]:
    """DDPM in both arithmetics, with the same steps."""
    X, y, X_test, _ = pictures("mnist")
    schema, rows = Schema.fit(X), np.random.default_rng(1).permutation(len(X_test))
    parts = (schema.encode(v) for v in (X, X_test[rows[JUDGED : 2 * JUDGED]], X_test[rows[:JUDGED]]))
    evaluator = Evaluator(schema, *parts, labels=y, seed=0)
    found: dict[str, Any] = {"floor": {k: round(float(v), 4) for k, v in evaluator.floor().items()}}
    for name in ("bfloat16", "float32"):
        model = DDPM(train=Train(budget=budget, threads=1, precision=name, patience=0), random_state=0)
        start = time.process_time()
        model.fit(X)
        found[name] = {"steps": model.n_steps_, "cpu_s": round(time.process_time() - start, 1),
                       "held_out": round(min(r["held_out"] for r in model.history_), 5)}
        each = [evaluator.evaluate(schema.encode(model.sample(JUDGED, random_state=d, sampler="dpm", steps=20)), 0) for d in range(DRAWS)]
        found[name] |= {k: round(statistics.median(float(v[k]) for v in each), 4) for k in ("c2st", *OF_FLOOR)}
        write("diffusion_precision", {"threads": 1, "budget": budget, **found})
    return found


def speed(python: str) -> dict[str, Any]:
    """Ours and the peers in turns."""
    from bench.unet import WIDTHS, ours

    keep_freed_memory()
    found = {}
    for peer, (script, bars) in PEERS.items():
        rounds = []
        for _ in range(ROUNDS):
            theirs = subprocess.run([python, str(ROOT / "bench" / script), str(TRAINED), str(SAMPLED), str(DDIM_STEPS)], check=True,
                                    capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""})
            rounds.append({"peer": json.loads(theirs.stdout.splitlines()[-1]), "ours": ours(WIDTHS[peer], TRAINED, SAMPLED, DDIM_STEPS)})
        ratio = {k: round(statistics.median(r["ours"][k] / r["peer"][k] for r in rounds), 2)
                 for k in ("train_images_per_s", "sample_images_per_s")}
        found[peer] = {"bar": bars, "ratio": ratio, "rounds": rounds}
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="+", help="mnist, fashion, grid, adult, hour, precision, or: speed PYTHON")
    parser.add_argument("--budget", default=None, help="of DDPM: 20m for pictures, 10m for Adult, 60m for hour, 3000steps for precision")
    parser.add_argument("--few-budget", default="1m", help="of truncated diffusion, which begins with DDPM's denoiser")
    parser.add_argument("--save", type=Path, default=Path("ectype-out/bench"), help="a folder to keep the trained models in")
    parser.add_argument("--trained", type=Path, default=Path("none"), help="the folder of an earlier --save: judge its models again")
    parser.add_argument("--draws", type=int, default=DRAWS, help="samples of a model of pictures that are judged")
    parser.add_argument("--threads", type=int, default=1, help="that models of pictures are trained in; samples are drawn in one")
    flags = parser.parse_args()
    torch.set_num_threads(1)
    if flags.parts[0] == "speed":
        write("diffusion_speed", {"threads": 1, **speed(flags.parts[1])})
        return
    for part in flags.parts:
        budget = flags.budget or USUAL.get(part, "20m")
        budgets = {"ddpm": budget, "truncated": flags.few_budget}
        found = {"grid": grid, "adult": lambda budget=budget: adult(budget), "hour": lambda budget=budget: hour(budget),
                 "precision": lambda budget=budget: precision(budget)}.get(
            part, lambda part=part, budgets=budgets: judged(part, budgets, flags.save, flags.trained, flags.threads, flags.draws))()
        given = {"grid": {}, **{name: {"budget": budget} for name in USUAL}}.get(part, {"budget": budgets})
        write(f"diffusion_{part}", {"threads": 1, **given, **found})


if __name__ == "__main__":
    main()
