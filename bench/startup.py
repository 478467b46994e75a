"""Seconds until `import ectype` and `ectype --help` have returned, as whole processes. ``python -m bench.startup``"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench.record import write


def seconds(command: list[str], rounds: int = 11) -> float:
    """Median over whole runs of a command."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return round(statistics.median(times), 3)


def main() -> None:
    ectype = str(Path(sys.executable).parent / "ectype")
    write("startup", {"import_ectype_s": seconds([sys.executable, "-c", "import ectype"]), "import_bar_s": 0.15,
                      "python_alone_s": seconds([sys.executable, "-c", "pass"]),
                      "help_s": seconds([ectype, "--help"]), "help_bar_s": 0.4, "models_s": seconds([ectype, "models"])})


if __name__ == "__main__":
    main()
