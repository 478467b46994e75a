"""The VAE on dynamically binarised MNIST beside pythae's: the importance-weighted bound after the same minutes, and images a second.

``python -m bench.vae bound PYTHON [BUDGET]`` (20m). Ours has the settings below, chosen on a part of the training file; pythae's VAE is its
default perceptron of 16 latent numbers with the Bernoulli loss, batches of 128, rate 1e-3. One seed, one thread each, and so one of two
cores; the minutes are of processor time, so that what else the machine does takes nothing from either. The test file is read once, after
training, and binarised once, for both. The bound of 5,000 draws, averaged over all test pictures, is estimated in two parts, since the
difference between 5,000 and 50 draws varies little from picture to picture:

    mean over all of IWAE_50  +  mean over the first 300 of (IWAE_5000 − IWAE_50)

with the standard error of that difference beside it. Bars: at most 84.5 nats, and 3 nats below pythae's.

``python -m bench.vae speed PYTHON [NETWORK …]`` (conv mlp): images a second in training of pythae's VAE network for MNIST (17.2 million
parameters) and of its perceptron, by pythae's trainer and by this project's loop from the same weights, on the same pictures, with the
same loss, batch size, rate and one thread, in processor time; ours in bfloat16, with its own arithmetic of small convolutions
(``nn/taps.py``), and with freed memory kept by the process, as the command ``ectype fit`` keeps it (``cli/memory.py``). Rounds alternate,
figures are medians over three (convolutions: one). Bars: 3 times, 1.5 times.

PYTHON is the interpreter of an environment with pythae and torch; MNIST is read from ``ECTYPE_DATA_DIR``.
"""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.pythae_speed import BARS, BATCH, EPOCHS, LATENT_DIM, LR, PER_EPOCH, ROUNDS, THREADS, settings
from bench.record import write
from ectype import VAE
from ectype.cli.memory import keep_freed_memory
from ectype.data.schema import Schema
from ectype.data.sources import load
from ectype.nn.taps import Conv2d, ConvTranspose2d
from ectype.prob.divergence import kl_standard_normal
from ectype.rng import numpy_generator, preserved
from ectype.spec import Budget, Train
from ectype.train import loop
from ectype.train.loop import Parts, train
from ectype.train.objective import Objective, n_parameters

SEED = 0
DRAWS = ((10_000, 50), (300, 50), (300, 5000))              # pictures, draws of z
MODEL = {"latent_dim": 40, "likelihood": "bernoulli", "prior": "flow"}
TRAIN = Train(batch_size=128, lr=2e-3, threads=THREADS)


# -- the bound -----------------------------------------------------------------------------------------------------------------------------


def combined(every: np.ndarray, few: np.ndarray, many: np.ndarray) -> dict[str, Any]:
    """−IWAE of many draws over all pictures, from few draws of all and both of some."""
    difference = many - few
    nats = -every.mean() - difference.mean()
    return {"nats": round(float(nats), 3), "standard_error": round(float(difference.std() / len(many) ** 0.5), 4),
            "nats_few_draws": round(float(-every.mean()), 3), "bits_per_dim": round(float(nats / (784 * math.log(2))), 4),
            "standard_error_of_the_test_file": round(float(every.std() / len(every) ** 0.5), 3)}


@contextmanager
def processor_time() -> Iterator[None]:
    """The loop's clock, as one of processor time."""
    before, loop.time = loop.time, SimpleNamespace(perf_counter=time.process_time)
    try:
        yield
    finally:
        loop.time = before


def ours(pictures: np.ndarray, test: np.ndarray, budget: str) -> dict[str, Any]:
    """Fit and bound, as a user would; ``test`` is 0 and 1."""
    with processor_time():
        model = VAE(**MODEL, train=TRAIN(budget=budget), random_state=SEED).fit(pictures)
    curve = [{k: round(r[k], 4) for k in ("step", "elapsed_s", "recon", "kl", "held_out")} for r in model.history_]
    steps = model.n_steps_
    sys.stderr.write(f"ours: {steps} steps, held out {curve[-1]['held_out']}\n")
    start, shown = time.process_time(), test * np.uint8(255)
    nats = combined(*(model.bounds(shown[:n], draws=k).iwae for n, k in DRAWS))
    return {**nats, "parameters": model.n_parameters_, "seconds": round(model.fit_s_, 1), "steps": steps,
            "images_per_s": round(steps * model.train_.batch_size / model.fit_s_, 1), "measured": model.stages_[0]["measured"],
            "bound_s": round(time.process_time() - start, 1), "curve": curve}


