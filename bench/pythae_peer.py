"""pythae's own trainer on a given array, as its documentation uses it; runs in an environment of its own, without ectype.

``python bench/pythae_peer.py JOB.json`` with the keys ``data`` (an NPZ of uint8 pictures ``train``, ``held_out``, ``test``), ``network``
(``mlp`` or ``conv``), ``latent_dim``, ``batch_size``, ``lr``, ``threads``, ``seed`` and ``epochs`` or ``seconds``. Writes one JSON object
to stdout: images and seconds of processor time of the epochs (their evaluation and the copy of the best model included, as in our loop),
the losses after each, and the summed squared error of a test picture in [0, 1]. With ``initial``, the name of an NPZ file, the weights that
it started from are kept there, those of the encoder first.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from pythae.data.datasets import BaseDataset
from pythae.models import AE, AEConfig
from pythae.models.nn.benchmarks.mnist import Decoder_Conv_AE_MNIST, Encoder_Conv_AE_MNIST
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from pythae.trainers.training_callbacks import TrainingCallback


class TimeIsUpError(Exception):
    """The trainer has no budget in seconds: this ends it."""


class Clock(TrainingCallback):
    """Images and seconds of whole epochs, the curve, and the end after ``seconds``."""

    def __init__(self, batch_size: int, seconds: float | None):
        self.batch_size, self.budget = batch_size, seconds
        self.images, self.seconds, self.curve = 0, 0.0, []
        self.began, self.epoch_began = time.perf_counter(), time.process_time()

    def on_train_begin(self, training_config: Any, **kwargs: Any) -> None:
        self.began = time.perf_counter()

    def on_train_step_begin(self, training_config: Any, **kwargs: Any) -> None:      # once an epoch, before its first batch
        self.epoch_began = time.process_time()

    def on_train_step_end(self, training_config: Any, **kwargs: Any) -> None:        # after each batch
        self.images += self.batch_size
        if self.budget is not None and time.perf_counter() - self.began >= self.budget:
            raise TimeIsUpError

    def on_epoch_end(self, training_config: Any, **kwargs: Any) -> None:
        self.seconds += time.process_time() - self.epoch_began

    def on_log(self, training_config: Any, logs: dict[str, float], **kwargs: Any) -> None:
        self.curve.append({"images": self.images, "train": round(logs["train_epoch_loss"], 4),
                           "held_out": round(logs["eval_epoch_loss"], 4)})


@torch.no_grad()
def error(model: AE, x: np.ndarray) -> float:
    """Σₖ (x_hatₖ − xₖ)² of a picture in [0, 1], on average; as pixel levels, rounded."""
    model.eval()
    total = 0.0
    for part in np.split(x, range(1000, len(x), 1000)):
        shown = torch.from_numpy(part)[:, None] / 255
        rebuilt = model.decoder(model.encoder(shown).embedding).reconstruction.mul(255).round() / 255
        total += float((rebuilt - shown).square().sum())
    return total / len(x)


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text())
    logging.disable(logging.CRITICAL)
    torch.set_num_threads(job["threads"])
    torch.manual_seed(job["seed"])
    data = np.load(job["data"])
    parts = {k: torch.from_numpy(data[k])[:, None] / 255 for k in ("train", "held_out")}
    train, held_out = (BaseDataset(x, torch.zeros(len(x))) for x in parts.values())
    shape = AEConfig(input_dim=(1, 28, 28), latent_dim=job["latent_dim"])
    model = AE(shape, encoder=Encoder_Conv_AE_MNIST(shape), decoder=Decoder_Conv_AE_MNIST(shape)) if job["network"] == "conv" else AE(shape)
    if "initial" in job:
        np.savez(job["initial"], *(p.detach().numpy() for part in (model.encoder, model.decoder) for p in part.parameters()))
    clock = Clock(job["batch_size"], job.get("seconds"))
    with TemporaryDirectory() as folder:
        settings = BaseTrainerConfig(output_dir=folder, num_epochs=job.get("epochs", 10**6), learning_rate=job["lr"], seed=job["seed"],
                                     per_device_train_batch_size=job["batch_size"], per_device_eval_batch_size=job["batch_size"])
        trainer = BaseTrainer(model, train, eval_dataset=held_out, training_config=settings, callbacks=[clock])
        try:
            trainer.train()
        except TimeIsUpError:
            sys.stderr.write(f"ended after {clock.images} images\n")
    models = {"last": trainer.model} | ({"best": trainer._best_model} if clock.curve else {})
    errors = {f"test_error_{k}": round(error(m, data["test"]), 4) for k, m in models.items()} if len(data["test"]) else {}
    sys.stdout.write(json.dumps({"parameters": sum(p.numel() for p in model.parameters()), "images": clock.images, "seconds": clock.seconds,
                                 "images_per_s": round(clock.images / clock.seconds, 1) if clock.seconds else None, "curve": clock.curve,
                                 **errors}) + "\n")


if __name__ == "__main__":
    main()
