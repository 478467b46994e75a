"""How long `ectype compare digits` takes as it is, and on what: the main job of the library, to be done within five minutes on two cores.

``python -m bench.compare [JOBS]`` (1). The command runs in a process of its own, from its start to the page; one job is one core's work.
``python -m bench.compare processor`` repeats the steps of the last run in this process and counts seconds of the processor: on a machine
that does other things too, that is what the run would take on a core of its own. ``bench/results/compare_digits.json`` holds the outcome.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

from bench.record import ROOT, write
from ectype.comparison import compare
from ectype.report import write_report

BAR_S, METRICS_SHARE = 300, 0.10
COMMAND = "from ectype.cli import main; raise SystemExit(main())"


def run(folder: Path, jobs: int) -> dict:
    """Seconds by part, peak memory of the command and its fits, verdict."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", COMMAND, "compare", "digits", "--out", str(folder), "--jobs", str(jobs)],
                               stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    if status:
        raise SystemExit(f"compare ended with status {status}")
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    return found(folder, results, wall, jobs) | {"processor_s": round(usage.ru_utime + usage.ru_stime, 1),
                                                 "peak_memory_mib": round(usage.ru_maxrss / 1024)}


def found(folder: Path, results: dict, wall: float, jobs: int) -> dict:
    """What a finished comparison says of itself, and of the time that it took."""
    spent = {part: round(s, 1) for part, s in results["spent_s"].items()}
    whole = sum(spent.values()) if jobs > 1 else wall
    if jobs == 1:
        spent["other"] = round(wall - sum(spent.values()), 1)       # starting, reading, the page
    pick, marks, models = results["pick"], results["marks"], results["models"]
    fits = {p.stem: json.loads(p.read_text(encoding="utf-8"))["spent_s"] for p in sorted((folder / "fits").glob("*.json"))}
    return {"all_s": round(wall, 1), "bar_s": BAR_S, "spent_s": spent,
            "metrics_share": round(spent["metrics"] / whole, 3), "metrics_share_bar": METRICS_SHARE,
            "cores": results["environment"]["cores"], "jobs": jobs,
            "pick": {k: pick[k] for k in ("name", "candidates", "reason", "notes")},
            "marks": {n: {k: m[k] for k in ("quality", "speed", "coverage")} for n, m in marks.items() if n in models},
            "rows_per_s": {n: round(e["metrics"]["rows_per_s"]["mean"], 1) for n, e in models.items() if "rows_per_s" in e["metrics"]},
            "steps": {n: e["steps"] for n, e in models.items() if n == e["family"]},
            "fits_s": {fit: {part: round(s, 1) for part, s in took.items()} for fit, took in fits.items()}}


def repeat(folder: Path, steps: dict[str, list[int]]) -> dict:
    """The same work in seconds of the processor, every clock of the comparison included."""
    with patch("time.perf_counter", time.process_time):
        start = time.process_time()
        results = compare("digits", budget=steps, out=folder).results
        write_report(folder)
        took = time.process_time() - start
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return found(folder, results, took, 1) | {"processor_s": round(took, 1), "peak_memory_mib": round(usage.ru_maxrss / 1024)}


def main() -> None:
    if sys.argv[1:] == ["processor"]:
        steps = json.loads((ROOT / "bench" / "results" / "compare_digits.json").read_text(encoding="utf-8"))["steps"]
        with tempfile.TemporaryDirectory() as folder:
            write("compare_digits", {"budget": "the steps that 8s became", "seconds": "of the processor", "seeds": 3,
                                     **repeat(Path(folder) / "digits", steps)})
        return
    jobs = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    with tempfile.TemporaryDirectory() as folder:
        write("compare_digits", {"budget": "8s", "seeds": 3, **run(Path(folder) / "digits", jobs)})


if __name__ == "__main__":
    main()