def peer(python: str, job: dict[str, Any], **arrays: np.ndarray) -> dict[str, Any]:
    """One run of pythae's VAE."""
    with TemporaryDirectory() as folder:
        data, path = Path(folder) / "mnist.npz", Path(folder) / "job.json"
        np.savez(data, **arrays)
        fixed = {"latent_dim": LATENT_DIM, "batch_size": BATCH, "lr": LR, "threads": THREADS}
        path.write_text(json.dumps({"data": str(data), **fixed, **job}))
        script = Path(__file__).with_name("pythae_vae_peer.py")
        done = subprocess.run([python, str(script), str(path)], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def bound(python: str, budget: str) -> None:
    """Both models, both bounds."""
    pictures, test = (np.asarray(load(name).X).reshape(-1, 28, 28) for name in ("mnist", "mnist_test"))
    test = (numpy_generator(SEED, "binarisation of the test file").random(test.shape) < test / 255).astype(np.uint8)
    job = {"network": "mlp", "seed": SEED, "seconds": Budget.parse(budget).seconds, "draws": DRAWS}
    rows = {"ectype": ours(pictures, test, budget)}
    sys.stderr.write(json.dumps(rows) + "\n")
    found = peer(python, job, train=pictures[2000:], held_out=pictures[:2000], test=test)       # as many held out as by our loop
    rows["pythae"] = {**combined(*(np.array(b) for b in found.pop("bounds"))), **found}
    write("vae", {"budget": budget, "minutes_of": "processor time", "seed": SEED, "threads": THREADS, "draws": DRAWS, "model": MODEL,
                  "train": {k: v for k, v in TRAIN.get_params().items() if v is not None}, "bar": "nats <= 84.5, and 3 below pythae's",
                  "ahead_of_pythae": round(rows["pythae"]["nats"] - rows["ectype"]["nats"], 2), "rows": rows})


# -- speed ---------------------------------------------------------------------------------------------------------------------------------


def convolutions() -> tuple[nn.Module, nn.Module]:
    """28 → 14 → 7 → 3 → 1 pixels and 128, 256, 512, 1024 channels; back from 4 × 4 × 1024 by transposed convolutions."""
    layers: list[nn.Module] = []
    for kind, n, k in ((nn.Conv2d, 1, 128), (nn.Conv2d, 128, 256), (Conv2d, 256, 512), (Conv2d, 512, 1024)):
        layers += [kind(n, k, 4, stride=2, padding=1), nn.BatchNorm2d(k), nn.ReLU()]
    back: list[nn.Module] = [nn.Linear(LATENT_DIM, 1024 * 4 * 4), nn.Unflatten(1, (1024, 4, 4))]
    for n, k, extra in ((1024, 512, 0), (512, 256, 1)):
        back += [ConvTranspose2d(n, k, 3, stride=2, padding=1, output_padding=extra), nn.BatchNorm2d(k), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten()), nn.Sequential(*back, nn.ConvTranspose2d(256, 1, 3, stride=2, padding=1, output_padding=1))


def perceptrons() -> tuple[nn.Module, nn.Module]:
    """784-512-16 and 16-512-784."""
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(784, 512), nn.ReLU())
    return encoder, nn.Sequential(nn.Linear(LATENT_DIM, 512), nn.ReLU(), nn.Linear(512, 784), nn.Unflatten(1, (1, 28, 28)))


