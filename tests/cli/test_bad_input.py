"""Bad input: one line, exit 2, nothing written; and whatever is thrown at it, nothing worse."""

import io
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

import pyro_vae as pv
from pyro_vae.checkpoints import load_checkpoint
from pyro_vae.cli.main import main
from tests.support.faults import unreachable
from tests.support.hostile import write_configs, write_idx, write_images, write_runs
from tests.support.runs import modified
from tests.support.training import assert_same_weights


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A folder with everything that may go wrong."""
    root = tmp_path_factory.mktemp("inputs")
    for write in (write_images, write_idx, write_configs, write_runs):
        write(root)
    return root


def own(name, *more):
    """A run on images of the user's own."""
    return ["train", "--dataset", name, *more]


def resume(*more):
    """The run in the folder `run` taken up again."""
    return ["train", "--resume", "--out", "run", "--dataset", "grey.npy", "--hidden", "4", *more]


def encode(images, out="codes.npz"):
    """The codes of images by the run in the folder `run`."""
    return ["encode", "run", images, "--out", out]


WRONG = [
    # flags, keys and names
    ([], "expected a command: train, sweep, evaluate, sample, encode, reconstruct, score, export"),
    (["trian"], "command: unknown name 'trian'; did you mean 'train'?"),
    (["train", "--epoch", "3"], "unknown argument --epoch; did you mean --epochs?"),
    (["train", "--zzz"], "unknown argument --zzz; see pyro-vae train --help"),
    (["sample", "run", "--num", "3"], "unknown argument --num; see pyro-vae sample --help"),
    (["train", "5"], "unknown argument 5; see pyro-vae train --help"),
    (["evaluate", "run", "--sample", "3"], "unknown argument --sample; did you mean --samples?"),
    (["train", "--beta"], "argument --beta: expected one argument"),
    (["train", "--likelihood", "gausian_fixed_sigma"], "did you mean 'gaussian_fixed_sigma'?"),
    (["train", "--dataset", "minst"], "dataset: unknown name 'minst'; did you mean 'mnist'?"),
    (["datasets", "minst"], "did you mean 'mnist'?"),
    (["train", "--config", "none.yaml"], "config: none.yaml cannot be read"),
    (["train", "--config", "key.yaml"], "config: key in key.yaml: unknown name 'betta'; did you"),
    (["train", "--config", "list.yaml"], "config: expected 'key: value' lines in list.yaml"),
    (["train", "--config", "open.yaml"], "config: open.yaml cannot be read"),
    (["train", "--config", "tag.yaml"], "config: tag.yaml cannot be read: could not determine"),
    (["train", "--config", "binary.yaml"], "config: binary.yaml cannot be read"),
    (["train", "--config", "latin.yaml"], "config: latin.yaml cannot be read: 'utf-8' codec"),
    (["train", "--config", "."], "config: . cannot be read"),
    # values
    (["train", "--config", "type.yaml"], "dataset: expected a name, got 3"),
    (["train", "--epochs", "0"], "epochs: expected a whole number >= 1, got '0'"),
    (["train", "--beta", "-1"], "beta: expected a number >= 0, got '-1'"),
    (["train", "--hidden", "4,x"], "hidden: expected a whole number >= 1, got 'x'"),
    (["evaluate", "run", "--samples", "0"], "argument --samples: expected a whole number >= 1"),
    (["sample", "run", "--count", "x"], "argument --count: expected a whole number >= 1, got 'x'"),
    (["sample", "run", "--pixels", "drown"], "argument --pixels: unknown name 'drown'; did you mean"),
    (["sample", "run", "--codes", "gausian"], "unknown name 'gausian'; did you mean 'gaussian'?"),
    # settings that do not go together, or not with the data
    (["train", "--batch-size", "9999"], "batch_size: expected 1 to 1437 images, got 9999"),
    (["train", "--network", "linear", "--hidden", "4"], "a linear network has no hidden layers"),
    (["train", "--model", "autoencoder", "--objective", "iwae"], "no importance weights"),
    (["train", "--likelihood", "bernoulli", "--score", "levels"], "no probability to 17 grey"),
    (["train", "--levels", "17"], "levels: digits has its own; only your own images take 17"),
    (own("floats.npy", "--likelihood", "categorical"), "levels: categorical scores grey levels; name"),
    (own("floats.npy", "--score", "levels"), "gaussian_shared_sigma scores grey levels; name"),
    (own("floats.npy", "--levels", "17"), "levels: expected the 17 grey levels v / 16 in"),
    (own("grey.npy", "--levels", "100"), "expected pixels of 100 grey levels, 0 to 99, in"),
    # images
    (own("nan.npy"), "nan.npy has missing pixels (NaN), and a run needs all; in Python pv.fit trains"),
    (own("infinite.npy"), "images: expected finite pixels, got NaN or infinite ones"),
    (own("negative.npy"), "images: expected pixels in [0, 1], got -0.1 to"),
    (own("bright.npy"), "to 255; divide by the largest value that a pixel can have"),
    (own("one.npy"), "expected at least 2 images in"),
    (own("two.npy", "--patience", "3"), "validation: two has too few images to hold some out"),
    (own("empty.npy"), "holds no pixels: images of shape (0, 4, 4)"),
    (own("flat.npy"), "got an array of shape (20, 16)"),
    (own("deep.npy"), "got an array of shape (5, 4, 1, 4, 4)"),
    (own("int64.npy"), "levels: give the number of grey levels of the int64 pixels in"),
    (own("text.npy"), "expected numbers in"),
    (own("complex.npy"), "expected numbers in"),
    (own("objects.npy"), "objects.npy cannot be read: truncated, or not plain numbers"),
    (own("pickled.npz"), "pickled.npz cannot be read: truncated, or not plain numbers"),
    (own("nameless.npz"), "holds a, b; expected images, or train_images and test_images"),
    (own("labels.npz"), "expected 20 rows of numbers as labels in"),
    (own("factors.npz"), "dataset: expected finite factors in"),
    (own("sizes.npz"), "mixes images of different shapes or types"),
    (own("truncated.npz"), "truncated.npz cannot be read: truncated, or not plain numbers"),
    (own("truncated.npy"), "truncated.npy cannot be read: truncated, or not plain numbers"),
    (own("garbage.npy"), "garbage.npy cannot be read: truncated, or not plain numbers"),
    (own("huge.npy"), "huge.npy cannot be read: truncated"),
    (own("absent.npy"), "dataset: there is no file or folder"),
    (own("images.csv"), "dataset: expected a folder, an .npy or an .npz file, got"),
    (own("nothing"), "expected pictures in the folder"),
    (own("notes"), "expected pictures in the folder"),
    (own("mixed"), "expected pictures of one size, got 4x4 in 0.png and 4x5 in 2.png"),
    (own("deep_colour"), "expected 8-bit pictures, got mode I;16 in"),
    (own("glass"), "expected pictures without transparency, got some in"),
    (own("broken"), "2.png cannot be read"),
    (["train", "--dataset", "mnist", "--data-dir", "idx"], "dataset: mnist is not complete under"),
    (["train", "--dataset", "mnist", "--data-dir", "junk"], "dataset: mnist is not complete under"),
    # run folders
    (["train", "--out", "run"], "out: run is there already; name another folder, resume its run"),
    (["train", "--out", "file"], "out: file is there already"),
    (["train", "--out", "file", "--overwrite"], "out: file is there already, and is not a folder"),
    (["train", "--out", "folder", "--overwrite"], "out: folder is not a run folder"),
    (["train", "--out", "folder", "--resume"], "out: folder is not a run folder"),
    (["train", "--resume"], "resume: name the run folder with --out"),
    (["train", "--overwrite"], "overwrite: name the run folder with --out"),
    (["train", "--resume", "--overwrite", "--out", "run"], "give one of the two"),
    (resume("--beta", "2"), "out: beta is 1.0 in run, got 2.0; only epochs, device, engine"),
    (resume("--dataset", "digits"), "out: dataset is"),
    (["evaluate", "nowhere"], "run: nowhere is no run folder: it has no config.yaml"),
    (["evaluate", "run", "--only", "latent"], "--only: unknown name 'latent'; did you mean 'latents'?"),
    (["sample", "run", "--out", "no/a.png"], "out: there is no folder no"),
    (["sample", "run", "--out", "a.gif"], "out: type of file: unknown name '.gif'"),
    # the use of a run on images
    (["encode", "run"], "the following arguments are required: IMAGES, --out"),
    (encode("absent.npy"), "dataset: there is no file or folder"),
    (encode("nothing"), "expected pictures in the folder"),
    (encode("infinite.npy"), "images: expected finite pixels, got NaN or infinite ones"),
    (encode("digits:test"), "expected 1x4x4 (channels, height, width) as the run's, got 1x8x8 in dig"),
    (encode("digits"), "images: name the split of digits, as in digits:test"),
    (encode("minst:test"), "dataset: unknown name 'minst'; did you mean 'mnist'?"),
    (encode("grey.npy", "file"), "out: type of file: unknown name ''; expected one of .npz"),
    (encode("grey.npy", "sound.npz"), "out: sound.npz is there already; name another file, or delete"),
    (encode("grey.npy", "no/codes.npz"), "out: there is no folder no"),
    (["reconstruct", "run", "grey.npy", "--out", "folder"], "out: folder is there already"),
    (["reconstruct", "run", "grey.npy", "--out", "a.gif"], "out: type of file: unknown name '.gif'"),
    (["score", "run", "two.npy", "--out", "a.csv", "--samples", "0"], "expected a whole number >= 1"),
    (["score", "nowhere", "two.npy", "--out", "a.csv"], "run: nowhere is no run folder"),
    # checkpoints
    (["evaluate", "run_truncated"], "checkpoint: run_truncated/checkpoints/last.pt cannot be read"),
    (["evaluate", "run_hostile"], "checkpoint: run_hostile/checkpoints/last.pt cannot be read"),
    (["evaluate", "run_list"], "last.pt holds a list, not a dict"),
    (["sample", "run_keys"], "last.pt does not fit run_keys/config.yaml"),
    (["sample", "run_shape"], "last.pt does not fit run_shape/config.yaml"),
    (["sample", "run_nonsense"], "last.pt does not fit run_nonsense/config.yaml"),
    (["sample", "run_config"], "last.pt does not fit run_config/config.yaml"),
    (["train", "--resume", "--epochs", "2", "--out", "run_hostile"], "last.pt cannot be read"),
    (["train", "--resume", "--epochs", "2", "--out", "run_keys"], "last.pt does not fit run_keys/"),
]  # fmt: skip


