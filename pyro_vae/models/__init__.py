"""The VAE and the autoencoder as Pyro programs, and the networks that they contain."""
