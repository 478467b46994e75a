"""Every family on targets of known truth, defaults only: modes found, samples near a mode, likelihood against the true entropy, C2ST.

``python -m bench.quality [BUDGET] [SEEDS]`` (10s, 3); one thread, no tuning on any target. ``make quality`` runs it.
"""

from __future__ import annotations

import statistics
import sys

import numpy as np

from bench.record import write
from ectype import registry
from ectype.data.schema import Schema
from ectype.data.sources import load
from ectype.data.toy import mode_report
from ectype.metrics import Evaluator
from ectype.spec import Train

TARGETS = ("moons", "ring8", "gaussians25", "mixed")
SAMPLING = {"ddpm": {"sampler": "ddim", "steps": 50}}


def take(X, rows):
    return X.iloc[rows].reset_index(drop=True) if hasattr(X, "iloc") else X[rows]


def measure(family: str, target: str, seed: int, budget: str) -> dict[str, float]:
    """One fit on 3,000 rows, judged on 1,000 others."""
    data = load(target)
    order = np.random.default_rng(seed).permutation(data.n_rows)
    train, holdout, test = (take(data.X, order[a:b]) for a, b in ((0, 3000), (3000, 4000), (4000, 5000)))
    model = registry.load(family)(train=Train(budget=budget), random_state=seed).fit(train)
    sample = model.sample(1000, random_state=seed, **SAMPLING.get(family, {}))
    schema = Schema.fit(train)
    evaluator = Evaluator(schema, *(schema.encode(part) for part in (train, holdout, test)), seed=seed)
    found = {"steps": model.n_steps_, "c2st": evaluator.evaluate(schema.encode(sample), seed)["c2st"],
             "c2st_floor": evaluator.floor()["c2st"]}
    if getattr(data.truth, "n_modes", 0):
        report = mode_report(sample, data.truth)
        found |= {"modes": report.hit, "near_a_mode": report.share}
    if model.likelihood_:
        found["nats_below_truth"] = float(np.mean(data.truth.log_prob(test) - model.log_likelihood(test)))
    return found


def main() -> None:
    budget = sys.argv[1] if len(sys.argv) > 1 else "10s"
    seeds = range(int(sys.argv[2]) if len(sys.argv) > 2 else 3)
    results: dict[str, dict] = {}
    for target in TARGETS:
        for family in registry.names():
            runs = [measure(family, target, seed, budget) for seed in seeds]
            results.setdefault(target, {})[family] = {k: {"median": round(statistics.median(r[k] for r in runs), 4),
                                                          "all": [round(float(r[k]), 4) for r in runs]} for k in runs[0]}
            sys.stderr.write(f"{target} {family} {results[target][family]}\n")
    write("quality", {"budget": budget, "seeds": len(seeds), "rows": {"train": 3000, "test": 1000}, "targets": results})


if __name__ == "__main__":
    main()
