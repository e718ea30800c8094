"""Draws latent_plane.png from a run with two latent components: `python latent_plane.py RUN`.

The run of the README is
`pyro-vae train --dataset mnist --binarize dynamic --likelihood bernoulli --hidden 400,200
--latent-dim 2 --epochs 60 --learning-rate-schedule cosine --engine compiled --out RUN`.
"""

import sys
from pathlib import Path
from statistics import NormalDist

import numpy as np
import torch
from PIL import Image

import pyro_vae as pv
from pyro_vae.figures.images import tile

COLUMNS, ROWS = 30, 14

vae = pv.load_run(sys.argv[1]).vae
across = [NormalDist().inv_cdf(share) for share in np.linspace(0.02, 0.98, COLUMNS)]
down = [NormalDist().inv_cdf(share) for share in np.linspace(0.98, 0.02, ROWS)]
codes = torch.tensor([[x, y] for y in down for x in across], dtype=torch.float32)
with torch.no_grad():
    picture = 1 - tile(vae.decode(codes).mean.numpy(), COLUMNS, gap=0)
grey = (picture[..., 0] * 255).round().astype(np.uint8)
Image.fromarray(grey).save(Path(__file__).with_suffix(".png"), optimize=True)
