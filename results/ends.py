"""What black and white pixels cost a Normal trained on levels, or on densities: `python results/ends.py`.

It trains the Normal with a learned sigma as the plans of `digits` and `digits_noise` do, one seed, and
prints nats per test image, means over 16 draws of z, and the mean of black pixels.
"""

from pathlib import Path

import run
import torch
import trainings

CELL = {"likelihood": "gaussian_shared_sigma", "beta": 1, "seed": 0, "learning_rate": 0.002}
HERE = Path(__file__).parent


@torch.no_grad()
def costs(vae, x):
    """Return -log P of black and white pixels and of all others, and the median mean of black ones."""
    outputs = vae.outputs(vae.encode(x).sample((16,)))
    nats = -vae.likelihood.mass(outputs).base_dist.log_prob(x)
    ends = (x == 0) | (x == 1)
    of_ends, of_others = (((nats * part).sum((2, 3, 4)).mean().item()) for part in (ends, ~ends))
    return of_ends, of_others, outputs[(x == 0).expand_as(outputs)].median().item()


if __name__ == "__main__":
    for name in ("digits", "digits_noise"):
        work = run.Work(HERE / name, HERE)
        trained = [work.build(CELL)]
        (found,), _ = trainings.together([CELL], trained, work.data, work.settings)
        vae = work.build(CELL, training=False).eval()
        vae.load_state_dict(found["weights"])
        black, white = ((work.data.train.images == end).float().mean().item() for end in (0, 1))
        of_ends, of_others, median = costs(vae, work.data.test.images)
        print(f"{name}: {black + white:.2f} of training pixels are black or white, which cost")
        print(
            f"  {of_ends:.1f} nats, all others {of_others:.1f}; sigma {vae.likelihood.scale:.2f},"
        )
        print(f"  median of the means of black pixels {median:.2f}")