@pytest.fixture
def among_inputs(inputs, monkeypatch):
    """The command runs in the folder of inputs, without a network; it has to leave all as it is."""
    monkeypatch.setattr("urllib.request.urlopen", unreachable)
    monkeypatch.chdir(inputs)
    before = modified(inputs)
    yield inputs
    assert modified(inputs) == before


@pytest.mark.parametrize("arguments, message", WRONG, ids=[" ".join(a) for a, _ in WRONG])
def test_bad_input_is_one_line_and_writes_nothing(among_inputs, capsys, arguments, message):
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert message in err and err.count("\n") == 1 and err.startswith("pyro-vae: ") and out == ""


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize("command", [["train"], ["evaluate", "run"], ["sample", "run"]])
def test_cuda_where_there_is_none(among_inputs, capsys, command):
    assert main([*command, "--device", "cuda"]) == 2
    assert "torch finds no CUDA device" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name",
    ["mnist", "emnist_letters", "omniglot", "svhn", "cifar10", "binarized_mnist", "dsprites"],
)
def test_a_download_that_fails_leaves_no_folders(elsewhere, tmp_path, monkeypatch, capsys, name):
    monkeypatch.setattr("urllib.request.urlopen", unreachable)
    assert main(["train", "--dataset", name]) == 2
    error = capsys.readouterr().err
    assert "could not be downloaded" in error and f"pyro-vae datasets {name} --data-dir" in error
    assert list(tmp_path.iterdir()) == []


