"""Images a second in training: pythae's trainer and this project's loop on the same network, the same pictures, the same loss.

The networks are pythae's: its autoencoder for MNIST (strided and transposed convolutions with batch normalisation, 17.2 million
parameters) and its default perceptron (784-512-16); ours starts from the weights that it started from. Loss Σₖ (x_hatₖ − xₖ)² with x in
[0, 1], Adam at the same rate, same batch size, one thread each. Ours has bfloat16 (``precision="bfloat16"``), and its own arithmetic of
convolutions with many channels on few pixels (``nn/taps.py``). Both times are of the processor, so that what else the machine does counts
for neither, and include the evaluation on the same held-out pictures after each epoch. Both curves are recorded against images seen; ours
runs on for as long as its learning rate falls, which the peer's does not, so that all that is compared was trained at the same rate.

``python -m bench.pythae_speed PYTHON [NETWORK …]``: PYTHON is the interpreter of an environment with pythae and torch. MNIST is read from
``ECTYPE_DATA_DIR``. Rounds alternate, figures are medians over three (convolutions: one, of several minutes). Bars: 3 times as many images
a second with convolutions, 1.5 times with the perceptron.
"""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.record import write
from ectype.data.schema import Schema
from ectype.data.sources import load
from ectype.nn.taps import Conv2d, ConvTranspose2d
from ectype.rng import preserved
from ectype.spec import Train
from ectype.train.loop import STABLE, Parts, train
from ectype.train.objective import Objective, n_parameters

LATENT_DIM, BATCH, LR, THREADS = 16, 128, 1e-3, 1
PER_EPOCH = 25                                  # steps: the loop evaluates after 25, 50 … 250, then in growing intervals
HELD_OUT = 256                                  # pictures
EPOCHS = {"conv": 4, "mlp": 60}
BARS = {"conv": 3.0, "mlp": 1.5}
ROUNDS = {"conv": 1, "mlp": 3}


def convolutions() -> nn.Module:
    """28 → 14 → 7 → 3 → 1 pixels and 128, 256, 512, 1024 channels; back from 4 × 4 × 1024 by transposed convolutions."""
    layers: list[nn.Module] = []
    for kind, n, k in ((nn.Conv2d, 1, 128), (nn.Conv2d, 128, 256), (Conv2d, 256, 512), (Conv2d, 512, 1024)):
        layers += [kind(n, k, 4, stride=2, padding=1), nn.BatchNorm2d(k), nn.ReLU()]
    layers += [nn.Flatten(), nn.Linear(1024, LATENT_DIM), nn.Linear(LATENT_DIM, 1024 * 4 * 4), nn.Unflatten(1, (1024, 4, 4))]
    for n, k, extra in ((1024, 512, 0), (512, 256, 1)):
        layers += [ConvTranspose2d(n, k, 3, stride=2, padding=1, output_padding=extra), nn.BatchNorm2d(k), nn.ReLU()]
    return nn.Sequential(*layers, nn.ConvTranspose2d(256, 1, 3, stride=2, padding=1, output_padding=1), nn.Sigmoid())


def perceptron() -> nn.Module:
    """784-512-16-512-784."""
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, LATENT_DIM), nn.Linear(LATENT_DIM, 512), nn.ReLU(),
                         nn.Linear(512, 784), nn.Sigmoid(), nn.Unflatten(1, (1, 28, 28)))


class SameNetwork(Objective):
    """The peer's network and loss as an objective of our loop."""

    def __init__(self, schema: Schema, network: nn.Module):
        super().__init__(schema)
        self.network = network

    def loss(self, x: Tensor, c: Tensor | None, player: str) -> dict[str, Tensor]:
        shown = x.float() / 255
        return {"loss": (self.network(shown).float() - shown).square().flatten(1).sum(1).mean()}


def settings(network: str) -> Train:
    """Every field set; clipping, the rise of the rate and the average over weights are off, as the peer has none."""
    share = HELD_OUT / (HELD_OUT + PER_EPOCH * BATCH)
    steps = math.ceil(PER_EPOCH * EPOCHS[network] * STABLE[1] / STABLE[0])
    return Train(budget=f"{steps}steps", batch_size=BATCH, lr=LR, betas=(0.9, 0.999), weight_decay=0.0, clip=1e9,
                 warmup=0, ema=0.0, validation=share, patience=0.0, device="cpu", precision="bfloat16", threads=THREADS)


