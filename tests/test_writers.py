"""Files are written by the one atomic writer, and those of a run are read by the one checked reader."""

import ast

import pytest

from tests.support.house import sources_of_package

SOURCES = sources_of_package()
WRITERS = {  # modules that may open a file to write: the writer itself, and the growing table
    "pyro_vae.files": "replace_file",
    "pyro_vae.runs.metrics": "append_row",
}
ALWAYS = {"write_text", "write_bytes", "imsave"}
READERS = (  # modules that read by themselves: the reader, images, and what the machine tells
    "pyro_vae.files",
    "pyro_vae.data.own",
    "pyro_vae.data.pictures",
    "pyro_vae.data.published",
    "pyro_vae.devices",
    "pyro_vae.training.onednn",
)
READ = {"read_text", "read_bytes", "fromfile", "genfromtxt", "loadtxt", "imread", "memmap"}
LOADED = {"load", "ZipFile", "reader", "safe_load"}  # of a buffer in memory alone


def writes(source: str) -> list[tuple[str, str]]:
    """The functions of a source that write a file by themselves, and the call that does."""
    return _calls(source, _writes)


def reads(source: str) -> list[tuple[str, str]]:
    """The functions of a source that read a file by themselves, and the call that does."""
    return _calls(source, _reads)


def _calls(source, wanted):
    found = []
    for function in ast.walk(ast.parse(source)):
        if isinstance(function, ast.FunctionDef):
            buffers = _buffers(function)
            calls = (node for node in ast.walk(function) if isinstance(node, ast.Call))
            found += [(function.name, ast.unparse(c)) for c in calls if wanted(c, buffers)]
    return found


def _buffers(function: ast.FunctionDef) -> set[str]:
    """The names that stand for buffers in memory."""
    assigned = (node for node in ast.walk(function) if isinstance(node, ast.Assign))
    return {
        node.targets[0].id
        for node in assigned
        if isinstance(node.targets[0], ast.Name) and ast.unparse(node.value).startswith("io.")
    }


def _writes(call: ast.Call, buffers: set[str]) -> bool:
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    if name in ALWAYS:
        return True
    if name == "open":  # of a path the mode comes first
        modes = call.args[isinstance(call.func, ast.Name) :] + [k.value for k in call.keywords]
        texts = [mode.value for mode in modes if isinstance(mode, ast.Constant)]
        return any(set("wax+") & set(text) for text in texts if isinstance(text, str))
    owner = ast.unparse(call.func).rpartition(".")[0]
    if name == "savefig" or (name == "save" and owner in ("np", "torch")):
        target = call.args[1] if owner == "torch" else call.args[0]
        return not (isinstance(target, ast.Name) and target.id in buffers)
    return name == "to_netcdf" and bool(call.args)


def _reads(call: ast.Call, buffers: set[str]) -> bool:
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    owner = ast.unparse(call.func).rpartition(".")[0]
    if name == "open":
        nowhere = owner == "os" or ast.unparse(call).startswith("open(os.devnull")
        return not nowhere and not _writes(call, buffers)
    if name in READ or (owner in ("pd", "pandas") and name.startswith("read_")):
        return True
    if name in LOADED and owner in ("np", "torch", "zipfile", "json", "yaml", "imageio"):
        target = call.args[0]
        return isinstance(target, ast.Name) and target.id not in buffers
    return False


def test_files_of_runs_are_read_by_the_checked_reader():
    found = {module: reads(source) for module, source in SOURCES.items() if module not in READERS}
    assert {module: calls for module, calls in found.items() if calls} == {}


@pytest.mark.parametrize(
    "line",
    [
        "open(path)", "path.open('rb')", "path.open()", "path.read_text()", "path.read_bytes()",
        "np.load(path)", "torch.load(path)", "Image.open(path)", "zipfile.ZipFile(path)",
        "pd.read_csv(path)",
    ],
)  # fmt: skip
def test_other_ways_of_reading_are_found(line):
    assert reads(f"def function(path):\n    {line}\n") == [("function", line)]


def test_files_are_written_whole_or_not_at_all():
    for module, source in SOURCES.items():
        others = [call for name, call in writes(source) if name != WRITERS.get(module)]
        assert others == [], module


@pytest.mark.parametrize(
    "line",
    [
        'open(path, "wb")', "path.write_text(text)", "np.save(path, array)", "tree.to_netcdf(path)",
        "figure.savefig(path)", "torch.save(content, path)", 'path.open("w")', 'open(path, mode="a")',
    ],
)  # fmt: skip
def test_other_ways_of_writing_are_found(line):
    assert writes(f"def function(path):\n    {line}\n") == [("function", line.replace('"', "'"))]


def test_buffers_and_readers_are_left_alone():
    source = 'def f(path):\n    b = io.BytesIO()\n    np.save(b, 1)\n    open(path, "rb")\n'
    assert writes(source) == []
