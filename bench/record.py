"""Where and from what a measurement was taken, and the file it goes to."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


def machine() -> dict[str, Any]:
    """Processor, cores, versions, commit."""
    cpuinfo = Path("/proc/cpuinfo")
    names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")] \
        if cpuinfo.exists() else []
    git = ["git", "-C", str(ROOT)]
    commit = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    dirty = bool(subprocess.run([*git, "status", "--porcelain", "src"], capture_output=True, text=True).stdout.strip())
    return {"processor": names[0] if names else platform.processor(), "cores": os.cpu_count(), "python": platform.python_version(),
            "torch": importlib.metadata.version("torch"), "commit": commit + ("+" if dirty else ""),
            "load_1m": round(os.getloadavg()[0], 2)}


def write(name: str, result: dict[str, Any]) -> None:
    """Write ``bench/results/NAME.json`` and show it."""
    text = json.dumps({"machine": machine(), **result}, indent=1)
    (ROOT / "bench" / "results").mkdir(exist_ok=True)
    (ROOT / "bench" / "results" / f"{name}.json").write_text(text + "\n")
    sys.stdout.write(text + "\n")


def read(name: str) -> dict[str, Any]:
    """What ``bench/results/NAME.json`` has but the machine, for a bench that measures its parts one by one."""
    file = ROOT / "bench" / "results" / f"{name}.json"
    return {k: v for k, v in json.loads(file.read_text()).items() if k != "machine"} if file.exists() else {}