def ours(network: str, schema: Schema, x: Tensor, seed: int, initial: list[np.ndarray]) -> dict[str, Any]:
    """One run of the loop from the ``initial`` weights."""
    with preserved():
        objective = SameNetwork(schema, {"conv": convolutions, "mlp": perceptron}[network]())
    with torch.no_grad():
        for p, value in zip(objective.parameters(), initial, strict=True):
            p.copy_(torch.from_numpy(value))
    began = time.process_time()
    outcome = train(objective, x, None, settings(network), seed)
    seconds = time.process_time() - began
    curve = [{"images": r["step"] * BATCH, "train": round(r["loss"], 4), "held_out": round(r["held_out"], 4)} for r in outcome.history]
    return {"parameters": n_parameters(objective), "images_per_s": round(outcome.steps * BATCH / seconds, 1), "curve": curve}


def peer(python: str, network: str, x: Tensor, seed: int) -> tuple[dict[str, Any], list[np.ndarray]]:
    """One run of pythae's trainer on the rows that our loop trains on, its curve on those that it holds out, and its first weights."""
    parts = Parts.of(x, None, settings(network), seed)
    with TemporaryDirectory() as folder:
        data, initial, job = (Path(folder) / name for name in ("mnist.npz", "initial.npz", "job.json"))
        np.savez(data, train=parts.x[:, 0].numpy(), held_out=parts.x_held[:, 0].numpy(), test=np.zeros((0, 28, 28), np.uint8))
        job.write_text(json.dumps({"data": str(data), "network": network, "latent_dim": LATENT_DIM, "batch_size": BATCH, "lr": LR,
                                   "threads": THREADS, "seed": seed, "epochs": EPOCHS[network], "initial": str(initial)}))
        script = Path(__file__).with_name("pythae_peer.py")
        done = subprocess.run([python, str(script), str(job)], capture_output=True, text=True, check=True)
        with np.load(initial) as weights:
            return json.loads(done.stdout.splitlines()[-1]), [weights[name] for name in weights.files]


def together(a: dict[str, Any], b: dict[str, Any]) -> list[dict[str, float]]:
    """Both held-out losses wherever both have looked."""
    theirs = {r["images"]: r["held_out"] for r in b["curve"]}
    return [{"images": r["images"], "ours": r["held_out"], "pythae": theirs[r["images"]]} for r in a["curve"] if r["images"] in theirs]


def main() -> None:
    python, networks = sys.argv[1], sys.argv[2:] or list(BARS)
    pictures = load("mnist").X[: HELD_OUT + PER_EPOCH * BATCH]
    schema = Schema.fit(pictures)
    x = torch.from_numpy(schema.encode(pictures))
    result: dict[str, Any] = {}
    for network in networks:
        runs = []
        for seed in range(ROUNDS[network]):
            theirs, initial = peer(python, network, x, seed)
            runs.append((ours(network, schema, x, seed, initial), theirs))
        if {a["parameters"] for a, _ in runs} != {b["parameters"] for _, b in runs}:
            raise RuntimeError(f"the networks differ: {runs[0][0]['parameters']} and {runs[0][1]['parameters']} parameters")
        result[network] = {"parameters": runs[0][0]["parameters"], "bar": f"ratio >= {BARS[network]}",
                           "ratio": round(statistics.median(a["images_per_s"] / b["images_per_s"] for a, b in runs), 2),
                           "ours_images_per_s": statistics.median(a["images_per_s"] for a, _ in runs),
                           "pythae_images_per_s": statistics.median(b["images_per_s"] for _, b in runs),
                           "held_out": [together(a, b) for a, b in runs],
                           "runs": [{"ours": a, "pythae": b} for a, b in runs]}
        sys.stderr.write(f"{network}: {result[network]['ratio']} times\n")
    write("pythae_speed", {"batch_size": BATCH, "lr": LR, "threads": THREADS, "rounds": {n: ROUNDS[n] for n in networks},
                           "networks": result})


if __name__ == "__main__":
    main()
