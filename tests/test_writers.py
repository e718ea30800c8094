"""Every file that the package writes goes through the one atomic writer."""

import ast

import pytest

from tests.support.house import sources_of_package

SOURCES = sources_of_package()
WRITERS = {  # modules that may open a file to write: the writer itself, and the growing table
    "pyro_vae.files": "replace_file",
    "pyro_vae.runs.metrics": "append_row",
}
ALWAYS = {"write_text", "write_bytes", "imsave"}


def writes(source: str) -> list[tuple[str, str]]:
    """The functions of a source that write a file by themselves, and the call that does."""
    found = []
    for function in ast.walk(ast.parse(source)):
        if isinstance(function, ast.FunctionDef):
            buffers = _buffers(function)
            calls = (node for node in ast.walk(function) if isinstance(node, ast.Call))
            found += [(function.name, ast.unparse(c)) for c in calls if _writes(c, buffers)]
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
