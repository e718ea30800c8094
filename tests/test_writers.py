"""Files are written by the one atomic writer, and those of a run are read by the one checked reader."""

import re

import pytest

from tests.support.house import sources_of_package

OPENS = re.compile(  # what may read or write a file by itself, up to its first argument
    r"(?:\b(?:\w+\.)?(?:open|ZipFile)"
    r"|\b(?:np|torch|json|yaml|pd|pandas|imageio|zipfile)\.(?:load|save|read_|safe_load)\w*"
    r"|\.(?:(?:read|write)_(?:text|bytes)|savefig|to_netcdf|fromfile|tofile|im(?:read|save)))"
    r"\([^,)]*"
)
IN_MEMORY = re.compile(  # buffers, what the checked reader has read, and nowhere
    r"\((content|text|picture|_compact\(content|io\.BytesIO|read_file|os\.devnull)|to_netcdf\($"
)
ALLOWED = {
    "pyro_vae.files": {"open(temporary", ".read_bytes("},  # the writer and the reader
    "pyro_vae.runs.metrics": {"open(path"},  # the growing table
    "pyro_vae.runs.lock": {"os.open(self.folder / LOCK"},
    "pyro_vae.data.mapped": {"np.load(path"},  # in docstrings
    "pyro_vae.training.fit": {"np.load(path"},
    "pyro_vae.data.own": {"np.load(path", "open(path", "zipfile.ZipFile(path", "archive.open(name"},
    "pyro_vae.data.pictures": {"Image.open(file", "np.load(path"},
    "pyro_vae.data.published": {"gzip.open(zipped", "np.load(path"},
    "pyro_vae.checkpoints": {"zipfile.ZipFile(file", "torch.load(file"},  # a buffer
    "pyro_vae.devices": {".read_text("},  # what the machine tells
    "pyro_vae.compiling.products": {".read_text("},
}


def test_no_other_module_opens_a_file():
    for module, source in sources_of_package().items():
        found = {call for call in OPENS.findall(source) if not IN_MEMORY.search(call)}
        assert found == ALLOWED.get(module, set()), module


@pytest.mark.parametrize(
    "call",
    [
        "open(path", "path.open(", "zipfile.ZipFile(path", "np.load(path", "torch.save(state",
        "np.savez_compressed(path", "pd.read_csv(path", "figure.savefig(path", "tree.to_netcdf(path",
        "path.read_text(", "path.write_bytes(image",
    ],
)  # fmt: skip
def test_each_way_to_open_one_is_found(call):
    (found,) = OPENS.findall(f"    x = {call})\n")
    assert call.endswith(found) and not IN_MEMORY.search(found)
