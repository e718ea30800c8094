"""The measures of a cell: of the images of a split, of drawn samples, and of the annealing itself."""

import numpy as np
import torch

from pyro_vae.evaluation.ais import Annealing, annealed_importance_sampling
from pyro_vae.evaluation.bounds import importance_bound
from pyro_vae.evaluation.samples import frechet_distance
from pyro_vae.evaluation.terms import active_units, mean_variance_per_component
from pyro_vae.measures.samples import classifier_for
from pyro_vae.models.elbo import elbo_terms


def anneal(vae, x, effort, times=1):
    """Return log P of images by chains from q, with so many times the temperatures of the plan."""
    temperatures, leapfrogs = effort["temperatures"] * times, effort["leapfrogs"]
    annealing = Annealing(temperatures, effort["chains"], num_leapfrog=leapfrogs, start="posterior")
    return annealed_importance_sampling(vae, x, annealing)


def split(vae, data, name, effort):
    """Return means over the images of a split, and columns with a value for each image.

    All are in nats but the squared error, which is a sum over pixels.
    """
    x = getattr(data, name).images[: effort[f"{name}_images"]].to(vae.device)
    terms, annealed = elbo_terms(vae, x, effort["elbo_draws"]), anneal(vae, x, effort)
    columns = {
        "rate": terms.rate,
        "distortion": terms.distortion,
        "importance": importance_bound(vae, x, effort["bound_draws"]).log_prob,
        "ais": annealed.log_prob,
        "squared_error": (vae.reconstruct(x) - x).square().flatten(1).sum(1),
    }
    figures = {name: value.mean().item() for name, value in columns.items()}
    figures["ais_error"] = annealed.standard_error.square().mean().sqrt().item()  # of one image
    figures["ais_chains"] = annealed.effective_sample_size.mean().item()
    figures["active"] = active_units(mean_variance_per_component(vae, x))
    if name == "validation":
        parts = {"encoder": vae.encoder, "decoder": vae.decoder, "likelihood": vae.likelihood}
        for part, module in parts.items():
            figures[f"{part}_parameters"] = sum(p.numel() for p in module.parameters())
    arrays = {key: value.cpu().numpy().astype(np.float32) for key, value in columns.items()}
    return {f"{name}_{key}": value for key, value in figures.items()}, arrays


def distances(vae, data, effort):
    """Return Fréchet distances to a half of the test images, means over several draws of samples.

    That of the other half, `frechet_real`, is what real images reach at this number of images.
    """
    net = classifier_for(data).to(vae.device)
    torch.manual_seed(0)
    x = data.test.images[torch.randperm(len(data.test))].to(vae.device)
    size = len(x) // 2
    real, other = net.features(x[:size]), x[size : 2 * size]
    found = {"frechet_real": [frechet_distance(net.features(other), real).mean]}
    for _ in range(effort["sample_draws"]):
        sets = {"samples": vae.sample(size, draw=True), "sample_means": vae.sample(size)}
        sets["reconstructions"] = vae.reconstruct(other, draw=True)
        for name, images in sets.items():
            distance = frechet_distance(net.features(images), real).mean
            found.setdefault(f"frechet_{name}", []).append(distance)
    return {name: float(np.mean(each)) for name, each in found.items()}


def check(vae, x, effort):
    """Return by how much log P of a few images rises with four times as many temperatures."""
    x = x[: effort["check_images"]]
    short, longer = (anneal(vae, x, effort, times) for times in (1, 4))
    gain = (longer.log_prob - short.log_prob).double()
    figures = {"gain": gain.mean().item(), "gain_error": (gain.std() / len(x) ** 0.5).item()}
    for word, each in {"short": short, "longer": longer}.items():
        figures[f"{word}_ais"] = each.log_prob.mean().item()
        figures[f"{word}_chains"] = each.effective_sample_size.mean().item()
    return figures
