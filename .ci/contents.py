"""Checks what a release holds: `python .ci/contents.py FOLDER`, of a wheel and an sdist."""

import sys
import tarfile
import zipfile
from email import message_from_bytes
from pathlib import Path

ROOT = Path(__file__).parent.parent
COMPUTED = ("runs/", "data/", ".venv/", "build/", "docs/_build/")


def check_wheel(path: Path) -> None:
    """Check that a wheel holds every file of the package, no other, and says what it is."""
    archive = zipfile.ZipFile(path)
    names = set(archive.namelist())
    there = {p.relative_to(ROOT) for p in (ROOT / "pyro_vae").rglob("*") if p.is_file()}
    wanted = {str(path) for path in there if path.suffix != ".pyc"}
    assert "pyro_vae/py.typed" in wanted and "pyro_vae/pages/templates/run.html" in wanted
    assert {name for name in names if name.startswith("pyro_vae/")} == wanted
    others = names - wanted
    assert all(".dist-info/" in name for name in others), others
    assert {"METADATA", "entry_points.txt", "licenses"} <= {n.split("/")[1] for n in others}
    (name,) = (n for n in others if n.endswith("/METADATA"))
    metadata = message_from_bytes(archive.read(name))
    assert metadata["Author"] == "the pyro_vae authors"
    assert metadata["License-Expression"] == "MIT"
    assert "Typing :: Typed" in metadata.get_all("Classifier")
    assert metadata["Project-URL"] is None and metadata["Home-page"] is None
    assert "export" in metadata.get_all("Provides-Extra")


def check_sdist(path: Path) -> None:
    """Check that an sdist holds the tests, and nothing that was computed."""
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {"LICENSE", "CITATION.cff", "tests/test_house.py", "tests/runs/test_resume.py"}
    assert wanted <= names and "pyro_vae/pages/templates/style.css" in names
    computed = [name for name in names if name.startswith(COMPUTED) or "__pycache__" in name]
    assert not computed, computed[:9]


if __name__ == "__main__":
    (folder,) = map(Path, sys.argv[1:])
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    check_wheel(wheel)
    check_sdist(sdist)
    print(f"{wheel.name} and {sdist.name} hold what they should")
