"""How long `ectype compare digits` takes as it is, and on what: the main job of the library, to be done within five minutes on two cores.

``python -m bench.compare [JOBS]`` (1). The command runs in a process of its own, from its start to the page; one job is one core's work.
``python -m bench.compare processor`` repeats the steps of the last run in this process and counts seconds of the processor: on a machine
that does other things too, that is what the run would take on a core of its own. ``bench/results/compare_digits.json`` holds the outcome.

``python -m bench.compare twice [DATA …]`` (digits) makes one comparison of all families, with a budget in steps and one seed, twice, and
lists where the two ``results.json`` differ, and where they do so beyond what docs/results.md calls timings: ``compare_twice.json``.
"""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

from bench.record import ROOT, write
from ectype import registry
from ectype.comparison import compare
from ectype.report import write_report

BAR_S, METRICS_SHARE = 300, 0.10
STEPS = "60steps"       # of the comparison that is made twice
TIMINGS = re.compile(r"^/(environment|spent_s)/|/(rows_per_s|fit_s|peak_memory_mib)(/|$)|^/marks/[^/]+/(why/)?speed$|/fast_sampling$"
                     r"|^/pick/")       # the pick says who is fast
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


def leaves(tree: Any, path: str = "") -> dict[str, Any]:
    """The values of a tree of JSON by their paths; points of steps curves by their steps, without those that there was no time for."""
    if isinstance(tree, dict):
        return {p: v for k, branch in tree.items() for p, v in leaves(branch, f"{path}/{k}").items()}
    if isinstance(tree, list):
        points = path.endswith("/steps_curve")
        named = {b["steps"]: b for b in tree if not b["left_out"]} if points else dict(enumerate(tree))
        return {p: v for k, branch in named.items() for p, v in leaves(branch, f"{path}/{k}").items()}
    return {path: tree}


def sorted_out(differ: list[str]) -> dict[str, list[str]]:
    """Points of steps curves that only one of the runs had time for, and what differs beyond them and beyond timings."""
    points = {p.removesuffix("/steps") for p in differ if re.search(r"/steps_curve/\d+/steps$", p)}
    return {"points_of_one_run": sorted(points),
            "beyond_timings": [p for p in differ if not TIMINGS.search(p) and p.rsplit("/", 2 if "/floor/" in p else 1)[0] not in points]}


def twice(data: str) -> dict:
    """Two runs of one comparison, and where what they write differs."""
    budget = dict.fromkeys(registry.compared(), STEPS)
    with tempfile.TemporaryDirectory() as folder:
        first, second = (leaves(compare(data, budget=budget, seeds=1, out=Path(folder) / run).results) for run in ("first", "second"))
    differ = sorted(p for p in first.keys() | second.keys() if first.get(p) != second.get(p))
    return {"budget": budget, "values": len(first), "differ": differ, **sorted_out(differ)}


def main() -> None:
    if sys.argv[1:] == ["processor"]:
        steps = json.loads((ROOT / "bench" / "results" / "compare_digits.json").read_text(encoding="utf-8"))["steps"]
        with tempfile.TemporaryDirectory() as folder:
            write("compare_digits", {"budget": "the steps that 8s became", "seconds": "of the processor", "seeds": 3,
                                     **repeat(Path(folder) / "digits", steps)})
        return
    if sys.argv[1:2] == ["twice"]:
        write("compare_twice", {"seeds": 1, "data": {data: twice(data) for data in sys.argv[2:] or ["digits"]}})
        return
    jobs = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    with tempfile.TemporaryDirectory() as folder:
        write("compare_digits", {"budget": "8s", "seeds": 3, **run(Path(folder) / "digits", jobs)})


if __name__ == "__main__":
    main()
