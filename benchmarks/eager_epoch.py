"""An MNIST epoch under the eager engine beside a hand-written PyTorch loop, in pairs.

The same network (784-400-20-400-784, ReLU, Bernoulli), batch 128, fused Adam, resident data. Both
start each pair from fresh weights, and take turns in going first. Prints the ratio's median and
quartiles. Run: `python benchmarks/eager_epoch.py --data-dir data`.
"""

import argparse
import statistics
import time

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

import pyro_vae as pv

STEPS, BATCH = 468, 128


def hand_written(images: torch.Tensor) -> float:
    """Seconds of one epoch as one would write it without any library."""
    images = images.flatten(1)
    encoder = nn.Sequential(nn.Linear(784, 400), nn.ReLU(), nn.Linear(400, 40)).to(images.device)
    decoder = nn.Sequential(nn.Linear(20, 400), nn.ReLU(), nn.Linear(400, 784)).to(images.device)
    adam = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-3, fused=True)
    start = time.perf_counter()
    order = torch.randperm(len(images), device=images.device)[: STEPS * BATCH].view(STEPS, BATCH)
    total = 0.0
    for rows in order:
        x = images[rows]
        loc, log_scale = encoder(x).chunk(2, -1)
        scale = log_scale.exp()
        z = loc + scale * torch.randn_like(scale)
        distortion = binary_cross_entropy_with_logits(decoder(z), x, reduction="sum")
        rate = 0.5 * (loc**2 + scale**2 - 1 - 2 * log_scale).sum()
        loss = (distortion + rate) / BATCH
        adam.zero_grad()
        loss.backward()
        adam.step()
        total = total + loss.detach()
    float(total)
    return time.perf_counter() - start


def eager(images: torch.Tensor, objective: str) -> float:
    """Seconds of the same epoch under `engine="eager"`."""
    vae = pv.VAE((1, 28, 28), 20, "bernoulli", hidden=(400,))
    device = images.device
    (record,) = pv.fit(vae, images, objective=objective, epochs=1, engine="eager", device=device)
    return record.seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", default="data", help="folder that holds MNIST")
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    images = pv.load_dataset("mnist", arguments.data_dir).train.images.to(arguments.device)
    for objective in ("elbo", "elbo_analytic"):
        hand, ours = [], []
        for pair in range(arguments.pairs + 1):  # the first warms up
            if pair % 2:
                ours.append(eager(images, objective))
            hand.append(hand_written(images))
            if not pair % 2:
                ours.append(eager(images, objective))
        ratios = [b / a for a, b in zip(hand[1:], ours[1:])]
        low, median, high = statistics.quantiles(ratios, n=4)
        print(
            f"{objective}: hand-written {statistics.median(hand[1:]):.3f} s,"
            f" eager {statistics.median(ours[1:]):.3f} s,"
            f" ratio {median:.3f} (quartiles {low:.3f} to {high:.3f}, {len(ratios)} pairs)"
        )


if __name__ == "__main__":
    main()
