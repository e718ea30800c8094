"""The places where tests put something else in: all of them stand here.

Each function takes a `setattr`: `monkeypatch.setattr` in a test, the builtin one in a process that
ends with the test.
"""

import math
from unittest.mock import MagicMock

import numpy as np
from sklearn.ensemble import GradientBoostingClassifier

from pyro_vae.comparison import page, plots
from pyro_vae.evaluation import disentanglement
from pyro_vae.measures import limit
from pyro_vae.pages.frame import png_bytes
from pyro_vae.runs import evaluate, report, summary, writer
from pyro_vae.sweeps import sweep
from pyro_vae.training import engines, ensembles


def put_compiler(compile_step, setattr=setattr):
    """Have `compile_step(step, device, libraries)` make the steps of compiled engines."""
    setattr(engines.Compiled, "compile", staticmethod(compile_step))


def do_without_inductor(setattr=setattr):
    """Run captured steps as they are."""
    put_compiler(lambda step, *_: step, setattr)


def set_steps_that_pay(count, setattr=setattr):
    """Have the engine `auto` compile from so many steps on."""
    pays = {"cpu": {"eager": 0, "compiled": count}, "cuda": {"eager": 0, "compiled": count}}
    setattr(engines, "STEPS_THAT_PAY", pays)
    setattr(engines, "SCORED_LIKE_A_STEP", dict.fromkeys(pays, math.inf))


def take_away_the_compiler(setattr=setattr):
    """Have the machine lack a C++ compiler."""
    setattr(engines, "missing_compiler", lambda device="cpu": "no C++ compiler (g++)")


def stack_at_most(count, setattr=setattr):
    """Have a stack of an ensemble hold at most so many models."""
    setattr(ensembles, "MOST_IN_A_STACK", {"cpu": count, "cuda": count})


def do_without_pictures(setattr=setattr):
    """Draw nothing: neither the figures of a run nor those of a comparison."""
    for name in ("trained_pictures", "progress_picture"):
        setattr(writer, name, lambda *arguments: {})
    setattr(evaluate, "save_drawings", _save_files)
    _leave_pages_without_pictures(setattr)


def paint_pixels(setattr=setattr):
    """Have each picture of a run be a single pixel, and draw nothing on pages."""
    pixel = png_bytes(np.zeros((1, 1, 3)))
    for name in ("png_of", "png_bytes", "svg"):
        setattr(writer, name, lambda picture: pixel)
    _leave_pages_without_pictures(setattr)


def _leave_pages_without_pictures(setattr):
    for name in ("one_run", "component_panels"):
        setattr(report, name, MagicMock(return_value=(None, None)))
    for module in (report, plots):
        setattr(module, "drawn", lambda figure, description: "")
    setattr(page, "pictures", lambda runs, folder: None)
    setattr(limit, "encode_video", lambda pictures, ending: b"")


def draw_no_curves(setattr=setattr):
    """Have the page of a comparison show images of its runs, and no curves."""
    setattr(plots, "drawn", lambda figure, description: "")


def _save_files(folder, drawings):
    files = {name: content for name, content in drawings.items() if isinstance(content, bytes)}
    writer.save_drawings(folder, files)


def score_with_few_draws(setattr=setattr):
    """Have a finished run score its images with the fewest draws of z."""
    setattr(summary, "NUMBERS", 1)


def evaluate_with(effort, setattr=setattr):
    """Have `evaluate(quick=True)` spend this much, and predict factors by few trees."""
    setattr(evaluate, "QUICK", effort)
    plant_few_trees(setattr)


def sweep_few_epochs(most, setattr=setattr):
    """Have each run of a sweep take at most so many epochs."""
    whole = sweep.sweep

    def short(grid, out):
        epochs = {name: min(most, grid[name]) for name in grid if name.endswith("epochs")}
        return whole(grid | epochs, out)

    setattr(sweep, "sweep", short)


def plant_few_trees(setattr=setattr):
    """Have a fifth of the trees predict the values of factors."""
    setattr(disentanglement, "_trees", _few_trees)


def _few_trees(codes, values, seed):
    return GradientBoostingClassifier(n_estimators=20, random_state=seed).fit(codes, values)
