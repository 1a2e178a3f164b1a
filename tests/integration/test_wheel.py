"""The wheel holds what an installed suffuse needs, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLUGINS = ("image", "audio", "molecule")


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The files of a wheel that is built from a source distribution, as an index would."""
    pytest.importorskip("build", reason="needs the extra [dev]")
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = out.glob("*.whl")
    return set(zipfile.ZipFile(wheel).namelist())


def test_it_holds_all_code_and_configuration(names: set[str]) -> None:
    plugins = [(f"plugins/{name}", "") for name in PLUGINS]
    for folder, inside in (("core", ""), *plugins, ("conf", "suffuse/conf/")):
        for file in (ROOT / folder).rglob("*"):
            if file.suffix in (".py", ".yaml", ".j2", ".typed"):
                assert inside + file.relative_to(ROOT / folder).as_posix() in names, f"{file} is missing"


def test_it_holds_nothing_else(names: set[str]) -> None:
    tops = {name.split("/")[0] for name in names}
    packages = {"suffuse", *(f"suffuse_{name}" for name in PLUGINS)}
    assert {top for top in tops if not top.endswith(".dist-info")} == packages
