"""The names that a user can choose among, each with one line about it; torch is not imported here.

The classes and functions behind these names stand in one literal dict each, in the room that they
belong to. The tests hold the keys of those dicts equal to the names here.
"""

import difflib
import os
import reprlib
import shlex
from collections.abc import Iterable

from pyro_vae.files import exists

DATASETS = {
    "digits": "1,797 handwritten digits, 8x8, 17 grey levels; embedded",
    "sprites": "6,144 drawn shapes, 32x32, 2 levels, with true factors; embedded",
    "mnist": "70,000 handwritten digits, 28x28, 256 grey levels",
    "fashion_mnist": "70,000 pieces of clothing, 28x28, 256 grey levels",
    "kmnist": "70,000 cursive Japanese characters, 28x28, 256 grey levels",
    "emnist_balanced": "131,600 letters and digits, 28x28, 256 grey levels, 47 classes",
    "emnist_letters": "145,600 letters, 28x28, 256 grey levels, 26 classes of both cases",
    "emnist_digits": "280,000 handwritten digits, 28x28, 256 grey levels",
    "emnist_byclass": "814,255 letters and digits, 28x28, 256 grey levels, 62 classes",
    "omniglot": "32,460 characters of 50 alphabets, scaled to 28x28, 256 grey levels",
    "svhn": "99,289 house numbers, 32x32 colour, 256 levels",
    "cifar10": "60,000 photographs, 32x32 colour, 256 levels",
    "celeba": "202,599 faces, 64x64 colour unless --image-size says otherwise, 256 levels",
    "binarized_mnist": "MNIST as Larochelle binarized it: 50,000 + 10,000 + 10,000, 2 levels",
    "dsprites": "737,280 shapes, 64x64, 2 levels, with true factors",
}
LIKELIHOODS = {
    "bernoulli": "P(x = 1) = sigmoid(logit), for binary images",
    "continuous_bernoulli": "continuous Bernoulli density on the unit interval",
    "gaussian_fixed_sigma": "Normal with a sigma that you set (default: 0.25)",
    "gaussian_shared_sigma": "Normal with one learned sigma for all pixels",
    "gaussian_image_sigma": "Normal with one sigma per image, from the decoder",
    "gaussian_pixel_sigma": "Normal with one sigma per pixel and channel",
    "gaussian_optimal_sigma": "Normal with the sigma of highest likelihood",
    "laplace": "Laplace with one learned scale",
    "student_t": "Student's t, 3 degrees of freedom, learned scale",
    "beta": "Beta density per pixel on the unit interval",
    "beta_binomial": "binomial whose probability is drawn from a Beta",
    "categorical": "softmax over the grey levels, with a shared head",
    "discretized_logistic": "bins of a logistic distribution per pixel",
    "discretized_logistic_mixture": "mixture of five discretized logistics per pixel",
}
OBJECTIVES = {
    "elbo": "ELBO with a sampled KL",
    "elbo_analytic": "ELBO with the KL in closed form",
    "stl": "ELBO whose gradient leaves out the score of q (sticking the landing)",
    "iwae": "importance-weighted bound of all draws",
    "dreg": "the bound of iwae with doubly reparameterised gradients",
    "miwae": "mean of the bounds of groups of draws, as 8 groups of 8",
    "piwae": "iwae for the decoder and miwae for the encoder",
    "ciwae": "mean of the ELBO and the bound of iwae",
}
ELBOS = ("elbo", "elbo_analytic", "stl")  # the others are bounds at beta 1 only
ENGINES = {
    "svi": "Pyro's own SVI",
    "eager": "the same sum of log probabilities without waiting for the device",
    "graph": "the whole step recorded as a CUDA graph, without a compiler",
    "compiled": "the whole step as one compiled function",
}
PARTS = {  # of an evaluation
    "likelihood": "ELBO, importance bound, annealed importance sampling, and the gaps between them",
    "decoder": "how often pixels fall where the decoder says, given reconstructed codes",
    "posterior": "Pareto k-hat, NUTS beside q, simulation-based calibration",
    "latents": "the rate as mutual information, total correlation and KLs; q(z) against the prior",
    "limit": "the chain decode - sample - encode - sample: its video, and whether it stays at the prior",
    "samples": "Fréchet distance, precision and recall, sharpness, and a verdict on the regularisation",
    "checks": "brightness, contrast, sparsity, correlation and neighbours of drawn sets of images",
    "factors": "a linear probe; MIG, DCI, SAP, beta-VAE and FactorVAE scores",
}
BOUND_DRAWS, QUICK_BOUND_DRAWS = 5000, 500  # of z per image, for the importance bound of `evaluate`
POSTERIORS = {
    "normal": "a Normal with independent components",
    "full_normal": "a Normal with a covariance for each image",
    "flow": "a neural spline flow of a Normal, from zuko",
    "point": "a point: a plain autoencoder",
}
PRIORS = {
    "normal": "the standard Normal",
    "mixture": "a learned mixture of ten diagonal Normals",
    "vamp": "the mean of the posteriors of 100 learned pseudo-inputs",
}
FITTED = {  # densities of codes, after training
    "gaussian": "a Normal with full covariance",
    "mixture": "a mixture of ten such Normals",
}
CODES = ("prior", *FITTED)  # of samples
NETWORKS = ("linear", "mlp", "conv", "resnet")
ACTIVATIONS = ("relu", "tanh", "softplus", "gated")
INITIALISATIONS = ("torch", "glorot")
MODELS = ("vae", "autoencoder")
SCORES = ("density", "levels")
BINARIZE = ("none", "threshold", "static", "dynamic")
VALIDATION = ("auto", "always")
BETA_SCHEDULES = ("constant", "linear", "cyclical")
LEARNING_RATE_SCHEDULES = ("constant", "cosine", "staged")
PRECISIONS = ("float32", "bf16", "float64")
DEVICES = ("auto", "cpu", "cuda")
PICTURE_TYPES = (".png", ".npy")


