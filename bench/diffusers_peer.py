"""diffusers on pictures of 32 × 32: trained images a second, and sampled ones, in processor time of one thread.

Runs in an environment of its own: ``python diffusers_peer.py TRAIN_STEPS SAMPLES DDIM_STEPS`` writes a line of JSON. The training step is
that of its ``train_unconditional.py``: noise by the scheduler, squared error, clipping, AdamW.
"""

import json
import sys
import time

import torch
from diffusers import DDIMPipeline, DDIMScheduler, DDPMScheduler, UNet2DModel

BATCH, SIZE = 64, 32


def main():
    steps, samples, ddim = map(int, sys.argv[1:])
    torch.set_num_threads(1)
    torch.manual_seed(0)
    net = UNet2DModel(sample_size=SIZE, in_channels=1, out_channels=1, block_out_channels=(32, 64, 128), layers_per_block=2,
                      norm_num_groups=8, down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
                      up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"))
    schedule = DDPMScheduler(num_train_timesteps=1000)
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-4, betas=(0.95, 0.999), weight_decay=1e-6, eps=1e-8)
    images = torch.rand(BATCH * steps, 1, SIZE, SIZE) * 2 - 1

    def train(batches):
        for batch in batches:
            noise, t = torch.randn_like(batch), torch.randint(0, 1000, (len(batch),))
            loss = torch.nn.functional.mse_loss(net(schedule.add_noise(batch, noise, t), t).sample, noise)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimiser.step()
            optimiser.zero_grad()

    train(images.split(BATCH)[:2])
    start = time.process_time()
    train(images.split(BATCH))
    trained = time.process_time() - start
    net.eval()
    pipeline = DDIMPipeline(net, DDIMScheduler(num_train_timesteps=1000))
    pipeline.set_progress_bar_config(disable=True)
    start = time.process_time()
    pipeline(batch_size=samples, num_inference_steps=ddim, output_type="np")
    sampled = time.process_time() - start
    sys.stdout.write(json.dumps({"parameters": sum(p.numel() for p in net.parameters()), "train_images_per_s": BATCH * steps / trained,
                      "sample_images_per_s": samples / sampled, "ddim_steps": ddim}) + "\n")


if __name__ == "__main__":
    main()
