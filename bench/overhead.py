"""What the training loop costs beside the bare PyTorch step of the same network.

* Table: a VAE on 2,000 × 10 numbers. Bare: index a batch, loss, backward, fused AdamW. Bar: at most 1.3 times the bare step.
* Images: an autoencoder on 6,000 pictures of 28×28, trained from the array in RAM by index. Peer: the same network in float32, fed by a
  DataLoader that loads each picture on its own, from a folder of PNG files as most training scripts do, and from an array. Ours is as
  it is by default (bfloat16 in convolutions where the processor has it). Bar: at least twice as many images a second.

Runs alternate, the figure is the median over rounds of the ratio within a round. ``python -m bench.overhead``
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from bench.record import write
from ectype.data.schema import Schema
from ectype.estimator import GenerativeModel
from ectype.models.autoencoder import Autoencoder
from ectype.models.vae import VAE
from ectype.spec import Net, Train
from ectype.train.device import threads_for
from ectype.train.loop import train

ROUNDS = 5


def ours(model: GenerativeModel, schema: Schema, x: torch.Tensor, steps: int, batch: int) -> float:
    """Seconds a step in the loop, evaluations, average over weights and clipping included."""
    objective = model.build(schema, None)
    settings = Train(budget=f"{steps}steps", batch_size=batch, patience=0.0).over(model.preset)
    return train(objective, x, None, settings, 0).seconds / steps


def bare(model: GenerativeModel, schema: Schema, x: torch.Tensor, steps: int, batch: int) -> float:
    """Seconds a step of the shortest loop that trains the same network."""
    objective = model.build(schema, None).to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(objective.parameters(), lr=1e-3, fused=True)
    with threads_for(objective, 0):
        start = time.perf_counter()
        for _ in range(steps):
            optimiser.zero_grad()
            objective.loss(x[torch.randint(len(x), (batch,))], None, "model")["loss"].backward()
            optimiser.step()
        return (time.perf_counter() - start) / steps


class OnePicture(Dataset):
    """A data set that turns one picture, an array or a file, into a tensor at a time."""

    def __init__(self, pictures: np.ndarray | list[Path]):
        self.pictures = pictures

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, i: int) -> torch.Tensor:
        picture = self.pictures[i]
        pixels = np.asarray(Image.open(picture)) if isinstance(picture, Path) else picture
        return torch.from_numpy(pixels.astype(np.float32) / 255)[None]


def per_sample(model: GenerativeModel, schema: Schema, pictures: np.ndarray | list[Path], steps: int, batch: int) -> float:
    """Seconds a step with a DataLoader over single pictures."""
    objective = model.build(schema, None)
    optimiser = torch.optim.Adam(objective.parameters(), lr=1e-3)
    with threads_for(objective, 0):
        done, start = 0, time.perf_counter()
        while done < steps:
            for x in DataLoader(OnePicture(pictures), batch_size=batch, shuffle=True, drop_last=True):
                optimiser.zero_grad()
                objective.loss((x * 255).to(torch.uint8), None, "model")["loss"].backward()
                optimiser.step()
                done += 1
                if done == steps:
                    break
        return (time.perf_counter() - start) / steps


def main() -> None:
    rng = np.random.default_rng(0)
    table = rng.normal(size=(2000, 10))
    schema = Schema.fit(table)
    x = torch.from_numpy(schema.encode(table))
    model = VAE(net=Net(width=(128, 128)))
    rounds = [(ours(model, schema, x, 1500, 128), bare(model, schema, x, 1500, 128)) for _ in range(ROUNDS)]
    result = {"table": {"ours_ms": round(1e3 * statistics.median(a for a, _ in rounds), 3),
                        "bare_ms": round(1e3 * statistics.median(b for _, b in rounds), 3),
                        "ratio": round(statistics.median(a / b for a, b in rounds), 3), "bar": "ratio <= 1.3", "rounds": ROUNDS}}
    pictures = rng.integers(0, 256, (6000, 28, 28), dtype=np.uint8)
    schema = Schema.fit(pictures)
    x = torch.from_numpy(schema.encode(pictures))
    with TemporaryDirectory() as folder:
        files = [Path(folder) / f"{i}.png" for i in range(len(pictures))]
        for file, picture in zip(files, pictures, strict=True):
            Image.fromarray(picture).save(file)
        for network, net in (("perceptron", Net(kind="mlp", width=(256,))), ("convolutions", Net(width=(16, 32)))):
            model = Autoencoder(latent_dim=16, net=net)
            rounds = [(ours(model, schema, x, 100, 128), per_sample(model, schema, files, 100, 128),
                       per_sample(model, schema, pictures, 100, 128)) for _ in range(ROUNDS)]
            result[f"images, {network}"] = {
                "ours_images_per_s": round(128 / statistics.median(r[0] for r in rounds)),
                "from_files_images_per_s": round(128 / statistics.median(r[1] for r in rounds)),
                "from_an_array_images_per_s": round(128 / statistics.median(r[2] for r in rounds)),
                "ratio_to_files": round(statistics.median(r[1] / r[0] for r in rounds), 2),
                "ratio_to_an_array": round(statistics.median(r[2] / r[0] for r in rounds), 2), "bar": "ratio >= 2", "rounds": ROUNDS}
    write("overhead", result)


if __name__ == "__main__":
    main()
