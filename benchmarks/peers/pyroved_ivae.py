"""pyroVED's `iVAE` without invariances, under its `SVItrainer`.

Its networks are its own: two heads, where the posterior's scale is a softplus and not an
exponential. Its trainer gives nats per image.

With `data_dir`: grey images in memory through its `init_dataloader`, the remainder trained on.
Source: https://github.com/ziatdinovmax/pyroVED, examples.
"""

import pyroved

from peers.base import LEARNING_RATE, Minibatches, Peer, Task


class PyroVed(Peer):
    """`SVItrainer.train` for every epoch."""

    def __init__(self, task: Task):
        super().__init__(task)
        vae = pyroved.models.iVAE(
            tuple(task.images.shape[2:]),
            latent_dim=task.latent_dim,
            hidden_dim_e=list(task.hidden),
            hidden_dim_d=list(reversed(task.hidden)),
            activation="relu",
            sampler_d="bernoulli",
            seed=task.seed,
            device=task.device,
        )
        self.trainer = pyroved.trainers.SVItrainer(
            vae, lr=LEARNING_RATE, seed=task.seed, device=task.device
        )
        self.minibatches = Minibatches(task) if task.data_dir is None else _loader(task)
        self.steps = len(self.minibatches)

    def train(self):
        return self.trainer.train(self.minibatches)


def _loader(task: Task):
    return pyroved.utils.init_dataloader(task.images, batch_size=task.batch_size)
