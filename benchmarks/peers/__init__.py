"""Who is measured: a dict from each peer's name to what sets it up for a task.

The values are resolved when they are wanted: a peer whose package is missing stops no other.
"""

from pkgutil import resolve_name

from peers.base import Peer, Task

PEERS: dict[str, str] = {
    "stock_pyro": "peers.stock_pyro:StockPyro",
    "pyroved": "peers.pyroved_ivae:PyroVed",
    "pythae": "peers.pythae_vae:Pythae",
    "numpyro": "peers.numpyro_svi:NumPyro",
    "handwritten_eager": "peers.handwritten:Handwritten",
    "handwritten_compiled": "peers.handwritten:compiled",
    "handwritten_channels_last": "peers.handwritten:channels_last",
    "svi": "peers.ours:svi",
    "eager": "peers.ours:eager",
    "compiled": "peers.ours:compiled",
    "fit_many": "peers.ours:FitMany",
}


class Unavailable(Exception):
    """A peer cannot be had here; the message is the reason, in one line."""


def set_up(name: str, task: Task) -> Peer:
    """The peer of that name, ready for its first epoch of the task.

    Raises:
        Unavailable: its package is missing, or cannot do the task.
    """
    try:
        return resolve_name(PEERS[name])(task)
    except Exception as error:  # foreign packages fail in their own ways
        raise Unavailable(reason(error)) from error


def reason(error: Exception) -> str:
    """What went wrong, in one line."""
    line = (str(error).strip().splitlines() or [""])[0]
    plain = isinstance(error, (ImportError, Unavailable))
    return line if plain else f"{type(error).__name__}: {line}"
