"""Our U-Net as :mod:`bench.diffusion` times it: steps of the training loop, and DDIM, in processor time."""

from __future__ import annotations

import time

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from ectype import DDPM, Train
from ectype.data.schema import Schema
from ectype.rng import Rows
from ectype.spec import Net
from ectype.train.device import arithmetic
from ectype.train.loop import Loop, Parts

BATCH, SIZE = 64, 32
WIDTHS = {"denoising-diffusion-pytorch": (144, 184), "diffusers": (160, 208)}       # as much arithmetic as the peer's, and more parameters


def ours(width: tuple[int, ...], steps: int, samples: int, ddim: int) -> dict[str, float]:
    """Images a second in training and in sampling, parameters and arithmetic of one evaluation."""
    torch.manual_seed(0)
    X = np.random.default_rng(0).integers(0, 256, (BATCH * (steps + 2), SIZE, SIZE), dtype=np.uint8)
    schema = Schema.fit(X)
    model = DDPM(net=Net(width=width), train=Train(budget=f"{steps}steps", batch_size=BATCH, threads=1, validation=0.0))
    objective, settings = model.build(schema, None), model.train.over(DDPM.preset)
    x = torch.from_numpy(schema.encode(X))
    objective.to(memory_format=torch.channels_last)
    objective.prepare(x, None)
    loop = Loop(objective, Parts.of(x, None, settings, 0), settings, 0, lambda event: None)
    for _ in range(2):
        loop._step()
    start = time.process_time()
    for _ in range(steps):
        loop._step()
    trained = time.process_time() - start
    objective.eval()
    with torch.no_grad(), arithmetic(objective, x.device, settings.precision)():
        start = time.process_time()
        objective.generate(Rows(0, 0, samples), None, steps=ddim, sampler="ddim")
        sampled = time.process_time() - start
    network = objective.network
    with FlopCounterMode(display=False) as counted:
        network(torch.zeros(1, network.enter.in_channels // network.patch**2, SIZE, SIZE), torch.zeros(1), None)
    return {"parameters": sum(p.numel() for p in objective.parameters() if p.requires_grad), "gflop": counted.get_total_flops() / 1e9,
            "train_images_per_s": BATCH * steps / trained, "sample_images_per_s": samples / sampled, "ddim_steps": ddim}
