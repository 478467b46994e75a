"""zuko's neural spline flow with coupling layers on given arrays, as its documentation trains it; runs in an environment of its own,
without ectype.

``python bench/zuko_peer.py JOB.json`` with the keys ``data`` (an NPZ of float32 ``train``, ``held_out``), ``cell`` (the width of the cell
over which uniform noise spreads each value: 1 for counts, 0 for none), ``transforms``, ``hidden``, ``batch_size``, ``lr``, ``threads``,
``seed`` and ``steps`` or ``seconds``. Columns are standardised by the training part. Writes one JSON object to stdout: steps, seconds on
the clock and of the processor, steps a second of the latter, and the mean log-likelihood of a held-out row in nats, of the values as
they were given (of the mass, by the bound of dequantisation, where ``cell`` is 1).
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
import zuko

DRAWS = 4       # of the noise, in the bound


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(job["threads"])
    torch.manual_seed(job["seed"])
    data = np.load(job["data"])
    train, held_out = (torch.from_numpy(data[k]) for k in ("train", "held_out"))
    cell = job["cell"]
    mean, std = train.mean(0) + cell / 2, (train.var(0) + cell**2 / 12).sqrt()

    def standardised(x: torch.Tensor) -> torch.Tensor:
        return (x + cell * torch.rand_like(x) - mean) / std

    flow = zuko.flows.NSF(features=train.shape[1], passes=2, transforms=job["transforms"], hidden_features=job["hidden"])
    optimiser = torch.optim.Adam(flow.parameters(), lr=job["lr"])
    steps, began, processor_began = 0, time.perf_counter(), time.process_time()
    while steps < job["steps"] if "steps" in job else time.perf_counter() - began < job["seconds"]:
        x = train[torch.randint(len(train), (job["batch_size"],))]
        loss = -flow().log_prob(standardised(x)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        steps += 1
    seconds, processor_s = time.perf_counter() - began, time.process_time() - processor_began
    with torch.no_grad():
        found = torch.stack([flow().log_prob(standardised(held_out)).mean() for _ in range(DRAWS if cell else 1)]).mean()
    result = {"parameters": sum(p.numel() for p in flow.parameters()), "steps": steps, "seconds": round(seconds, 3),
              "processor_s": round(processor_s, 3), "steps_per_s": round(steps / processor_s, 2),
              "log_likelihood": round(float(found - std.log().sum()), 4)}
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
