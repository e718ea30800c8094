"""The choice of an engine, which depends on the training and the machine, and on no clock."""

from typing import NamedTuple

from pyro_vae.names import ENGINES, check_name
from pyro_vae.training.compiler import missing_compiler

# Total steps from which on `auto` takes an engine. On a CPU, trials needed 200 to 15,000, most for
# tiny networks; for CUDA these are estimates, which no GPU has measured.
STEPS_THAT_PAY = {
    "cpu": {"eager": 0, "compiled": 20_000},
    "cuda": {"eager": 0, "graph": 300, "compiled": 150_000},
}


class Choice(NamedTuple):
    """A choice of engine: its name, whether another may replace it, and the reason in a few words."""

    name: str
    automatic: bool
    reason: str


def choose_engine(name: str, steps: int, device: str = "cpu", ranks: int = 1) -> Choice:
    """Return the engine that a name stands for in a training of `steps` steps in all.

    `auto` depends on the number of steps, on the type of device, and on whether there is a
    compiler. It does not depend on how busy the machine is, nor on the steps that are left, so a
    run is always computed in the same way on the same machine.

    Args:
        device: the type of the device.
        ranks: the number of processes that train together.

    Raises:
        ValueError: an unknown name; an engine that cannot run here.
    """
    check_name("engine", name, ["auto", *ENGINES])
    missing = {engine: why for engine in ENGINES if (why := _missing(engine, device, ranks))}
    if name in missing:
        raise ValueError(f"engine: {missing[name]}, which {name} needs; use eager")
    if name != "auto":
        return Choice(name, False, "as asked for")
    pays = STEPS_THAT_PAY[device].items()
    *_, best = (engine for engine, least in pays if steps >= least and engine not in missing)
    if best == "compiled":
        return Choice(best, True, f"{steps:,} steps pay for compiling")
    reason = missing.get("compiled") or f"{steps:,} steps do not pay for compiling"
    return Choice(best, True, reason)


def _missing(engine: str, device: str, ranks: int) -> str | None:
    """Return what an engine needs and has not here, in a few words; None where it can run."""
    if engine == "compiled":
        return missing_compiler(device)
    if engine == "graph" and device != "cuda":
        return "no CUDA device"
    return "a single process" if engine == "graph" and ranks > 1 else None