_most_listed = 20  # names in a message
_short = reprlib.Repr()
_short.maxlevel, _short.maxlist, _short.maxdict, _short.maxstring, _short.maxother = 2, 4, 4, 80, 80


def shortened(value: object) -> str:
    """Return a value as it stands in a message, cut where it is long or deeply nested."""
    return _short.repr(value)


def check_name(argument: str, name: str, known: Iterable[str]) -> str:
    """Return the name itself, if it is known.

    Args:
        argument: what the name was given for; it opens the message.

    Raises:
        ValueError: an unknown name. The message gives those that are near, or all of them.
    """
    known = list(known)
    if name in known:
        return name
    near = _near(str(name)[:80], known)
    if len(near) > 1:
        hint = f"did you mean one of {', '.join(near)}?"
    else:
        hint = f"did you mean {near[0]!r}?" if near else _all_of(known)
    raise ValueError(f"{argument}: unknown name {shortened(name)}; {hint}")


def _all_of(known: list[str]) -> str:
    if len(known) > _most_listed:
        return f"expected one of {len(known)} names, such as {', '.join(known[:_most_listed])}"
    return f"expected one of {', '.join(known)}"


def _near(name: str, known: list[str]) -> list[str]:
    """Return the known names that a wrong one may stand for, or none.

    They are those that begin with it, else the one that is spelled most alike, else those that
    contain it.
    """
    if len(name) < 3:  # too short to tell names apart
        return difflib.get_close_matches(name, known, n=1)
    longer = [each for each in known if each.startswith(name)]
    alike = difflib.get_close_matches(name, known, n=1)
    return longer or alike or [each for each in known if name in each]


def command(*words: object) -> str:
    """Return a command of `pyro-vae` as a shell takes it, whatever the names in it hold."""
    return shlex.join(["pyro-vae", *map(str, words)])


def is_made(dataset: str) -> bool:
    """Return whether a data set is given as a function of the user's own, as in `mine.py:make`."""
    place, _, name = dataset.rpartition(":")
    own = place and place not in DATASETS  # as in `mnist:test`, which names a split
    return bool(own) and name.isidentifier() and not exists(dataset)


def is_path(dataset: str) -> bool:
    """Return whether a data set is given as the path of a file or folder of the user's own."""
    if dataset in DATASETS or is_made(dataset):
        return False
    return os.sep in dataset or dataset.endswith((".npy", ".npz")) or exists(dataset)


def check_dataset_name(dataset: str) -> str:
    """Return the name of a data set, a path or an import path, or raise a ValueError."""
    known = is_path(dataset) or is_made(dataset)
    return dataset if known else check_name("dataset", dataset, DATASETS)
