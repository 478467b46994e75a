"""Whether the claims of the metrics hold at seeds that were not looked at while they were worded, and what trying them costs.

``python -m bench.doctor SEED …``; ``bench/results/doctor.json`` holds a part for each seed, and those of other seeds are left as they are.
"""

from __future__ import annotations

import json
import sys
import time

from bench.record import ROOT, machine, write
from ectype.calibration import examine, holds
from ectype.calibration.doctor import MONOTONE, STILL
from ectype.metrics.threads import one_thread

BAR_S = 180


def main() -> None:
    path = ROOT / "bench" / "results" / "doctor.json"
    seeds = json.loads(path.read_text(encoding="utf-8")).get("seeds", {}) if path.exists() else {}
    for seed in map(int, sys.argv[1:]):
        start, spent = time.perf_counter(), time.process_time()
        with one_thread():
            found = examine(seed=seed)
        took, spent = time.perf_counter() - start, time.process_time() - spent
        claims = [f for f in found if f.holds is not None]
        seeds[str(seed)] = {
            "holds": holds(found), "wall_s": round(took, 1), "processor_s": round(spent, 1),
            "commit": machine()["commit"], "claims": len(claims),
            "failed": [f"{f.metric} {f.claim} {f.degradation} on {f.target}" for f in claims if not f.holds],
            "least_correlation": round(min(f.correlation for f in claims if f.claim == "reacts"), 3),
            "largest_change": round(max(f.change for f in claims if f.claim == "ignores"), 3),
            "findings": [{"what": f"{f.metric}, {f.degradation}, {f.target}", "claim": f.claim, "holds": f.holds,
                          "correlation": round(f.correlation, 3), "change": round(f.change, 3), "values": [round(v, 5) for v in f.values]}
                         for f in found]}
        write("doctor", {"bar_s": BAR_S, "monotone": MONOTONE, "still": STILL, "seeds": dict(sorted(seeds.items()))})


if __name__ == "__main__":
    main()