def test_the_hostile_checkpoint_would_do_what_it_says(inputs, elsewhere):
    """Else the tests above would not see a file that runs."""
    torch.load(inputs / "run_hostile" / "checkpoints" / "last.pt", weights_only=False)
    assert Path("hacked").exists()


# --- whatever is thrown at it ---------------------------------------------------------------------

quick = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
dtypes = st.one_of(
    arrays_of.boolean_dtypes(),
    arrays_of.integer_dtypes(),
    arrays_of.unsigned_integer_dtypes(),
    arrays_of.floating_dtypes(),
    arrays_of.complex_number_dtypes(),
    arrays_of.datetime64_dtypes(),
    arrays_of.byte_string_dtypes(),
)
shapes = arrays_of.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=5)
SOUND = np.arange(16, dtype=np.uint8).reshape(4, 2, 2)


@pytest.mark.slow
@quick
@given(images=arrays_of.arrays(dtypes, shapes), levels=st.none() | st.integers(2, 300))
@example(images=SOUND, levels=None)
@example(images=SOUND.astype(np.int64), levels=16)
@example(images=SOUND / 15, levels=16)
def test_any_array_is_images_or_an_error(tmp_path, images, levels):
    np.save(tmp_path / "a.npy", images)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # casts that overflow to infinity
        try:
            data = pv.load_dataset(tmp_path / "a.npy", levels=levels)
        except ValueError:
            assert images is not SOUND
            return
    assert len(data.train) + len(data.test) == len(images)
    assert data.train.images.dtype == torch.float32 and data.train.images.dim() == 4
    for split in (data.train, data.test):
        assert split.images.min() >= 0 and split.images.max() <= 1
        if data.levels is not None:
            v = split.images * (data.levels - 1)
            assert ((v - v.round()).abs() < 1e-3).all()


