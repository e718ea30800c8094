"""Pythae's `VAE` under its `BaseTrainer`, one `train_step` (which is an epoch) at a time.

Networks are handed over, as its documentation shows; the learning rate is set to everybody's (its
own is 1e-4), the loss to `bce`: sums over pixels, means over images, so in the same unit. The rate
is in closed form, which cannot be chosen, and so it learns a little faster than those who take the
drawn z. What `train` does around an epoch is left out, to its advantage: progress bars, logs, a
copy of the best model.

With `data_dir`: grey images in memory through the loader that its trainer makes, the remainder
trained on (and its mean of minibatches then weighs that one like the others). Source:
https://github.com/clementchadebec/benchmark_VAE.
"""

import logging

from pythae.data.datasets import DatasetOutput
from pythae.data.preprocessors import DataProcessor
from pythae.models import VAE, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from pythae.trainers.training_callbacks import CallbackHandler, TrainingCallback
from torch import nn

from peers.base import LEARNING_RATE, Minibatches, Peer, Task, mlp


class Encoder(BaseEncoder):
    """Images to the posterior's mean and log variance."""

    def __init__(self, task: Task):
        BaseEncoder.__init__(self)
        self.latent_dim = task.latent_dim
        self.layers = mlp(task.pixels, *task.hidden, 2 * task.latent_dim)

    def forward(self, x):
        loc, log_variance = self.layers(x.flatten(1)).chunk(2, -1)
        return ModelOutput(embedding=loc, log_covariance=log_variance)


class Decoder(BaseDecoder):
    """Latents to probabilities of pixels."""

    def __init__(self, task: Task):
        BaseDecoder.__init__(self)
        layers = mlp(task.latent_dim, *reversed(task.hidden), task.pixels)
        shape = tuple(task.images.shape[1:])
        self.layers = nn.Sequential(layers, nn.Sigmoid(), nn.Unflatten(1, shape))

    def forward(self, z):
        return ModelOutput(reconstruction=self.layers(z))


class Inputs(Minibatches):
    """Resident minibatches under the name that Pythae looks for."""

    def __iter__(self):
        return (DatasetOutput(data=x) for (x,) in super().__iter__())


class Pythae(Peer):
    """`BaseTrainer.train_step` for every epoch."""

    def __init__(self, task: Task):
        super().__init__(task)
        _be_quiet()
        shape = tuple(task.images.shape[1:])
        config = VAEConfig(shape, task.latent_dim, reconstruction_loss="bce")
        self.trainer = BaseTrainer(
            VAE(config, Encoder(task), Decoder(task)),
            DataProcessor.to_dataset(task.images),
            training_config=BaseTrainerConfig(
                per_device_train_batch_size=task.batch_size,
                learning_rate=LEARNING_RATE,
                seed=task.seed,
                no_cuda=task.device == "cpu",
            ),
        )
        if task.data_dir is None:
            self.trainer.train_loader = Inputs(task)
        self.trainer.set_optimizer()
        self.trainer.callback_handler = CallbackHandler([TrainingCallback()], self.trainer.model)
        self.steps, self.epochs = len(self.trainer.train_loader), 0

    def train(self):
        self.epochs += 1
        return self.trainer.train_step(self.epochs)


def _be_quiet() -> None:
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("pythae"):
            logging.getLogger(name).setLevel(logging.WARNING)
