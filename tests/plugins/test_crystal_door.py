"""The plugin comes in by the public door alone: its own wheel, public names, and a core that knows nothing of it."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLUGIN = ROOT / "plugins" / "crystal"
FILES = sorted((PLUGIN / "suffuse_crystal").rglob("*.py"))


def imports(file: Path) -> set[str]:
    """Every module of suffuse that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name for name in found if name.split(".")[0] == "suffuse"}


def closed() -> list[str]:
    """What the import rules of the project keep from plugins."""
    rules = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    (rule,) = (each for each in rules if each["name"] == "plugins use the public interface")
    return list(rule["forbidden_modules"])


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_only_public_modules_are_imported(file: Path) -> None:
    for name in imports(file):
        assert not any(name == inner or name.startswith(f"{inner}.") for inner in closed()), name


def test_a_private_import_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text("from suffuse.sampling.kernels import advance\nfrom suffuse import model\nimport suffuse_image\n")
    assert any(name.startswith("suffuse.sampling") for name in imports(file))
    assert {"suffuse.model"} <= imports(file) & set(closed())


def test_the_core_and_its_wheel_know_nothing_of_it() -> None:
    for file in (ROOT / "conf").rglob("*.yaml"):
        assert "crystal" not in file.read_text(encoding="utf-8"), file
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    build = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert not any("crystal" in place for place in build["only-include"])
    assert not any("crystal" in str(part) for part in project["project"].values())


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The plugin's own wheel, built and installed into a folder, as pip does it for a stranger's plugin."""
    pytest.importorskip("hatchling", reason="needs the extra [dev]")
    pytest.importorskip("pip", reason="needs pip")
    out, target = tmp_path_factory.mktemp("wheel"), tmp_path_factory.mktemp("site")
    offline = ["--quiet", "--no-deps", "--no-index", "--disable-pip-version-check"]
    pip(["wheel", *offline, "--no-build-isolation", "--wheel-dir", str(out), str(PLUGIN)])
    (wheel,) = out.glob("*.whl")
    pip(["install", *offline, "--target", str(target), str(wheel)])
    return target


def pip(words: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", "pip", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_its_wheel_holds_code_and_configuration(installed: Path) -> None:
    for file in (PLUGIN / "suffuse_crystal").rglob("*"):
        if file.suffix in (".py", ".yaml", ".typed"):
            assert (installed / file.relative_to(PLUGIN)).is_file(), f"{file} is missing"


@pytest.mark.slow
def test_installed_it_is_a_modality_like_any_other(installed: Path, tmp_path: Path) -> None:
    """In a process that finds the installed plugin first; all of its paths lead into that folder."""
    code = (
        "import suffuse, suffuse_crystal; from suffuse.plugins import Registry;"
        "config = suffuse.compose('modality=crystal', 'backbone=periodic_tiny', 'data=folder', 'data.path=x');"
        "found = Registry()['crystal'];"
        "print(suffuse_crystal.__file__, found.conf, found.distribution, config['data']['name'],"
        "config['backbone']['width'], sep='\\n')"
    )
    env = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    module, conf, distribution, data, width = done.stdout.split("\n")[:5]
    assert Path(module).is_relative_to(installed)
    assert Path(conf).is_relative_to(installed)
    assert distribution.startswith("suffuse-crystal")
    assert (data, width) == ("folder", "32")