@pytest.mark.slow
@quick
@given(content=st.binary(max_size=400), sound=st.booleans(), cut=st.integers(0, 400))
@example(content=b"", sound=True, cut=0)
def test_any_bytes_are_images_or_an_error(tmp_path, content, sound, cut):
    buffer = io.BytesIO()
    np.savez(buffer, images=SOUND)
    whole = buffer.getvalue()
    damaged = whole[:cut] + content + whole[cut:] if sound else content
    for suffix in (".npy", ".npz"):
        (tmp_path / f"a{suffix}").write_bytes(damaged)
        try:
            assert len(pv.load_dataset(tmp_path / f"a{suffix}").train) > 0
        except ValueError as error:
            assert "\n" not in str(error) and (damaged != whole or suffix == ".npy")


names = st.sampled_from([*pv.RunConfig.__dataclass_fields__, "betta", "Epochs", ""])
values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 10**20),
    st.floats(),
    st.text(max_size=9),
    st.lists(st.integers(-1, 9), max_size=3),
    st.dictionaries(st.text(max_size=2), st.none()),
    st.sampled_from(["mnist", "iwae", "linear", "autoencoder", "400,200", "1e3", "inf"]),
)


@pytest.mark.slow
@quick
@given(
    content=st.dictionaries(names, values, max_size=4).map(yaml.safe_dump) | st.text(max_size=80)
)
@example(content="")
@example(content="dataset: mnist\nhidden: [8, 4]\nbeta: 0.5\nsigma: null\n")
def test_any_text_is_a_configuration_or_an_error(tmp_path, content):
    """An error begins with the name of what is wrong, in one line; else what is saved is loaded."""
    (tmp_path / "c.yaml").write_text(content, encoding="utf-8", errors="surrogateescape")
    try:
        config = pv.RunConfig.load(tmp_path / "c.yaml")
    except ValueError as error:
        assert str(error).partition(":")[0] in {"config", *pv.RunConfig.__dataclass_fields__}
        assert "\n" not in str(error) and "mnist\nhidden: [8, 4]" not in content
        return
    config.save(tmp_path / "again.yaml")
    assert pv.RunConfig.load(tmp_path / "again.yaml") == config


@pytest.mark.slow
@quick
@given(place=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255), cut=st.booleans())
@example(place=0.0, byte=ord("P"), cut=False)  # which stands there: a ZIP archive begins with PK
def test_a_damaged_checkpoint_is_read_right_or_refused(inputs, tmp_path, place, byte, cut):
    """A flipped byte is noticed, or lies where nothing is read; a cut always is noticed."""
    sound = inputs / "run" / "checkpoints" / "last.pt"
    expected = load_checkpoint(sound)["model"]
    content = bytearray(sound.read_bytes())
    k = int(place * len(content))
    if cut:
        del content[k:]
    else:
        content[k] = byte
    if not (tmp_path / "run").exists():
        shutil.copytree(inputs / "run", tmp_path / "run")
    (tmp_path / "run" / "checkpoints" / "last.pt").write_bytes(content)
    try:
        run = pv.load_run(tmp_path / "run")
    except ValueError:
        assert content != sound.read_bytes()
        return
    assert not cut
    assert_same_weights(run.vae.state_dict(), expected)