class SameNetwork(Objective):
    """The peer's VAE network and loss as an objective of our loop."""

    def __init__(self, schema: Schema, features: nn.Module, decoder: nn.Module, width: int):
        super().__init__(schema)
        self.encoder, self.decoder = features, decoder
        self.mean, self.log_var = nn.Linear(width, LATENT_DIM), nn.Linear(width, LATENT_DIM)

    def loss(self, x: Tensor, c: Tensor | None, player: str) -> dict[str, Tensor]:
        shown = torch.bernoulli(x.float() / 255)
        h = self.encoder(shown)
        mean, log_std = self.mean(h).float(), 0.5 * self.log_var(h).float()
        z = mean + torch.exp(log_std) * torch.randn_like(mean)
        recon = F.binary_cross_entropy_with_logits(self.decoder(z).float(), shown, reduction="none").flatten(1).sum(1)
        return {"loss": (recon + kl_standard_normal(mean, log_std).sum(1)).mean()}


def our_speed(network: str, schema: Schema, x: Tensor, seed: int, initial: list[np.ndarray]) -> dict[str, Any]:
    """One run of the loop from the ``initial`` weights, in the order encoder, mean, log-variance, decoder."""
    with preserved():
        features, decoder = {"conv": convolutions, "mlp": perceptrons}[network]()
        objective = SameNetwork(schema, features, decoder, {"conv": 1024, "mlp": 512}[network])
    modules = (objective.encoder, objective.mean, objective.log_var, objective.decoder)
    with torch.no_grad():
        for p, value in zip((p for m in modules for p in m.parameters()), initial, strict=True):
            p.copy_(torch.from_numpy(value))
    with processor_time():
        outcome = train(objective, x, None, settings(network), seed)
    curve = [{"images": r["step"] * BATCH, "train": round(r["loss"], 4), "held_out": round(r["held_out"], 4)} for r in outcome.history]
    return {"parameters": n_parameters(objective), "images_per_s": round(outcome.steps * BATCH / outcome.seconds, 1), "curve": curve}


def their_speed(python: str, network: str, x: Tensor, seed: int) -> tuple[dict[str, Any], list[np.ndarray]]:
    """One run of pythae's trainer on the rows that our loop trains on, and its first weights."""
    parts = Parts.of(x, None, settings(network), seed)
    with TemporaryDirectory() as folder:
        initial = Path(folder) / "initial.npz"
        job = {"network": network, "seed": seed, "epochs": EPOCHS[network], "initial": str(initial)}
        found = peer(python, job, train=parts.x[:, 0].numpy(), held_out=parts.x_held[:, 0].numpy(), test=np.zeros((0, 28, 28), np.uint8))
        with np.load(initial) as weights:
            return found, [weights[name] for name in weights.files]


def speed(python: str, networks: list[str]) -> None:
    """Rounds of both."""
    keep_freed_memory()
    held_out = round(settings("mlp").validation * PER_EPOCH * BATCH / (1 - settings("mlp").validation))
    pictures = load("mnist").X[: held_out + PER_EPOCH * BATCH]
    schema = Schema.fit(pictures)
    x, result = torch.from_numpy(schema.encode(pictures)), {}
    for network in networks:
        runs = []
        for seed in range(ROUNDS[network]):
            theirs, initial = their_speed(python, network, x, seed)
            runs.append((our_speed(network, schema, x, seed, initial), theirs))
        rates = [(a["images_per_s"], b["images_per_s"]) for a, b in runs]
        result[network] = {"parameters": runs[0][1]["parameters"], "bar": f"ratio >= {BARS[network]}",
                           "ratio": round(statistics.median(a / b for a, b in rates), 2),
                           "ours_images_per_s": statistics.median(a for a, _ in rates),
                           "pythae_images_per_s": statistics.median(b for _, b in rates),
                           "runs": [{"ours": a, "pythae": b} for a, b in runs]}
        sys.stderr.write(f"{network}: {result[network]['ratio']} times\n")
    write("vae_speed", {"batch_size": BATCH, "lr": LR, "threads": THREADS, "rounds": {n: ROUNDS[n] for n in networks}, "networks": result})


def main() -> None:
    part, python, *rest = sys.argv[1:]
    if part == "bound":
        bound(python, rest[0] if rest else "20m")
    else:
        speed(python, rest or list(BARS))


if __name__ == "__main__":
    main()
