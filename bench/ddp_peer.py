"""denoising-diffusion-pytorch on pictures of 32 × 32: trained images a second, and sampled ones, in processor time of one thread.

Runs in an environment of its own: ``python ddp_peer.py TRAIN_STEPS SAMPLES DDIM_STEPS`` writes a line of JSON. torchvision, which the peer
imports for its data sets and grids, is not needed for either, and a name stands in for it.
"""

import json
import sys
import time
import types

import torch

BATCH, SIZE = 64, 32


def peer():
    vision = types.ModuleType("torchvision")
    vision.transforms, vision.utils = types.ModuleType("transforms"), types.ModuleType("utils")
    sys.modules |= {"torchvision": vision, "torchvision.transforms": vision.transforms, "torchvision.utils": vision.utils}
    sys.modules.setdefault("pytorch_fid", types.ModuleType("pytorch_fid"))
    from denoising_diffusion_pytorch.denoising_diffusion_pytorch import GaussianDiffusion, Unet

    return Unet, GaussianDiffusion


def main():
    steps, samples, ddim = map(int, sys.argv[1:])
    torch.set_num_threads(1)
    torch.manual_seed(0)
    Unet, GaussianDiffusion = peer()
    net = Unet(dim=32, dim_mults=(1, 2, 4), channels=1)
    model = GaussianDiffusion(net, image_size=SIZE, timesteps=1000, sampling_timesteps=ddim)
    optimiser = torch.optim.Adam(model.parameters(), lr=8e-5, betas=(0.9, 0.99))        # the trainer's own settings
    images = torch.rand(BATCH * steps, 1, SIZE, SIZE)

    def train(batches):
        for batch in batches:
            loss = model(batch)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            optimiser.zero_grad()

    train(images.split(BATCH)[:2])
    start = time.process_time()
    train(images.split(BATCH))
    trained = time.process_time() - start
    model.eval()
    start = time.process_time()
    with torch.no_grad():
        model.sample(batch_size=samples)
    sampled = time.process_time() - start
    sys.stdout.write(json.dumps({"parameters": sum(p.numel() for p in net.parameters()), "train_images_per_s": BATCH * steps / trained,
                      "sample_images_per_s": samples / sampled, "ddim_steps": ddim}) + "\n")


if __name__ == "__main__":
    main()
