"""Print the milliseconds of processor time per step of a plan's families, on random images.

    python results/timing.py results/mnist --shape 1 28 28 --levels 256

The first epoch, which compiles the step, is left out. Speed does not depend on what images show.
"""

import argparse
import time
from pathlib import Path

import torch
import yaml

import pyro_vae as pv

parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
parser.add_argument("plan", type=Path, help="the folder of plan.yaml")
parser.add_argument("--shape", type=int, nargs=3, required=True, help="channels, height, width")
parser.add_argument("--levels", type=int, required=True, help="grey levels of a pixel")
parser.add_argument("--steps", type=int, default=40)
arguments = parser.parse_args()
plan = yaml.safe_load((arguments.plan / "plan.yaml").read_text())
settings = plan["settings"]
names = {"score", "hidden", "latent_dim", "network", "activation"} & set(settings)
shape, levels = tuple(arguments.shape), arguments.levels
images = torch.randint(levels, (128 * arguments.steps, *shape)) / (levels - 1)
for likelihood in plan["families"]:
    chosen = {name: settings[name] for name in names} | {"likelihood": likelihood}
    vae = pv.VAE(shape, levels=levels, **chosen)
    training = pv.fit(vae, images, epochs=2, engine="compiled")
    next(training)
    start = time.process_time()
    next(training)
    milliseconds = (time.process_time() - start) / arguments.steps * 1000
    print(f"{likelihood:30s} {milliseconds:8.2f}", flush=True)
