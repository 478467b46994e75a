"""pythae's VAE by its own trainer on dynamically binarised pictures, and its bound; runs in an environment of its own, without ectype.

``python bench/pythae_vae_peer.py JOB.json`` with the keys ``data`` (an NPZ of uint8 pictures ``train``, ``held_out`` and of binary ones
``test``), ``network`` (``mlp``, its default, or ``conv``, its network for MNIST), ``latent_dim``, ``batch_size``, ``lr``, ``threads``,
``seed``, ``seconds`` (of processor time) or ``epochs``, ``draws`` (a list of ``[pictures, draws]``) and ``initial`` (where the first
weights go). The model is pythae's, with the Bernoulli reconstruction loss that it offers; a batch is binarised anew in each forward pass,
where its data set would do it picture by picture. Writes one JSON object to stdout: parameters, images a second of whole epochs (of
processor time), the curve, and of each of the ``draws`` the bounds of the first pictures, by the weights that were best on held-out
pictures, which its trainer would return.
"""

from __future__ import annotations

import json
import logging
import math
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from pythae.data.datasets import BaseDataset
from pythae.models import VAE, VAEConfig
from pythae.models.nn.benchmarks.mnist import Decoder_Conv_AE_MNIST, Encoder_Conv_VAE_MNIST
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from pythae_peer import Clock, TimeIsUpError

AT_ONCE = 1024          # pictures times draws


class ProcessorClock(Clock):
    """The same in processor time."""

    def on_train_begin(self, training_config: Any, **kwargs: Any) -> None:
        self.began = time.process_time()

    def on_train_step_begin(self, training_config: Any, **kwargs: Any) -> None:
        self.epoch_began = time.process_time()

    def on_train_step_end(self, training_config: Any, **kwargs: Any) -> None:
        self.images += self.batch_size
        if self.budget is not None and time.process_time() - self.began >= self.budget:
            raise TimeIsUpError

    def on_epoch_end(self, training_config: Any, **kwargs: Any) -> None:
        self.seconds += time.process_time() - self.epoch_began


class DynamicVAE(VAE):
    """pythae's VAE on pictures that are binarised at each pass."""

    def forward(self, inputs: Any, **kwargs: Any) -> Any:
        return super().forward({**inputs, "data": torch.bernoulli(inputs["data"])}, **kwargs)


@torch.no_grad()
def bounds(model: VAE, x: torch.Tensor, draws: int) -> list[float]:
    """log 1/k Σ p(x|z) p(z) / q(z|x) of each binary picture, z from q."""
    model.eval()
    found = []
    for part in x.split(32):
        q = model.encoder(part)
        mean, log_var = q.embedding, q.log_covariance
        log_sum, step = torch.full((len(part),), -torch.inf), max(1, AT_ONCE // len(part))
        for start in range(0, draws, step):
            k = min(step, draws - start)
            eps = torch.randn(k, *mean.shape)
            z = mean + torch.exp(0.5 * log_var) * eps
            p = model.decoder(z.flatten(0, 1)).reconstruction.view(k, len(part), -1)
            target = part.flatten(1).expand(k, -1, -1)
            log_w = -torch.nn.functional.binary_cross_entropy(p, target, reduction="none").sum(2)
            log_w += (-0.5 * z**2 + 0.5 * eps**2 + 0.5 * log_var).sum(2)
            log_sum = torch.logaddexp(log_sum, torch.logsumexp(log_w, 0))
        found += (log_sum - math.log(draws)).tolist()
    return found


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text())
    logging.disable(logging.CRITICAL)
    torch.set_num_threads(job["threads"])
    torch.manual_seed(job["seed"])
    data = np.load(job["data"])
    parts = (torch.from_numpy(data[k])[:, None] / 255 for k in ("train", "held_out"))
    train, held_out = (BaseDataset(x, torch.zeros(len(x))) for x in parts)
    shape = VAEConfig(input_dim=(1, 28, 28), latent_dim=job["latent_dim"], reconstruction_loss="bce")
    networks = {"encoder": Encoder_Conv_VAE_MNIST(shape), "decoder": Decoder_Conv_AE_MNIST(shape)} if job["network"] == "conv" else {}
    model = DynamicVAE(shape, **networks)
    if job.get("initial"):
        np.savez(job["initial"], *(p.detach().numpy() for p in (*model.encoder.parameters(), *model.decoder.parameters())))
    clock = ProcessorClock(job["batch_size"], job.get("seconds"))
    with TemporaryDirectory() as folder:
        settings = BaseTrainerConfig(output_dir=folder, num_epochs=job.get("epochs", 10**6), learning_rate=job["lr"], seed=job["seed"],
                                     per_device_train_batch_size=job["batch_size"], per_device_eval_batch_size=job["batch_size"])
        trainer = BaseTrainer(model, train, eval_dataset=held_out, training_config=settings, callbacks=[clock])
        try:
            trainer.train()
        except TimeIsUpError:
            sys.stderr.write(f"ended after {clock.images} images\n")
    best = trainer._best_model if clock.curve else trainer.model
    test = torch.from_numpy(data["test"])[:, None].float()
    found = [bounds(best, test[:n], k) for n, k in job.get("draws", ())]
    sys.stdout.write(json.dumps({"parameters": sum(p.numel() for p in model.parameters()), "images": clock.images, "seconds": clock.seconds,
                                 "images_per_s": round(clock.images / clock.seconds, 1) if clock.seconds else None, "curve": clock.curve,
                                 "bounds": found}) + "\n")


if __name__ == "__main__":
    main()
