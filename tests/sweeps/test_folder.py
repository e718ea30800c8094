"""How the runs of a sweep find their folders again."""

import pytest

import pyro_vae as pv
from pyro_vae.sweeps.folder import SweepFolder
from pyro_vae.sweeps.grid import combinations, read_grid
from pyro_vae.sweeps.observer import SweepObserver, fail


def leave(folder, **settings):
    """What a sweep leaves at least."""
    grid = read_grid(settings)
    with folder.joined(grid, combinations(grid)) as runs:
        pass
    for run in runs:
        run.folder.mkdir(exist_ok=True)
        batch_size = run.config.batch_size or 128
        config = {**vars(run.config), "batch_size": batch_size, "engine": "compiled"}
        pv.RunConfig(**config).save(run.config_file)
    return [run.name for run in runs]


def test_runs_keep_their_folders_in_a_larger_grid(tmp_path):
    folder = SweepFolder(tmp_path / "a")
    assert leave(folder, latent_dim=2) == ["digits-gaussian_shared_sigma"]
    assert leave(folder, latent_dim=2, beta=[1, 4]) == ["digits-gaussian_shared_sigma", "beta=4"]
    assert leave(folder, beta=[4, 1, 8], latent_dim=[2, 3], batch_size=[128, 64]) == [
        "beta=4", "beta=4,latent_dim=2,batch_size=64",
        "beta=4,latent_dim=3,batch_size=128", "beta=4,latent_dim=3,batch_size=64",
        "digits-gaussian_shared_sigma", "beta=1,latent_dim=2,batch_size=64",
        "beta=1,latent_dim=3,batch_size=128", "beta=1,latent_dim=3,batch_size=64",
        "beta=8,latent_dim=2,batch_size=128", "beta=8,latent_dim=2,batch_size=64",
        "beta=8,latent_dim=3,batch_size=128", "beta=8,latent_dim=3,batch_size=64",
    ]  # fmt: skip
    assert leave(folder, beta=[8, 16], latent_dim=2) == [
        "beta=8,latent_dim=2,batch_size=128",
        "beta=16",
    ]


def test_no_two_runs_share_a_folder(tmp_path):
    folder = SweepFolder(tmp_path / "a")
    leave(folder, beta=[1, 4])
    found = leave(folder, beta=[1, 4], batch_size=[None, 128])
    assert len(set(found)) == 4 and "beta=1" in found and "beta=4" in found


def test_the_engine_and_the_device_may_change(tmp_path):
    folder = SweepFolder(tmp_path / "a")
    leave(folder, beta=[1, 4])
    assert leave(folder, beta=[1, 4], engine="svi", device="cpu") == ["beta=1", "beta=4"]


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"hidden": "8"}, r"out: hidden is None in .*beta=1, got \(8,\); .*: name another folder"),
        ({"batch_size": 7}, "out: batch_size is 128 in .*beta=1, got 7; .*: name another folder"),
    ],
)
def test_no_other_setting_may_change(tmp_path, settings, message):
    folder = SweepFolder(tmp_path / "a")
    leave(folder, beta=[1, 4])
    with pytest.raises(ValueError, match=message):
        folder.runs(combinations(read_grid({"beta": [1, 4], **settings})))


# --- what is no sweep -----------------------------------------------------------------------------

CONFIGS = combinations(read_grid({"beta": [1, 4]}))


@pytest.fixture
def sweep_folder(tmp_path):
    """A sweep that was stopped when it had made one folder, and nothing in it."""
    (tmp_path / "sweep.yaml").write_text("")
    (tmp_path / "beta=4").mkdir()
    return tmp_path


def test_an_empty_folder_is_that_of_a_run(sweep_folder):
    names = [run.name for run in SweepFolder(sweep_folder).runs(CONFIGS)]
    assert names == ["beta=1", "beta=4"]


def test_a_folder_of_something_else_is_no_run(sweep_folder):
    (sweep_folder / "beta=4" / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"beta=4 is not a run folder: it has no config\.yaml"):
        SweepFolder(sweep_folder).runs(CONFIGS)


def test_damaged_settings_of_a_run_are_named(sweep_folder):
    (sweep_folder / "beta=4" / "config.yaml").write_text("{")
    with pytest.raises(ValueError, match=r"config: .*beta=4/config\.yaml cannot be read"):
        SweepFolder(sweep_folder).runs(CONFIGS)


# --- a member -------------------------------------------------------------------------------------


def test_a_run_that_fails_leaves_the_reason_in_one_line(tmp_path):
    run = pv.Run(tmp_path / "beta=4", pv.RunConfig(beta=4))
    assert not run.failed and not run.ended
    with pytest.warns(UserWarning, match="sweep: failed: no such data"):
        fail(run, ValueError("no such\n  data"), SweepObserver())
    assert run.reread().ended and run.reread().failed == "no such data"
    assert run.failure_file.read_text() == "no such data\n"
    assert pv.RunConfig.load(tmp_path / "beta=4" / "config.yaml").beta == 4
