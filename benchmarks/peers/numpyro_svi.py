"""NumPyro's SVI with `Trace_ELBO` and `stax` modules, a whole epoch in one jitted function.

As its VAE example does: the images lie on the device, the order is drawn on the host, and a
`fori_loop` fetches and updates. Weights start as torch's do. Many models are one `vmap` of that
epoch, each with its own beta (`handlers.scale`), key and order.

With `data_dir`: also as its example, grey values are probabilities of binary pixels that are drawn
anew for every minibatch. The remainder is always dropped. Source:
https://num.pyro.ai/en/stable/examples/vae.html.
"""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax import lax, random
from jax.example_libraries import stax
from numpyro.infer import SVI, Trace_ELBO

from peers.base import LEARNING_RATE, Peer, Task

DEVICES = {"cpu": "cpu", "cuda": "gpu"}  # torch's names to jax's


def dense(n_in: int, n_out: int):
    """A layer that starts as `torch.nn.Linear` does."""

    def uniform(key, shape):
        return random.uniform(key, shape, minval=-1.0, maxval=1.0) / n_in**0.5

    return stax.Dense(n_out, W_init=uniform, b_init=uniform)


def hidden_layers(*sizes: int) -> list:
    """Layers of these sizes, a ReLU after each."""
    return [f for n in range(1, len(sizes)) for f in (dense(sizes[n - 1], sizes[n]), stax.Relu)]


class Programs:
    """Model and guide for flat images (B, pixels)."""

    def __init__(self, task: Task):
        latent_dim, last = task.latent_dim, task.hidden[-1]
        self.latent_dim = latent_dim
        self.encoder = stax.serial(
            *hidden_layers(task.pixels, *task.hidden),
            stax.FanOut(2),
            stax.parallel(dense(last, latent_dim), stax.serial(dense(last, latent_dim), stax.Exp)),
        )
        self.decoder = stax.serial(
            *hidden_layers(latent_dim, *reversed(task.hidden)),
            dense(task.hidden[0], task.pixels),
            stax.Sigmoid,
        )

    def model(self, x, beta):
        """z ~ p(z), x ~ p(x | z)."""
        decode = numpyro.module("decoder", self.decoder, (len(x), self.latent_dim))
        with numpyro.plate("data", len(x)):
            with numpyro.handlers.scale(scale=beta):
                prior = dist.Normal(0, 1).expand([self.latent_dim]).to_event(1)
                z = numpyro.sample("z", prior)
            numpyro.sample("x", dist.Bernoulli(decode(z)).to_event(1), obs=x)

    def guide(self, x, beta):
        """z ~ q(z | x)."""
        encode = numpyro.module("encoder", self.encoder, x.shape)
        loc, scale = encode(x)
        with numpyro.plate("data", len(x)), numpyro.handlers.scale(scale=beta):
            numpyro.sample("z", dist.Normal(loc, scale).to_event(1))


class NumPyro(Peer):
    """One call of the jitted function for every epoch."""

    def __init__(self, task: Task):
        super().__init__(task)
        programs = Programs(task)
        adam = numpyro.optim.Adam(LEARNING_RATE)
        self.svi = SVI(programs.model, programs.guide, adam, Trace_ELBO())
        device = jax.devices(DEVICES[task.device])[0]
        self.images = jax.device_put(task.images.flatten(1).numpy(), device)
        self.host = np.random.default_rng(task.seed)
        self.betas = jnp.array(task.betas)
        keys = random.split(random.PRNGKey(task.seed), len(task.betas))
        self.state = self._mapped(self._start)(keys, self.betas)
        self.run = jax.jit(self._mapped(self._epoch))

    def train(self):
        rows = np.tile(np.arange(len(self.images)), (len(self.task.betas), 1))
        order = self.host.permuted(rows, axis=1)[:, : self.steps * self.task.batch_size]
        with jax.default_matmul_precision("float32"):  # as torch; on a GPU jax would use TF32
            self.state, losses = self.run(self.state, order, self.betas)
        jax.block_until_ready(self.state)
        return float(losses.mean()) / order.shape[1]

    def _mapped(self, function):
        """A function of one model as one of all models; without a `vmap` where there is one."""
        if len(self.task.betas) > 1:
            return jax.vmap(function)
        return lambda *arguments: jax.tree.map(
            lambda leaf: leaf[None], function(*jax.tree.map(lambda leaf: leaf[0], arguments))
        )

    def _start(self, key, beta):
        return self.svi.init(key, self.images[: self.task.batch_size], beta), key

    def _epoch(self, state, order, beta):
        state, key = state
        key, pixels_key = random.split(key)

        def step(i, carried):
            state, total = carried
            rows = lax.dynamic_slice_in_dim(order, i * self.task.batch_size, self.task.batch_size)
            x = jnp.take(self.images, rows, axis=0)
            if self.task.data_dir is not None:
                x = random.bernoulli(random.fold_in(pixels_key, i), x).astype(x.dtype)
            state, loss = self.svi.update(state, x, beta)
            return state, total + loss

        state, total = lax.fori_loop(0, self.steps, step, (state, 0.0))
        return (state, key), total
